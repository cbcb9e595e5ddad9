"""Guesses at passwords, and floods of logins: counted by address and name, each waits behind himself only."""

from __future__ import annotations

import asyncio

from cvat_analytics.api.attempts import AT_ONCE, ATTEMPTS, WAITING, WINDOW, Attempts


def test_attempts_are_counted_by_address_and_name_and_forgotten() -> None:
    now = [0.0]
    attempts = Attempts(lambda: now[0])
    for _ in range(ATTEMPTS):
        assert attempts.wait("a", "root") == 0
        attempts.failed("a", "root")
    assert attempts.wait("a", "root") == WINDOW
    assert (attempts.wait("a", "other"), attempts.wait("b", "root")) == (0, 0)
    now[0] = WINDOW - 1
    assert attempts.wait("a", "root") == 1
    now[0] = WINDOW + 1
    assert attempts.wait("a", "root") == 0


def test_guesses_that_come_all_at_once_count_as_those_that_come_one_by_one() -> None:
    async def all_at_once() -> tuple[int, int]:
        attempts = Attempts()
        checked = 0

        async def guess() -> None:
            nonlocal checked
            async with attempts.turn("a", "root"):
                checked += 1
                await asyncio.sleep(0)
                attempts.failed("a", "root")

        ends = await asyncio.gather(*(guess() for _ in range(50)), return_exceptions=True)
        return checked, [getattr(end, "status", None) for end in ends].count(429)

    assert asyncio.run(all_at_once()) == (ATTEMPTS, 50 - ATTEMPTS)


def test_who_floods_the_service_with_logins_waits_behind_himself_only() -> None:
    async def flood() -> tuple[int, list[int | None], int]:
        attempts = Attempts()
        running = most = 0
        release = asyncio.Event()

        async def login(address: str, name: str) -> None:
            nonlocal running, most
            async with attempts.turn(address, name):
                running, most = running + 1, max(most, running + 1)
                if address != "b":
                    await release.wait()
                running -= 1

        # one network of IPv6 is one address
        flooding = [asyncio.create_task(login(f"2001:db8::{n:x}", f"name{n}")) for n in range(WAITING + 5)]
        await asyncio.sleep(0)
        await login("b", "ann")
        while_flooded = most
        release.set()
        ends = await asyncio.gather(*flooding, return_exceptions=True)
        await login("2001:db8::1", "ann")
        return while_flooded, [getattr(end, "status", None) for end in ends if end], len(attempts._queues)

    assert asyncio.run(flood()) == (AT_ONCE + 1, [429] * 5, 0)


def test_names_that_are_guessed_are_not_remembered_while_somebody_waits() -> None:
    async def remembered() -> int:
        attempts = Attempts()
        async with attempts.turn("a", "ann"):
            for number in range(20):
                async with attempts.turn("a", f"guess{number}"):
                    pass
            (queue,) = attempts._queues.values()
            return len(queue.names) + len(queue.named)

    assert asyncio.run(remembered()) == 2


def test_visitors_over_ipv4_are_not_one_where_the_service_listens_on_ipv6() -> None:
    attempts = Attempts()
    for _ in range(ATTEMPTS):
        attempts.failed("::ffff:192.0.2.1", "root")
    assert attempts.wait("::ffff:192.0.2.2", "root") == 0
    assert attempts.wait("192.0.2.1", "root") > 0


def test_a_name_that_nobody_can_have_takes_no_room() -> None:
    attempts = Attempts()
    attempts.failed("a", "x" * 10_000)
    assert attempts.wait("a", "x" * 10_000) == 0
    assert max(len(name) for _, name in attempts._failures) <= 200

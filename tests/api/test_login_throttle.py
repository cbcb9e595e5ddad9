"""Guesses at passwords, and floods of logins: counted by address and name, each waits behind their own only."""

from __future__ import annotations

import asyncio

from cvat_analytics.api.login_throttle import AT_ONCE, ATTEMPTS, WAITING, WINDOW, LoginThrottle


def test_attempts_are_counted_by_address_and_name_and_forgotten() -> None:
    now = [0.0]
    throttle = LoginThrottle(lambda: now[0])
    for _ in range(ATTEMPTS):
        assert throttle.retry_after("a", "root") == 0
        throttle.failed("a", "root")
    assert throttle.retry_after("a", "root") == WINDOW
    assert (throttle.retry_after("a", "other"), throttle.retry_after("b", "root")) == (0, 0)
    now[0] = WINDOW - 1
    assert throttle.retry_after("a", "root") == 1
    now[0] = WINDOW + 1
    assert throttle.retry_after("a", "root") == 0


def test_guesses_that_come_all_at_once_count_as_those_that_come_one_by_one() -> None:
    async def all_at_once() -> tuple[int, int]:
        throttle = LoginThrottle()
        checked = 0

        async def guess() -> None:
            nonlocal checked
            async with throttle.slot("a", "root"):
                checked += 1
                await asyncio.sleep(0)
                throttle.failed("a", "root")

        ends = await asyncio.gather(*(guess() for _ in range(50)), return_exceptions=True)
        return checked, [getattr(end, "status", None) for end in ends].count(429)

    assert asyncio.run(all_at_once()) == (ATTEMPTS, 50 - ATTEMPTS)


def test_who_floods_the_service_with_logins_waits_behind_himself_only() -> None:
    async def flood() -> tuple[int, list[int | None], int]:
        throttle = LoginThrottle()
        running = most = 0
        release = asyncio.Event()

        async def login(address: str, name: str) -> None:
            nonlocal running, most
            async with throttle.slot(address, name):
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
        return while_flooded, [getattr(end, "status", None) for end in ends if end], len(throttle._queues)

    assert asyncio.run(flood()) == (AT_ONCE + 1, [429] * 5, 0)


def test_names_that_are_guessed_are_not_remembered_while_somebody_waits() -> None:
    async def remembered() -> int:
        throttle = LoginThrottle()
        async with throttle.slot("a", "ann"):
            for number in range(20):
                async with throttle.slot("a", f"guess{number}"):
                    pass
            (queue,) = throttle._queues.values()
            return len(queue.names) + len(queue.named)

    assert asyncio.run(remembered()) == 2


def test_visitors_over_ipv4_are_not_one_where_the_service_listens_on_ipv6() -> None:
    throttle = LoginThrottle()
    for _ in range(ATTEMPTS):
        throttle.failed("::ffff:192.0.2.1", "root")
    assert throttle.retry_after("::ffff:192.0.2.2", "root") == 0
    assert throttle.retry_after("192.0.2.1", "root") > 0


def test_a_name_that_nobody_can_have_takes_no_room() -> None:
    throttle = LoginThrottle()
    throttle.failed("a", "x" * 10_000)
    assert throttle.retry_after("a", "x" * 10_000) == 0
    assert max(len(name) for _, name in throttle._failures) <= 200

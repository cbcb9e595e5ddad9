"""Guesses at passwords, and floods of logins: each waits behind their own only, and no right password waits for long."""

from __future__ import annotations

import asyncio
import base64
import functools
from types import SimpleNamespace

import hypothesis
import pytest
from hypothesis import strategies as st
from starlette.requests import Request

from cvat_analytics.api import service
from cvat_analytics.api.login_throttle import (
    ADDRESS,
    AGAIN,
    AT_ONCE,
    COMPARED,
    LONGEST,
    NAME,
    PAIR,
    WAITING,
    Allowance,
    Failures,
    LoginThrottle,
)
from cvat_analytics.api.principals import Credentials, Principal
from cvat_analytics.api.problems import Problem

HOUR = 3600.0


class Clock:
    """A clock that stands still until it is told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def guess(throttle: LoginThrottle, address: str, name: str, times: int = 1) -> None:
    """Be wrong so many times, as if nobody had to wait."""
    for _ in range(times):
        throttle.failed(address, name, "wrong")


def checked(throttle: LoginThrottle, clock: Clock, address: str, names: list[str], seconds: float) -> int:
    """Guess in turn under `names`, each time at the first moment at which one may; return how many were looked at."""
    until, count = clock.now + seconds, 0
    while clock.now < until:
        name = names[count % len(names)]
        clock.now += throttle.retry_after(address, name)
        throttle.failed(address, name)
        count += 1
    return count


def let_in(throttle: LoginThrottle, address: str, name: str, proof: str) -> bool:
    """Return whether a login would be checked, and not refused unseen."""

    async def ask() -> bool:
        async with throttle.slot(address, name, proof) as known_as_wrong:
            return not known_as_wrong

    try:
        ask().send(None)  # nobody else is there to wait for
    except StopIteration as end:
        return bool(end.value)
    except Problem:
        return False
    pytest.fail("it waits for somebody")


def test_some_failures_are_free_then_each_wait_is_longer_up_to_a_minute() -> None:
    clock = Clock()
    throttle = LoginThrottle(clock)
    waits = []
    for _ in range(PAIR.free + 9):
        throttle.failed("a", "root")
        waits.append(throttle.retry_after("a", "root"))
    assert waits == [0] * PAIR.free + [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_minute_is_a_minute_at_any_time_of_a_clock() -> None:
    for part in range(1, 200):
        clock = Clock()
        clock.now += part / 7
        throttle = LoginThrottle(clock)
        guess(throttle, "a", "root", 20)
        assert throttle.retry_after("a", "root") == LONGEST


def test_ten_typos_do_not_keep_the_right_password_out() -> None:
    clock = Clock()
    throttle = LoginThrottle(clock)
    waited = 0
    for _ in range(10):
        waited += throttle.retry_after("a", "ann")
        clock.now += throttle.retry_after("a", "ann")
        throttle.failed("a", "ann")
    clock.now += throttle.retry_after("a", "ann")
    assert waited < 30
    assert throttle.retry_after("a", "ann") == 0
    throttle.succeeded("a", "ann")
    throttle.failed("a", "ann")
    assert throttle.retry_after("a", "ann") == 0


def test_passwords_over_many_names_are_guesses_of_one_address() -> None:
    clock = Clock()
    names = [f"name{number}" for number in range(241)]
    assert checked(LoginThrottle(clock), clock, "a", names, 6.5) <= ADDRESS.free + 4


@hypothesis.given(
    names=st.integers(1, 50), hours=st.floats(0.01, 6), allowance=st.sampled_from([PAIR, ADDRESS, NAME])
)
def test_whoever_guesses_as_fast_as_they_may_gets_no_further_than_time_allows(
    names: int, hours: float, allowance: Allowance
) -> None:
    clock = Clock()
    if allowance == NAME:
        # many addresses, each of which has failed with the name already
        failures: Failures[str] = Failures(NAME, 10, clock)
        until, count = clock.now + hours * HOUR, 0
        while clock.now < until:
            clock.now += max(failures.wait("root"), 0.001)
            failures.add("root")
            count += 1
    else:
        guessed = [f"name{number}" for number in range(names)] if allowance == ADDRESS else ["root"]
        count = checked(LoginThrottle(clock), clock, "a", guessed, hours * HOUR)
    assert count <= allowance.free + 10 + hours * HOUR / allowance.forgets


ANY = st.lists(
    st.tuples(
        st.sampled_from(["198.51.100.1", "198.51.100.2", "2001:db8::1", "2001:db8::2"]),
        st.sampled_from(["ann", "bob", "carl", "dora"]),
        st.floats(0, 120),
        st.integers(1, 40),
        st.booleans(),
    ),
    max_size=40,
)
"""What others did before: from where, under which name, after how long, how often; and whether they were right in the end."""


def after(history: list[tuple[str, str, float, int, bool]], clock: Clock) -> LoginThrottle:
    """Return what is remembered of a history."""
    throttle = LoginThrottle(clock, remembered=8)
    for address, name, pause, times, right in history:
        clock.now += pause
        guess(throttle, address, name, times)
        if right:
            throttle.succeeded(address, name)
    return throttle


@hypothesis.given(history=ANY, name=st.sampled_from(["ann", "bob", "zoe"]))
def test_nobody_at_another_address_locks_an_owner_out(
    history: list[tuple[str, str, float, int, bool]], name: str
) -> None:
    throttle = after(history, Clock())
    assert throttle.retry_after("192.0.2.1", name) == 0
    # nor after a typo, once they are known there
    throttle.succeeded("192.0.2.1", name)
    throttle.failed("192.0.2.1", name, "typo")
    assert throttle.retry_after("192.0.2.1", name) == 0


@hypothesis.given(
    history=ANY, address=st.sampled_from(["198.51.100.1", "2001:db8::9"]), typos=st.integers(0, 100)
)
def test_no_wait_is_longer_than_a_minute_and_after_it_one_may_try(
    history: list[tuple[str, str, float, int, bool]], address: str, typos: int
) -> None:
    clock = Clock()
    throttle = after(history, clock)
    guess(throttle, address, "ann", typos)
    wait = throttle.retry_after(address, "ann")
    assert 0 <= wait <= LONGEST
    clock.now += wait
    assert throttle.retry_after(address, "ann") == 0
    # and all of it is forgotten some time
    clock.now += HOUR
    throttle.failed(address, "ann")
    assert throttle.retry_after(address, "ann") == 0


@hypothesis.given(history=ANY)
def test_what_is_remembered_has_an_end(history: list[tuple[str, str, float, int, bool]]) -> None:
    throttle = after(history, Clock())
    for number in range(20):
        guess(throttle, f"192.0.2.{number}", f"name{number}")
        throttle.succeeded(f"192.0.2.{number}", f"name{number}")
        guess(throttle, f"192.0.2.{number}", f"name{number}", 20)
        throttle.succeeded(f"192.0.2.{number}", "", f"session{number}")
        assert not let_in(throttle, f"192.0.2.{number}", f"name{number}", "guess")
    kept = (throttle._pairs, throttle._addresses, throttle._names, throttle._right, throttle._wrong)
    kept_too = (throttle._compared, throttle._sessions)
    assert [len(each) for each in (*kept, *kept_too)] == [8] * 7


@hypothesis.given(pauses=st.lists(st.floats(ADDRESS.forgets, 60), max_size=200))
def test_an_office_with_a_typo_every_ten_seconds_never_waits(pauses: list[float]) -> None:
    clock = Clock()
    throttle = LoginThrottle(clock)
    guess(throttle, "office", "first", PAIR.free)
    guess(throttle, "office", "second", PAIR.free)
    for number, pause in enumerate(pauses):
        clock.now += pause
        throttle.failed("office", f"colleague{number}")
        assert throttle.retry_after("office", "newcomer") == 0


def test_somebody_who_has_been_in_before_does_not_wait_for_who_guesses_behind_the_same_address() -> None:
    throttle = LoginThrottle(Clock())
    throttle.succeeded("office", "ann")
    for number in range(200):
        throttle.failed("office", f"name{number}")
    assert throttle.retry_after("office", "ann") == 0
    assert throttle.retry_after("office", "newcomer") == LONGEST
    # a login of one's own is no way to go on guessing
    throttle.succeeded("office", "mallory")
    assert throttle.retry_after("office", "newcomer") == LONGEST


@hypothesis.settings(max_examples=10)
@hypothesis.given(own=st.floats(1, 60), others=st.floats(COMPARED.forgets + 0.1, 60))
def test_whoever_guesses_an_owners_name_behind_the_owners_address_does_not_lock_them_out(
    own: float, others: float
) -> None:
    """The guesser comes whenever one may, and as often as the rate of comparisons allows beside that; the owner whenever they like."""
    clock = Clock()
    throttle = LoginThrottle(clock)
    throttle.succeeded("office", "ann", "right")
    guesses = checks = 0
    visits, tries, end = clock.now + own, clock.now, clock.now + 900
    while clock.now < end:
        clock.now = min(visits, tries)
        if visits <= tries:
            assert let_in(throttle, "office", "ann", "right")
            throttle.succeeded("office", "ann", "right")
            visits += own
        else:
            guesses += 1
            if let_in(throttle, "office", "ann", f"guess{guesses}"):
                checks += 1
                throttle.failed("office", "ann", f"guess{guesses}")
            may = clock.now + throttle.retry_after("office", "ann")
            tries = max(may, clock.now + 0.1) if may < tries + others else tries + others
    assert guesses > 14
    # and the owner's own visits are no further guesses for others
    assert checks <= PAIR.free + 10 + 900 / PAIR.forgets


@hypothesis.settings(max_examples=5)
@hypothesis.given(pause=st.floats(0.2, 2))
def test_nor_may_they_try_passwords_on_what_was_right_as_fast_as_they_can_send(pause: float) -> None:
    clock = Clock()
    throttle = LoginThrottle(clock)
    throttle.succeeded("office", "ann", "right")
    compared = number = 0
    end = clock.now + 300
    while clock.now < end:
        number += 1
        compared += let_in(throttle, "office", "ann", "right")  # had this one been it
        if let_in(throttle, "office", "ann", f"guess{number}"):
            throttle.failed("office", "ann", f"guess{number}")
        clock.now += pause
    bound = [each.free + 1 + 300 / each.forgets for each in (PAIR, COMPARED)]
    # in between there are moments at which there is no wait
    assert COMPARED.free < compared <= sum(bound) + 10


def test_a_password_that_was_right_before_it_was_changed_is_one_more_wrong_one() -> None:
    throttle = LoginThrottle(Clock())
    throttle.succeeded("office", "ann", "old")
    guess(throttle, "office", "ann", 20)
    assert let_in(throttle, "office", "ann", "old")
    throttle.failed("office", "ann", "old")
    throttle.failed("office", "ann", "other")
    assert not let_in(throttle, "office", "ann", "old")


def test_a_name_that_many_addresses_guess_is_slower_for_each_that_has_failed_with_it() -> None:
    throttle = LoginThrottle(Clock())
    for number in range(100):
        throttle.failed(f"192.0.2.{number}", "root")
    assert throttle.retry_after("192.0.2.7", "root") == LONGEST
    assert throttle.retry_after("192.0.2.7", "other") == 0


def test_sessions_and_tokens_wait_for_nobody() -> None:
    throttle = LoginThrottle(Clock())
    guess(throttle, "a", "root", 200)
    assert throttle.retry_after("a", "") == 0


def test_a_session_of_ones_own_is_no_way_to_go_on_guessing_another_ones_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A directory that goes by the session says that all is well, whatever login comes with it."""
    monkeypatch.setattr(service, "FAILURE_SECONDS", 0.0)

    class Sessions:
        def remembered(self, credentials: Credentials) -> None:
            return None

        async def find(self, credentials: Credentials) -> Principal | None:
            return Principal("cvat:4", 4, "mallory", "m@example.org") if credentials.cookie else None

    throttle = LoginThrottle(Clock())
    parts = SimpleNamespace(identity_provider=Sessions(), login_throttle=throttle)

    def ask(name: str, password: str, *headers: tuple[bytes, bytes]) -> int:
        login = base64.b64encode(f"{name}:{password}".encode())
        scope = {
            "type": "http", "method": "GET", "client": ("192.0.2.1", 1), "headers": [(b"authorization", b"Basic " + login), *headers],
            "app": SimpleNamespace(state=SimpleNamespace(service=parts)),
        }  # fmt: skip
        try:
            asyncio.run(service.principal(Request(scope)))
        except Problem as problem:
            return problem.status
        return 200

    mine = (b"cookie", b"sessionid=mine")
    answers = [(ask("root", f"guess{n}"), ask("root", f"guess{n}-", mine)) for n in range(PAIR.free + 1)]
    assert answers[:-1] == [(401, 200)] * PAIR.free
    assert answers[-1] == (401, 429)
    # with their own name it is theirs
    assert ask("M@example.org", "any", mine) == 200
    assert throttle.retry_after("192.0.2.1", "m@example.org") == 0


class Provider:
    """Stands for CVAT: knows ann by a password and bob by a session, and takes its time over sessions that nobody has."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()
        self.ann = Principal("cvat:1", 1, "ann")

    def remembered(self, credentials: Credentials) -> Principal | None:
        """Return ann, who has just been asked about."""
        return self.ann if credentials.basic() == ("ann", "right") else None

    async def find(self, credentials: Credentials) -> Principal | None:
        """Return who it is."""
        if credentials.basic():
            return self.ann if credentials.basic() == ("ann", "right") else None
        if "sessionid=bobs" in credentials.cookie:
            return Principal("cvat:2", 2, "bob")
        self.asked += 1
        await self.answers.wait()
        return None


async def answered(
    provider: Provider, throttle: LoginThrottle, address: str, *, login: str = "", cookie: str = ""
) -> int:
    """Return the status with which the service answers somebody."""
    encoded = base64.b64encode(login.encode())
    headers = [(b"authorization", b"Basic " + encoded)] if login else [(b"cookie", cookie.encode())]
    parts = SimpleNamespace(identity_provider=provider, login_throttle=throttle)
    scope = {
        "type": "http", "method": "GET", "client": (address, 1), "headers": headers,
        "app": SimpleNamespace(state=SimpleNamespace(service=parts)),
    }  # fmt: skip
    try:
        await service.principal(Request(scope))
    except Problem as problem:
        return problem.status
    return 200


def test_nobody_who_has_to_wait_tries_passwords_on_a_login_that_is_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "FAILURE_SECONDS", 0.0)

    async def guesses() -> list[int]:
        provider, throttle = Provider(), LoginThrottle(Clock())
        wrong = [
            await answered(provider, throttle, "192.0.2.9", login=f"ann:guess{n}")
            for n in range(PAIR.free + 1)
        ]
        return [wrong[-1], await answered(provider, throttle, "192.0.2.9", login="ann:right")]

    assert asyncio.run(guesses()) == [401, 429]


def test_made_up_sessions_keep_out_neither_logins_nor_sessions_that_have_been_right_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "FAILURE_SECONDS", 0.0)

    async def flooded() -> tuple[int, list[int], int, set[int]]:
        provider, throttle = Provider(), LoginThrottle(Clock())
        ask = functools.partial(answered, provider, throttle)
        # at another address: a session goes where its owner goes
        before = await ask("192.0.2.9", cookie="csrftoken=a; sessionid=bobs")
        flood = [asyncio.create_task(ask("192.0.2.1", cookie=f"sessionid={n}")) for n in range(WAITING)]
        await asyncio.sleep(0)
        during = [
            # what other cookies come along is another matter
            await asyncio.wait_for(ask("192.0.2.1", cookie="sessionid=bobs; csrftoken=b"), 60),
            await asyncio.wait_for(ask("192.0.2.1", login="ann:wrong"), 60),
            await asyncio.wait_for(ask("192.0.2.1", login="ann:right"), 60),
            await asyncio.wait_for(ask("192.0.2.1", cookie="sessionid=another"), 60),
        ]
        asked = provider.asked
        provider.answers.set()
        return before, during, asked, set(await asyncio.gather(*flood))

    assert asyncio.run(flooded()) == (200, [200, 401, 200, 429], AT_ONCE, {401})


def test_one_name_in_several_spellings_is_one() -> None:
    throttle = LoginThrottle(Clock())
    for name in ("root", "Root", "ROOT", "\uff52oot", "rOOt", "roOt"):
        throttle.failed("a", name)
    assert throttle.retry_after("a", "root") > 0


def test_a_page_that_goes_on_with_the_old_password_has_failed_once() -> None:
    clock = Clock()

    async def asked(throttle: LoginThrottle, proof: str) -> bool:
        async with throttle.slot("a", "ann", proof) as known_as_wrong:
            if not known_as_wrong:
                throttle.failed("a", "ann", proof)
            return known_as_wrong

    async def page() -> tuple[list[bool], int, bool, bool]:
        throttle = LoginThrottle(clock)
        answers = await asyncio.gather(*(asked(throttle, "old") for _ in range(40)))
        wait = throttle.retry_after("a", "ann")
        another = await asked(throttle, "typo")
        clock.now += AGAIN + 1
        return answers, wait, another, await asked(throttle, "typo")

    assert asyncio.run(page()) == ([False] + [True] * 39, 0, False, False)


def test_guesses_that_come_all_at_once_count_as_those_that_come_one_by_one() -> None:
    async def all_at_once(names: int) -> tuple[int, int]:
        throttle = LoginThrottle(Clock())
        checked = 0

        async def guess(number: int) -> None:
            nonlocal checked
            async with throttle.slot("a", f"name{number % names}", f"guess{number}"):
                checked += 1
                await asyncio.sleep(0)
                throttle.failed("a", f"name{number % names}", f"guess{number}")

        ends = await asyncio.gather(*(guess(number) for number in range(90)), return_exceptions=True)
        return checked, [getattr(end, "status", None) for end in ends].count(429)

    first = PAIR.free + 1
    assert asyncio.run(all_at_once(1)) == (first, 90 - first)
    looked_at, refused = asyncio.run(all_at_once(90))
    assert ADDRESS.free < looked_at <= ADDRESS.free + AT_ONCE
    assert refused == 90 - looked_at


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
    throttle = LoginThrottle(Clock())
    guess(throttle, "::ffff:192.0.2.1", "root", 10)
    assert throttle.retry_after("::ffff:192.0.2.2", "root") == 0
    assert throttle.retry_after("192.0.2.1", "root") > 0


def test_a_name_that_nobody_can_have_takes_no_room() -> None:
    throttle = LoginThrottle()
    throttle.failed("a", "x" * 10_000)
    assert throttle.retry_after("a", "x" * 10_000) == 0
    # a letter may become several
    throttle.failed("a", "\ufdfa" * 10_000)
    assert max(len(name) for _, name in throttle._pairs._failed) <= 200

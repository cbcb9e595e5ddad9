"""Places: who waits, who is next, and that waiting has an end."""

from __future__ import annotations

import asyncio

import pytest

from cvat_analytics.api import turns
from cvat_analytics.api.problems import Problem
from cvat_analytics.api.turns import Turns
from tests.waiting import PATIENCE


async def _settled() -> None:
    """Let everybody go on as far as they can."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_people_have_their_turns_one_after_another_however_much_one_of_them_asks() -> None:
    order: list[str] = []

    async def ask(places: Turns, person: str) -> None:
        async with places.turn(person):
            order.append(person)
            await _settled()

    async def everybody() -> None:
        places = Turns(1, PATIENCE, "questions")
        await places.acquire("somebody")
        asking = [
            asyncio.create_task(ask(places, person)) for person in ("ann", "ann", "ann", "bob", "cem", "bob")
        ]
        await _settled()
        places.release("somebody")
        await asyncio.gather(*asking)
        assert not places.running

    asyncio.run(everybody())
    assert order == ["ann", "bob", "cem", "ann", "bob", "ann"]


def test_waiting_ends_with_what_to_do() -> None:
    async def in_vain() -> None:
        places = Turns(2, 0.01, "short questions")
        await places.acquire("ann")
        await places.acquire("ann")
        with pytest.raises(Problem) as refused:
            await places.acquire("bob")
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "10"})
        assert refused.value.detail == (
            "2 short questions run at the same time, and none has ended within 0.01 s. Try again later"
        )
        # nothing is left of who has gone
        places.release("ann")
        places.release("ann")
        await places.acquire("bob")
        assert dict(places.running) == {"bob": 1}

    asyncio.run(in_vain())


@pytest.mark.parametrize("given", [False, True], ids=["waits", "has just been given a place"])
def test_who_goes_away_keeps_no_place(given: bool) -> None:
    async def gone() -> None:
        places = Turns(1, PATIENCE, "questions")
        await places.acquire("ann")
        bob = asyncio.create_task(places.acquire("bob"))
        await _settled()
        if given:
            places.release("ann")
        bob.cancel()
        with pytest.raises(asyncio.CancelledError):
            await bob
        if not given:
            places.release("ann")
        async with asyncio.timeout(PATIENCE), places.turn("cem"):
            assert dict(places.running) == {"cem": 1}

    asyncio.run(gone())


def test_nobody_lets_more_wait_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "WAITING", 3)

    async def flood() -> None:
        places = Turns(1, PATIENCE, "questions")
        await places.acquire("ann")
        waiting = [asyncio.create_task(places.acquire("ann")) for _ in range(3)]
        await _settled()
        with pytest.raises(Problem) as refused:
            await places.acquire("ann")
        assert refused.value.status == 429
        others = asyncio.create_task(places.acquire("bob"))
        await _settled()
        assert not others.done()
        for each in (*waiting, others):
            each.cancel()

    asyncio.run(flood())

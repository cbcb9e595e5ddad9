"""What ClickHouse knows of the pipeline, when it answers with nothing: one plain error at most, whichever question it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.checks import flow
from tests.clickhouse import Store, way_to


@pytest.fixture(scope="module")
def engine(shared_engine: Store) -> Iterator[Store]:
    with shared_engine.another() as store:
        yield store


def test_no_answer_to_any_question_is_a_fault_of_the_program(
    engine: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = way_to(engine.context)
    ask = flow._asking(access)
    answers: dict[str, Sequence[Sequence[Any]]] = {}
    lost = ""
    said: list[str] = []

    def rows(query: str) -> Sequence[Sequence[Any]]:
        if query not in answers:
            answers[query] = ask(query)
        return [] if query == lost else answers[query]

    monkeypatch.setattr(flow, "_asking", lambda access: rows)
    flow.of(access)
    assert len(answers) > 8
    for lost in list(answers):  # noqa: B007 - `rows` looks at it
        try:
            flow.of(access)
        except CvatAnalyticsError as error:
            said.append(str(error))
    assert len(said) > 4
    assert [each for each in said if "answered with nothing where a row was due" not in each] == []

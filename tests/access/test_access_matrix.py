"""Who may do what is what the documentation says."""

from __future__ import annotations

import difflib

from tests.access import matrix


def test_the_page_says_what_the_running_stack_does() -> None:
    said, found = matrix.PAGE.read_text().splitlines(), matrix.page().splitlines()
    changes = [
        line
        for line in difflib.unified_diff(said, found, "said", "found", n=0, lineterm="")
        if line[0] in "+-"
    ]
    assert not changes, "\n".join(
        (
            "somebody may what they might not, or the other way round; where that is meant, `make access` writes it down:",
            *changes,
        )
    )

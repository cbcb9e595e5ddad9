"""What to do where a test's tools are not installed: say which, as a failure in CI, as the reason of a skip elsewhere."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def give_up(message: str) -> NoReturn:
    """End the test at hand; `message` says what is missing and how to get it."""
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)

"""The errors that reach an operator: one sentence that names the thing, the reason and the next step, and the code of the cause."""

from __future__ import annotations

from cvat_analytics.base.addresses import real
from cvat_analytics.base.codes import Code, marked


class CvatAnalyticsError(Exception):
    """Base of every error whose text is meant for the operator. `exit_code` is the command's exit code, `code` stands for the cause.

    The text is without the code, so that it can be a part of another one; what prints it prints `told`.
    """

    exit_code = 1

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(real(text))
        self.code = code

    @property
    def told(self) -> str:
        """Return the text with its code at the end, as it is printed."""
        return marked(str(self), self.code)


class InputError(CvatAnalyticsError):
    """Bad input or settings: nothing has been changed."""

    exit_code = 2


class UnreachableError(CvatAnalyticsError):
    """A part of the stack cannot be reached."""

    exit_code = 3


class UnreachableHostError(UnreachableError):
    """A host of the stack cannot be reached: nothing that runs on it can be asked, and nothing is known of it."""


class RefusedLoginError(UnreachableError):
    """A part answers, but does not let us in."""

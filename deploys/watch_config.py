"""pyinfra's configuration for `cvat-analytics deploy` (its option `--config`): read before it connects to the hosts."""

from typing import Any

from pyinfra.api import State
from pyinfra.context import ctx_state

from deploys.report import Callbacks

_state: State = ctx_state.get()  # type: ignore[no-untyped-call]
_initialise = _state.init


def _initialise_and_watch(*arguments: Any, **options: Any) -> None:
    _initialise(*arguments, **options)
    _state.add_callback_handler(Callbacks())  # type: ignore[no-untyped-call]


# Callbacks can be added once the state has its hosts, and pyinfra connects to them right after that: there is no later moment
_state.init = _initialise_and_watch  # type: ignore[method-assign]

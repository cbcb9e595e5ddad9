"""pyinfra's configuration for `cvat-analytics deploy` (its option `--config`): read before it connects to the hosts.

It has pyinfra tell which hosts it could not log in to and why, what else has ended it, and that it has begun to change something.
"""

import functools
import importlib
import os
from collections.abc import Callable
from typing import Any

from pyinfra.api import State, operations
from pyinfra.api.exceptions import OperationError, PyinfraError
from pyinfra.api.state import BaseStateCallback
from pyinfra.context import ctx_state
from pyinfra_cli import util

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.config.inventory_file import Host
from cvat_analytics.connect import ssh
from deploys.report import LEAVING, agreed, tell, told


class Callbacks(BaseStateCallback):
    """What pyinfra calls as it goes on."""

    @staticmethod
    def host_connect_error(state: Any, host: Any, error: Exception) -> None:
        """Tell which host was not logged in to, and why."""
        tell("refused", reason=ssh.why(Host(host.name, (), host.data.dict()), error))

    @staticmethod
    def operation_start(state: Any, op_hash: str) -> None:
        """Tell that the first change, or one after it, is at hand; everything before was reading.

        By now every host has told what it loses.
        """
        if told("loss") and not agreed():
            tell("unagreed")
            raise PyinfraError("refused: nobody has agreed to what would be deleted")
        if told("upgrade") and LEAVING not in os.environ:
            tell("staged")
            raise PyinfraError("versions change: the parts take turns")
        tell("begun")


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` so that an error of ours is told, and ends it as a message and not as a traceback."""

    @functools.wraps(function)
    def called(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except Exception as error:
            # what a deploy file raises comes wrapped
            cause = getattr(error, "exception", error)
            if not isinstance(cause, CvatAnalyticsError | OperationError):
                raise
            tell("refused", reason=cause.told if isinstance(cause, CvatAnalyticsError) else str(cause))
            raise PyinfraError("the reason stands at the end") from None

    return called


ssh.prepare()
util.exec_file = _plain(util.exec_file)
operations.run_host_op = _plain(operations.run_host_op)
# pyinfra runs each host in a greenlet, raises again what ended it, and prints it: a traceback besides would be gevent's
_hub = importlib.import_module("gevent").get_hub()
_hub.NOT_ERROR = (*_hub.NOT_ERROR, PyinfraError)

_state: State = ctx_state.get()
_initialise = _state.init


def _initialise_and_watch(*arguments: Any, **options: Any) -> None:
    _initialise(*arguments, **options)
    _state.add_callback_handler(Callbacks())


# Callbacks can be added once the state has its hosts, and pyinfra connects to them right after that: there is no later moment
_state.init = _initialise_and_watch  # type: ignore[method-assign]

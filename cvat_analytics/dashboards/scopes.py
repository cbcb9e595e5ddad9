"""The scopes that CVAT's servers and browsers are known to send, old and new.

The pipeline stores any scope; a query that looks for one that nobody sends finds nothing and says nothing. So the check of
the dashboards knows them by name. https://docs.cvat.ai/docs/administration/community/advanced/analytics/
"""

from __future__ import annotations

_NOUNS = (
    "project task job organization user cloudstorage issue comment annotations label membership webhook "
    "shapes tags tracks accesstoken"
)
_SERVER = "create:invitation delete:invitation export:dataset import:dataset call:function send:exception send:working_time"
_CLIENT = (
    "load:cvat load:job save:job restore:job draw:object paste:object copy:object propagate:object drag:object resize:object "
    "delete:object lock:object merge:objects split:objects group:objects slice:object join:objects change:frame "
    "change:attribute change:label zoom:image fit:image rotate:image action:undo action:redo run:annotations_action "
    "click:element debug:info upload:annotations send:task_info load:workspace"
)

SCOPES = frozenset(
    [f"{verb}:{noun}" for verb in ("create", "update", "delete") for noun in _NOUNS.split()]
    + _SERVER.split()
    + _CLIENT.split()
)
"""Every scope that is known."""

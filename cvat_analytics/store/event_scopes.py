"""The scopes that CVAT's servers and browsers are known to send, old and new.

The pipeline stores any scope; a query that looks for one that nobody sends finds nothing and says nothing. So the check of
the dashboards knows them by name, and tests/store/test_event_scopes.py holds the SQL to them. What the events API takes from
clients is listed here too: its archive has this file, so it runs on Python 3.10 as well.
https://docs.cvat.ai/docs/administration/community/advanced/analytics/
"""

_CLIENT = (
    "load:cvat load:job save:job restore:job draw:object paste:object copy:object propagate:object drag:object resize:object "
    "delete:object lock:object merge:objects split:objects group:objects slice:object join:objects change:frame "
    "change:attribute change:label zoom:image fit:image rotate:image action:undo action:redo run:annotations_action "
    "click:element debug:info upload:annotations send:exception send:task_info load:workspace"
)

CLIENT_SCOPES = frozenset(_CLIENT.split())
"""What clients send. A server's scope from a client would be a forgery."""

_NOUNS = (
    "project task job organization user cloudstorage issue comment annotations label membership webhook "
    "shapes tags tracks accesstoken"
)
_SERVER = "create:invitation delete:invitation export:dataset import:dataset call:function send:exception send:working_time"

SCOPES = CLIENT_SCOPES.union(
    _SERVER.split(),
    (f"{verb}:{noun}" for verb in ("create", "update", "delete") for noun in _NOUNS.split()),
)
"""Every scope that is known."""

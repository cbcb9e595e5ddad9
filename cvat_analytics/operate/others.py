"""Leave other people out of what is given to one: their names, addresses, ids and texts are replaced, the rest stays as it is stored."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cvat_analytics.store.people import Person

SOMEBODY = "(somebody else)"
TEXT = "(somebody else's text)"
_OF_PERSON = ("id", "username", "first_name", "last_name", "email", "user_id", "user_name", "user_email")
_MAIL = re.compile(r"[^\s@\"'<>,;:()\[\]{}\\]+@[^\s@\"'<>,;:()\[\]{}\\]+\.[A-Za-z]{2,}")
_ID_IN_TEXT = re.compile(r"'id'(?:: |, )(\d+)")
"""In a dictionary that Python has made a text of."""
_NAME_FIELDS = ("username", "email", "first_name", "last_name")


@dataclass(frozen=True)
class Others:
    """Everybody but `person`. `comments`: the ids of comments that the person has written."""

    person: Person
    comments: frozenset[int] = frozenset()

    def concerns(self, event: Mapping[str, Any]) -> bool:
        """Return whether an event is the person's own, or says something of them (as `personal.OF_OTHERS` has it in SQL)."""
        if event.get("user_id") == self.person.id or self._is_own_comment(event):
            return True
        if _is_account(event) or _is_given(event):
            before = _ID_IN_TEXT.search(_text(_payload(event).get("old_value")))
            ids = {
                event.get("obj_id"),
                *(int(each[1]) for each in (_ID_IN_TEXT.search(_text(event.get("obj_val"))), before) if each),
            }
            if self.person.id in ids:
                return True
        texts = " ".join(_text(event.get(name)) for name in ("obj_name", "obj_val", "payload")).lower()
        return self._is_named_in(_payload(event)) or any(mail.lower() in texts for mail in self.person.emails)

    def leave_out(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return an event of the table without the others."""
        kept = dict(event)
        own = event.get("user_id") == self.person.id
        if not own:
            kept |= {"user_id": None, "user_name": SOMEBODY, "user_email": None, "access_token_id": None}
        payload = event.get("payload")
        try:
            decoded = json.loads(payload) if isinstance(payload, str) and payload else payload
        except ValueError:
            decoded = payload if own else TEXT
        if _is_account(event) and event.get("obj_id") != self.person.id:
            kept |= {"obj_id": None, "obj_name": SOMEBODY}
            decoded = _only_request(decoded)
        if _is_given(event) and not self._is_given_to_person(event):
            kept |= {"obj_id": None, "obj_val": SOMEBODY if event.get("obj_val") not in (None, "None") else event.get("obj_val")}  # fmt: skip
        kept, decoded = self._without_texts(event, kept, decoded, own)
        called = ("user_name", "user_email") if own else ()
        kept = {name: value if name in called else self._text_without(value) for name, value in kept.items()}
        kept["payload"] = (
            decoded if decoded is None else json.dumps(self.without(decoded), ensure_ascii=False)
        )
        return {name: kept[name] for name in event}

    def _without_texts(
        self, event: Mapping[str, Any], kept: dict[str, Any], payload: Any, own: bool
    ) -> tuple[dict[str, Any], Any]:
        """Leave out texts that others have written, or of which nobody can tell who has, and names of whom it is not told."""
        scope = str(event.get("scope", ""))
        if (scope == "create:comment" and not own) or (
            scope == "delete:comment" and not self._is_own_comment(event)
        ):
            kept["obj_name"] = TEXT
        if scope == "update:comment" and not own:
            kept["obj_val"], payload = TEXT, _only_request(payload)
        if scope == "update:user" and event.get("obj_name") in _NAME_FIELDS:
            called = {
                each.lower() for each in (*self.person.names, *self.person.emails, *self.person.other_names)
            }
            if _text(event.get("obj_val")).lower() not in called:
                kept["obj_val"] = SOMEBODY
            if _text(payload.get("old_value") if isinstance(payload, dict) else "").lower() not in called:
                payload = _only_request(payload)
        return kept, payload

    def without(self, value: Any) -> Any:
        """Return JSON without the people in it that are not the person, and without the e-mail addresses of others."""
        if isinstance(value, list):
            return [self.without(each) for each in value]
        if isinstance(value, dict):
            if not self._is_other(value):
                return {name: self.without(each) for name, each in value.items()}
            return {
                name: SOMEBODY if name in _OF_PERSON and each not in (None, "") else self.without(each)
                for name, each in value.items()
            }
        return self._text_without(value)

    def _is_other(self, value: Mapping[str, Any]) -> bool:
        """Return whether a JSON object describes somebody, and not the person."""
        for name, id_ in (
            ("username", "id"),
            ("user_name", "user_id"),
            ("user_email", "user_id"),
            ("email", "id"),
        ):
            if name in value:
                if isinstance(value.get(id_), int):
                    return bool(value[id_] != self.person.id)
                called = {each.lower() for each in (*self.person.names, *self.person.emails)}
                return _text(value[name]).lower() not in called
        return False

    def _is_named_in(self, value: Any) -> bool:
        if isinstance(value, list):
            return any(map(self._is_named_in, value))
        if isinstance(value, dict):
            return ("username" in value and value.get("id") == self.person.id) or any(
                map(self._is_named_in, value.values())
            )
        return False

    def _is_own_comment(self, event: Mapping[str, Any]) -> bool:
        return event.get("scope") == "delete:comment" and event.get("obj_id") in self.comments

    def _is_given_to_person(self, event: Mapping[str, Any]) -> bool:
        said = _ID_IN_TEXT.search(_text(event.get("obj_val")))
        id_ = event.get("obj_id")
        return self.person.id == (int(said[1]) if id_ is None and said else id_)

    def _text_without(self, value: Any) -> Any:
        """Return a text without others' e-mail addresses, and nothing of it where it is a dictionary of Python's about another."""
        if not isinstance(value, str):
            return value
        said = _ID_IN_TEXT.search(value)
        if said and int(said[1]) != self.person.id:
            return SOMEBODY
        own = {each.lower() for each in self.person.emails}
        return _MAIL.sub(lambda match: match[0] if match[0].lower() in own else SOMEBODY, value)


def _is_account(event: Mapping[str, Any]) -> bool:
    return event.get("scope") in ("create:user", "delete:user")


def _is_given(event: Mapping[str, Any]) -> bool:
    return str(event.get("scope", "")).startswith("update:") and event.get("obj_name") in (
        "assignee",
        "owner",
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _payload(event: Mapping[str, Any]) -> dict[str, Any]:
    payload = event.get("payload")
    try:
        decoded = json.loads(payload) if isinstance(payload, str) else payload
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _only_request(payload: Any) -> Any:
    """Return of a payload what tells of the request, and nothing of a person."""
    return {"request": payload["request"]} if isinstance(payload, dict) and "request" in payload else None

"""A CVAT of which only those endpoints exist that the events API and the gateway ask.

`/api/users/self`, `/api/memberships`, `/api/organizations` (who is asking) and `/analytics` (may they see the dashboards:
200, 401 or 403, without a body). It answers to basic logins, session cookies, tokens and access tokens as CVAT does.

    python -m tests.api.fake_cvat --port 8080
"""

from __future__ import annotations

import argparse
import base64
import json
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PASSWORD = "password-of-{}"


@dataclass(frozen=True)
class Person:
    """Somebody that this CVAT knows. Their password is `password-of-NAME`, their session `session-of-NAME`, their token `token-of-NAME`."""

    id: int
    name: str
    superuser: bool = False
    groups: tuple[str, ...] = ("user",)
    analytics: bool = False
    roles: dict[int, str] = field(default_factory=dict)
    """Role in each organization, by its id."""

    def as_json(self) -> dict[str, Any]:
        """Return what CVAT tells them of themselves."""
        return {
            "url": f"http://localhost/api/users/{self.id}",
            "id": self.id,
            "username": self.name,
            "first_name": self.name.title(),
            "last_name": "",
            "email": f"{self.name}@example.org",
            "groups": list(self.groups),
            "is_staff": self.superuser,
            "is_superuser": self.superuser,
            "is_active": True,
            "has_analytics_access": self.analytics,
        }


PEOPLE = (
    Person(1, "root", superuser=True, groups=("admin",), analytics=True),
    Person(2, "admin", groups=("admin",)),
    Person(3, "flagged", analytics=True, groups=("worker",), roles={2: "worker"}),
    Person(4, "plain", groups=("worker",), roles={1: "worker"}),
    Person(5, "owner", roles={1: "owner"}),
    Person(6, "maintainer", roles={1: "maintainer", 2: "worker"}),
    Person(7, "loner"),
)
ORGANIZATIONS = {1: "first", 2: "second"}


class FakeCvat(ThreadingHTTPServer):
    """The server. `fails` makes it answer with that status, `asked` counts the questions by path."""

    def __init__(self, port: int = 0, people: tuple[Person, ...] = PEOPLE) -> None:
        self.people = {person.name: person for person in people}
        self.fails = 0
        self.asked: dict[str, int] = {}
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """Return its base URL."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def who(self, headers: Any) -> Person | None:
        """Return whose credentials a request has."""
        scheme, _, value = (headers.get("Authorization") or "").partition(" ")
        if scheme.lower() == "basic":
            try:
                name, _, password = base64.b64decode(value).decode().partition(":")
            except ValueError:
                return None
            return self.people.get(name) if password == PASSWORD.format(name) else None
        if scheme in ("Token", "Bearer"):
            return self.people.get(value.removeprefix("token-of-")) if value.startswith("token-of-") else None
        session = SimpleCookie(headers.get("Cookie") or "").get("sessionid")
        return self.people.get(session.value.removeprefix("session-of-")) if session else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeCvat

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.server.asked[url.path] = self.server.asked.get(url.path, 0) + 1
        if self.server.fails:
            return self._answer(self.server.fails, {"detail": "made to fail"})
        person = self.server.who(self.headers)
        if person is None:
            return self._answer(401, {"detail": "Authentication credentials were not provided."})
        if url.path == "/analytics":
            allowed = person.superuser or "admin" in person.groups or person.analytics
            return self._answer(200 if allowed else 403, None)
        if url.path == "/api/users/self":
            return self._answer(200, person.as_json())
        if url.path == "/api/memberships":
            user_name = parse_qs(url.query).get("user", [""])[0]
            return self._page(
                [
                    {
                        "id": 100 * each.id + organization,
                        "user": {"id": each.id, "username": each.name},
                        "organization": organization,
                        "is_active": True,
                        "role": role,
                    }
                    for each in self.server.people.values()
                    for organization, role in each.roles.items()
                    if user_name in ("", each.name)
                ]
            )
        if url.path == "/api/organizations":
            owners = {
                o: p for p in self.server.people.values() for o, role in p.roles.items() if role == "owner"
            }
            return self._page(
                [
                    {
                        "id": id,
                        "slug": slug,
                        "name": slug.title(),
                        "owner": {"id": owners[id].id} if id in owners else None,
                    }
                    for id, slug in ORGANIZATIONS.items()
                    if id in person.roles or person.superuser or "admin" in person.groups
                ]
            )
        return self._answer(404, {"detail": "Not found."})

    def _page(self, results: list[dict[str, Any]]) -> None:
        self._answer(200, {"count": len(results), "next": None, "previous": None, "results": results})

    def _answer(self, status: int, content: Any) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        if body:
            self.send_header("Content-Type", "application/vnd.cvat+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Stand for a CVAT that knows who somebody is.")
    parser.add_argument("--port", type=int, default=8080)
    with FakeCvat(parser.parse_args().port) as cvat:
        print(cvat.url, flush=True)
        cvat.serve_forever()

"""Who is asking, and what follows from that."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

from starlette.requests import Request, cookie_parser


@dataclass(frozen=True)
class Organization:
    """An organization that somebody belongs to."""

    id: int
    slug: str
    manages: bool
    """Whether that person is its owner or a maintainer, and may see everything in it."""


@dataclass(frozen=True)
class Principal:
    """Somebody whose login has been checked."""

    key: str
    """Names the person for good, such as `cvat:5`: exports belong to it."""
    id: int | None
    """The person's id in the events; None where only the name is known."""
    name: str
    email: str = ""
    admin: bool = False
    analytics: bool = False
    """Whether the users file shows this person the dashboards; where there is a CVAT, that is asked instead."""
    organizations: tuple[Organization, ...] = ()

    def is_called(self, name: str) -> bool:
        """Return whether a login under `name` is this person's: CVAT goes by a session, whatever name comes with it."""
        return bool(name) and name.casefold() in (self.name.casefold(), self.email.casefold())

    @property
    def managed(self) -> tuple[int, ...]:
        """Return the ids of the organizations in which this person may see everything."""
        return tuple(each.id for each in self.organizations if each.manages)

    def organization(self, *, id: int | None = None, slug: str = "") -> Organization | None:
        """Return the organization of that id or slug if this person belongs to it."""
        return next(
            (each for each in self.organizations if each.id == id or (slug and each.slug == slug)), None
        )


@dataclass(frozen=True)
class Credentials:
    """What a request brings to prove who sends it, as it came."""

    authorization: str = ""
    cookie: str = ""

    def headers(self) -> dict[bytes, bytes]:
        """Return the headers that show them to somebody else, byte for byte."""
        headers = {b"Authorization": self.authorization, b"Cookie": self.cookie}
        return {name: value.encode("latin-1") for name, value in headers.items() if value}

    def basic(self) -> tuple[str, str] | None:
        """Return name and password of a basic login (RFC 7617), or None when it is none."""
        scheme, _, encoded = self.authorization.partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except ValueError:  # no base64, or not of UTF-8
            return None
        return (name, password) if colon else None

    def claimed(self) -> str:
        """Return the name that is claimed, as far as it can be seen without asking anybody."""
        login = self.basic()
        return login[0] if login else ""

    def proof(self) -> str:
        """Return what proves it: with a name what comes with that, else the token and the session, whatever other cookies come along."""
        session = cookie_parser(self.cookie).get("sessionid", "")
        return self.authorization if self.claimed() else f"{self.authorization}\0{session}"


def credentials(request: Request) -> Credentials:
    """Return what `request` brings; the cookies only if CVAT's session is among them."""
    cookie = request.headers.get("cookie", "")
    return Credentials(
        request.headers.get("authorization", ""), cookie if "sessionid" in request.cookies else ""
    )


def client_address(request: Request) -> str:
    """Return where a request comes from (uvicorn has put in what a proxy on this host says)."""
    return unquote(request.client.host) if request.client else ""


class IdentityProvider(Protocol):
    """Knows people: CVAT, or the users file."""

    def remembered(self, credentials: Credentials) -> Principal | None:
        """Return whose credentials these are where that has just been asked, at no cost; None for anybody else.

        Raises Problem (503) when it cannot be known now.
        """

    async def find(self, credentials: Credentials) -> Principal | None:
        """Return whose credentials these are, or None when they are nobody's.

        Raises Problem (503) when it cannot be known now.
        """

    async def close(self) -> None:
        """Let go of connections."""

"""What a service of CVAT's keeps off a company's proxy (`no_proxy`), and what docker itself sets of it in each container."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.gateway.compose_variables import literal

Lists = Mapping[str, str]
"""The lists that a service states, by the spelling of their variable."""
# Python's clients (CVAT's backend) look at the small one first, Go's (traefik) at the other: both say the same, or one hides the other
_SPELLINGS = ("no_proxy", "NO_PROXY")
_OF_THE_SHELL = "${no_proxy:-${NO_PROXY:-}}"
BETWEEN_CONTAINERS: Lists = {"no_proxy": f"10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,{_OF_THE_SHELL}"}
"""What CVAT's traefik must keep off a proxy in any case, or it reaches none of CVAT's containers: it goes by their addresses."""


def of(environment: Mapping[str, str | None]) -> Lists:
    """Return the lists in a service's environment; a variable without a value is that of the shell."""
    found = {name: environment[name] for name in _SPELLINGS if name in environment}
    return {name: f"${{{name}:-}}" if value is None else value for name, value in found.items()}


def merged(lists: Lists, addresses: Sequence[str], docker: str | None) -> dict[str, str]:
    """Return both spellings with `addresses` before what `lists` has; where that has neither, before `docker`'s list or the shell's."""
    # requests and Go's clients look for an IPv6 address as it is, clickhouse-connect and urllib as it stands in the URL
    ours = [each for address in addresses for each in _forms(address)]
    found = {}
    for name, other in (_SPELLINGS, _SPELLINGS[::-1]):
        stated = lists.get(name, lists.get(other))
        if stated is None:
            stated = _OF_THE_SHELL if docker is None else literal(docker)
        there = [each.strip() for each in stated.split(",")]
        new = [each for each in ours if each not in there]
        # a lone star is every address; in a list it is none
        found[name] = stated if stated.strip() == "*" else ",".join([*new, *([stated] if stated else [])])
    return found


def _forms(address: str) -> tuple[str, ...]:
    return (address, f"[{address}]") if ":" in address else (address,)


def of_docker(file: Path) -> str | None:
    """Return what docker's config.json keeps off a proxy in each container (`noProxy`), if it says so. Raises InputError."""
    try:
        described = json.loads(file.read_bytes())
        proxies = described.get("proxies") or {}
        stated = (proxies.get("default") or {}).get("noProxy")
    except OSError as error:
        raise InputError(Code.COMPOSE_FILE, f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, AttributeError):
        raise InputError(
            Code.COMPOSE_FILE,
            f"{file}: is not docker's config.json; give that of the docker that starts CVAT",
        ) from None
    return None if stated is None else str(stated)


def doubtful(services: Mapping[str, Lists], docker: Path | None) -> str:
    """Return what an operator must know of the services that state no list, when `docker` is only the config.json that is here."""
    names = ", ".join(name for name, lists in services.items() if not lists)
    if not names:
        return ""
    kept = f"with the noProxy of {docker}" if docker else "in place of any noProxy in docker's config.json"
    other = "another" if docker else "one"
    return (
        f"{names}: has no no_proxy in CVAT's files and gets one, {kept}. If the machine of CVAT has {other}, give its config.json with "
        "--docker-config FILE"
    )

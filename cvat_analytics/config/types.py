"""The types of settings' values: what a duration, a size, an address or a time zone is, and what else is not one.

Each refuses with a sentence that says what is wrong and what to write instead.
"""

from __future__ import annotations

import difflib
import functools
import ipaddress
import re
import unicodedata
import zoneinfo
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import PurePath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

_DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_LONGEST_RETENTION = timedelta(days=50 * 365)
_SIZE_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def parse_duration(value: object) -> timedelta:
    """Return the duration that a text like `90d`, `12h`, `500ms` or `1y` (365 days) means.

    Raises ValueError for anything else, and for a duration of zero.
    """
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d+)\s*(ms|[smhdwy])", str(value).strip())
    if not match or int(match[1]) == 0:
        raise ValueError(
            f"{value!r} is not a duration: write a whole number and ms, s, m, h, d, w or y, as in '90d'"
        )
    return timedelta(seconds=int(match[1]) * _DURATION_UNITS[match[2]])


def parse_retention(value: object) -> timedelta | None:
    """Return how long to keep data: a duration, or None for `forever`. Raises ValueError for others, and for more than 50 years.

    ClickHouse reckons the time at which a row goes in 32 bits, and begins anew after 2106: it would delete all of it at once.
    """
    if value is None or value == "forever":
        return None
    duration = parse_duration(value)
    if duration > _LONGEST_RETENTION:
        raise ValueError(
            f"{value!r} is more than 50 years, which ClickHouse cannot reckon with: write 'forever'"
        )
    return duration


def parse_names_retention(value: object) -> timedelta | Literal["events"] | None:
    """Return how long to keep names: `events`, or what `parse_retention` makes of it. Raises ValueError for others."""
    try:
        return "events" if value == "events" else parse_retention(value)
    except ValueError as error:
        raise ValueError(f"{error}; or 'events', for as long as events are kept") from None


def parse_size(value: object) -> int:
    """Return the bytes that a text like `512MiB` or `2GiB` means. Raises ValueError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = re.fullmatch(r"(\d+)\s*((?:[KMGT]iB)?)", str(value).strip())
    if not match:
        raise ValueError(
            f"{value!r} is not a size: write a whole number and KiB, MiB, GiB or TiB, as in '512MiB'"
        )
    return int(match[1]) * _SIZE_UNITS[match[2]]


def one_line(value: object) -> object:
    """Return a setting's value as it is. Raises ValueError where a text in it has a control character or a separator of lines.

    Every text ends in a line of some file: it would begin another one there, and say in it what no setting can.
    """
    if isinstance(value, str | PurePath):
        for character in str(value):
            if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
                raise ValueError(
                    f"has the control character {character!a}, such as a line break. Write it without (got {str(value)!a})"
                )
    elif isinstance(value, Mapping):
        one_line([*value.keys(), *value.values()])
    elif isinstance(value, Iterable):
        for each in value:
            one_line(each)
    return value


def _not_expanded(value: str) -> str:
    """Return a text for Grafana's configuration. Raises ValueError for what Grafana would put something else in the place of.

    https://grafana.com/docs/grafana/latest/setup-grafana/configure-grafana/#variable-expansion
    """
    if found := re.search(r"\$(__\w+)?\{|%\(|`", value):
        raise ValueError(
            f"{value!r} has {found[0]!r}, which Grafana's configuration cannot hold. Choose a text without"
        )
    return value


def _ip_address(value: str) -> str:
    try:
        address = ipaddress.ip_address(value)
        if not re.fullmatch(r"[A-Za-z0-9._-]*", getattr(address, "scope_id", None) or ""):
            raise ValueError
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address") from None
    return str(address)


def _identifier(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", value) or value in {
        "system",
        "default",
        "information_schema",
    }:
        raise ValueError(
            f"{value!r} is not usable as a database name: small letters, digits and _ only, and not one of ClickHouse's own"
        )
    return value


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = bool(re.fullmatch(r"https?://[^\s/]+(/\S*)?", value) and parts.hostname and parts.port != 0)
        # it is asked from shells, where other characters would be a command
        if usable and not re.fullmatch(r"[\w.-]+", name := parts.hostname or ""):
            _ip_address(name)
    except ValueError:  # brackets of no IPv6 address, a port that is no number
        usable = False
    if not usable:
        raise ValueError(f"{value!r} is not a URL: it must start with http:// or https:// and name a host")
    return value


def _http_url(value: str) -> str:
    # what means something of its own in the configuration of nginx or Grafana has no place in such an address
    if foreign := re.search(r"""[;#$"'`\\{}<>|^]|%(?![0-9A-Fa-f]{2})""", _url(value)):
        raise ValueError(f"{value!r} has {foreign[0]!r}. Write it as %{ord(foreign[0]):02X} in a URL")
    return value.rstrip("/") + "/"


def _optional_http_url(value: str) -> str:
    return _http_url(value) if value else ""


def parse_hours(value: str) -> tuple[int, int]:
    """Return begin and end of hours such as `08:00-18:00` in minutes of the day. Raises ValueError for others."""
    match = re.fullmatch(r"(\d\d):([0-5]\d)-(\d\d):([0-5]\d)", value)
    begin, end = (int(match[i]) * 60 + int(match[i + 1]) for i in (1, 3)) if match else (0, 0)
    if not begin < end <= 24 * 60:
        raise ValueError(f"{value!r} are no hours of a day: write them as in '08:00-18:00'")
    return begin, end


def _hours(value: str) -> str:
    parse_hours(value)
    return value


_WEEKDAYS = r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*"
_NUMBERS = r"(?:\*|\d+(?:\.\.\d+)?)(?:/\d+)?(?:,(?:\*|\d+(?:\.\.\d+)?)(?:/\d+)?)*"
_CALENDAR = re.compile(
    rf"(?:{_WEEKDAYS}(?:(?:\.\.|,){_WEEKDAYS})*)?"
    rf"(?:(?:^|\s+)(?:{_NUMBERS}-)?{_NUMBERS}[-~]{_NUMBERS})?"
    rf"(?:(?:^|\s+){_NUMBERS}:{_NUMBERS}(?::{_NUMBERS})?)?"
    r"(?:\s+[A-Za-z][\w/+-]*)?",
    re.IGNORECASE,
)
_SHORTHANDS = ("minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "semiannually", "yearly")


def _calendar(value: str) -> str:
    """Return a time as systemd writes it (systemd.time(7)); whether it ever comes only a host's systemd knows, which is asked."""
    if value not in _SHORTHANDS and (
        not value.strip() or value[0].isspace() or not _CALENDAR.fullmatch(value)
    ):
        raise ValueError(
            f"{value!r} is no time as systemd writes it: write 'daily', 'Sun 03:00' or '*-*-* 02:30:00' (`systemd-analyze calendar` tries one)"
        )
    return value


def _backup_target(value: str) -> str:
    """Return a word of restic's for one of the three kinds of place."""
    name = r"(?:[\w.-]+@)?(?:[\w.-]+|\[[0-9A-Fa-f:]+\])"
    kinds = {
        "sftp": rf"sftp:(?:{name}:[^:]+|//{name}(?::\d{{1,5}})?/[^:]+)",
        "s3": r"s3:https?://[^/@]+/[^/?#]+(?:/[^?#]*)?",
    }
    kind = value.partition(":")[0]
    whole = re.fullmatch(kinds[kind], value) if kind in kinds else value.startswith("/") and value.strip("/")
    if value and (not whole or re.search(r"[\"'`$\\\s%]", value)):
        raise ValueError(
            f"{value!r} is no place for backups: write an absolute path, 'sftp:user@host:/path', or 's3:https://host/bucket', without blanks and quotes"
        )
    return value


def _mail_address(value: str) -> str:
    if not re.fullmatch(r"[^\s@,;<>\"]+@[^\s@,;<>\"]+", value):
        raise ValueError(f"{value!r} is not an e-mail address")
    return _not_expanded(value)


def _host_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", value):
        raise ValueError(f"{value!r} is not the name of a host, as in 'events.example.org'")
    return value.lower()


def _host_and_port(value: str) -> str:
    if value and not re.fullmatch(r"([\w.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}", value):
        raise ValueError(f"{value!r} is not a host and a port, as in 'mail.example.org:587'")
    return value


def _webhook_url(value: str) -> str:
    return _url(value) if value else value


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise ValueError("not a sha256: 64 hexadecimal digits are needed")
    return value.lower()


@functools.cache
def _time_zones() -> set[str]:
    """Return the names of all time zones: asked once, because Python looks at hundreds of files for it each time."""
    return zoneinfo.available_timezones()


def _time_zone(value: str) -> str:
    if value not in _time_zones():
        near = difflib.get_close_matches(value, _time_zones(), n=1)
        raise ValueError(f"{value!r} is not a time zone" + (f"; did you mean {near[0]!r}?" if near else ""))
    return value


Port = Annotated[int, Field(ge=1, le=65535)]
Address = Annotated[str, AfterValidator(_ip_address)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""Ends with a slash."""
OptionalHttpUrl = Annotated[str, AfterValidator(_optional_http_url)]
WebhookUrl = Annotated[str, AfterValidator(_webhook_url)]
"""As it is written: a slash more would be another address. Empty for none."""
HostName = Annotated[str, AfterValidator(_host_name)]
HostAndPort = Annotated[str, AfterValidator(_host_and_port)]
DatabaseName = Annotated[str, AfterValidator(_identifier)]
NewColumn = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Hours = Annotated[str, AfterValidator(_hours)]
Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Retention = Annotated[timedelta | None, BeforeValidator(parse_retention)]
NamesRetention = Annotated[timedelta | Literal["events"] | None, BeforeValidator(parse_names_retention)]
MaxQueries = Annotated[int, Field(le=1000, strict=True)]
Percent = Annotated[int, Field(ge=1, le=80, strict=True)]
Size = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
Sha256 = Annotated[str, AfterValidator(_sha256)]
GrafanaText = Annotated[str, AfterValidator(_not_expanded)]
BackupTarget = Annotated[str, AfterValidator(_backup_target)]
"""Empty for none."""
Calendar = Annotated[str, AfterValidator(_calendar)]
Kept = Annotated[int, Field(ge=0, le=1000, strict=True)]
MailAddress = Annotated[str, AfterValidator(_mail_address)]
Scope = Annotated[str, Field(pattern=r"^[a-z_]+:[a-z_]+$")]
Version = Annotated[str, Field(pattern=r"^\d+(\.\d+){1,3}(-\w+)?$")]

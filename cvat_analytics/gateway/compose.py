"""CVAT's compose files as Docker Compose reads them: which services there are, what image each has and what environment.

Several files, `include`, `extends`, `env_file` and `.env` are followed; of a service only what is asked here is read. Whatever of
that cannot be read is an error, which names the file, the line and the key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.gateway.compose_variables import from_file, interpolated, literal
from cvat_analytics.gateway.compose_yaml import (
    OVERRIDE,
    RESET,
    Value,
    assignments,
    documents,
    merged,
    name_of,
    plain,
    settled,
)

_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_OVERRIDES = (
    "compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml",
)  # fmt: skip
_READ = ("image", "build", "extends", "environment", "env_file")
_FLAT = "Have Docker Compose put it all into one file and give that: `docker compose config --no-interpolate > all.yml`"


@dataclass(frozen=True)
class Service:
    """A service of the finished project."""

    image: str = ""
    build: str = ""
    """How it is built, of use for comparisons only."""
    environment: Mapping[str, str | None] = field(default_factory=dict)
    """As an override would have to say it, variables and all; None is what the shell says."""


@dataclass(frozen=True)
class _Variables:
    """What `${…}` in a file stands for, and whether that is so for the files that come after it too."""

    values: Mapping[str, str]
    own: bool = False

    def text(self, value: Value, key: str) -> str:
        try:
            return interpolated(value.text(key), self.values.get)
        except ValueError as error:
            raise value.wrong(key, f"cannot be read: {error}") from None


def files(paths: Sequence[Path], environ: Mapping[str, str]) -> list[Path]:
    """Return the compose files that `paths` are, in the order of Docker Compose's -f; a directory stands for those in it.

    `environ` is the shell's environment. Raises InputError for a directory without any.
    """
    values = _with_file(environ, _directory(paths) / ".env")
    return [file for path in paths for file in (_in_directory(path, values) if path.is_dir() else [path])]


def project(paths: Sequence[Path], environ: Mapping[str, str], header: str) -> dict[str, Service]:
    """Return the services of the compose files `paths` (see `files`).

    A file that starts with `header` is one that this stack wrote, and is passed over. Raises InputError for what cannot be read.
    """
    directory = _directory(paths)
    values = _with_file(environ, directory / ".env")
    # each is read once: it may be a pipe
    read = [(file, _bytes(file)) for file in files(paths, environ)]
    theirs = [(file, content) for file, content in read if not content.startswith(header.encode())]
    found = {}
    for name, service in _model(theirs, directory, _Variables(values), ()).items():
        described = service.mapping(f"services.{name}")
        found[name] = Service(
            _said(described, "image"), _said(described, "build"), _environment(name, described, values)
        )
    return found


def _directory(paths: Sequence[Path]) -> Path:
    return paths[0] if paths[0].is_dir() else paths[0].parent


def _with_file(values: Mapping[str, str], file: Path) -> dict[str, str]:
    if values.get("COMPOSE_DISABLE_ENV_FILE", "").lower() in ("1", "true") or not file.is_file():
        return dict(values)
    return {**from_file(file, values), **values}


def _in_directory(directory: Path, values: Mapping[str, str]) -> list[Path]:
    """Return the files that Docker Compose takes in `directory` when it is told none."""
    if named := values.get("COMPOSE_FILE"):
        return [
            directory / name
            for name in named.split(values.get("COMPOSE_PATH_SEPARATOR") or os.pathsep)
            if name
        ]
    first = next((directory / name for name in _NAMES if (directory / name).is_file()), None)
    if not first:
        raise InputError(
            Code.COMPOSE_FILE,
            f"{directory}: has no compose file ({', '.join(_NAMES)}); give that of your CVAT",
        )
    return [first, *[directory / name for name in _OVERRIDES if (directory / name).is_file()][:1]]


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(Code.COMPOSE_FILE, f"{file}: cannot be read ({error.strerror})") from None


def _model(
    files: Sequence[tuple[Path, bytes]], directory: Path, variables: _Variables, included: tuple[Path, ...]
) -> dict[str, Value]:
    """Return the services of `files`, the later ones merged over the earlier; relative paths start at `directory`."""
    services: dict[str, Value] = {}
    for file, content in files:
        for document in documents(content, str(file)):
            top = _top(document)
            own = _services(top, directory, variables)
            for name, service in _included(top, directory, variables, (*included, file)).items():
                mine = own.get(name)
                own[name] = _upon(service, mine, name) if mine else service
            for name in own:
                own[name] = _extended(name, own, variables, ())
            stated = top.get("services")
            over = Value(own, str(file), document.line, stated.tag if stated else "")
            base = Value(dict(services), str(file), document.line)
            services = settled(merged(base, over, ("services",))).mapping("services")
    return services


def _top(document: Value) -> dict[str, Value]:
    if document.data is not None and not isinstance(document.data, dict):
        raise document.wrong("the file", "is no docker-compose.yml")
    return document.mapping("the file")


def _services(top: Mapping[str, Value], directory: Path, variables: _Variables) -> dict[str, Value]:
    """Return the services of one document, with paths and variables in them resolved; `!reset` ones are still there."""
    found = {}
    stated = top.get("services")
    if stated is None:
        return {}
    stated.mapping("services")
    for name, service in stated.data.items() if isinstance(stated.data, dict) else ():
        key = f"services.{name}"
        if service.tag == RESET:
            found[name] = service
            continue
        if not isinstance(service.data, dict):
            raise service.wrong(key, "is not a mapping")
        kept = {part: value for part, value in service.data.items() if part in _READ}
        for part in kept:
            if kept[part].tag != RESET and kept[part].data is not None:
                kept[part] = _resolved(kept[part], f"{key}.{part}", part, directory, variables)
        found[name] = replace(service, data=kept)
    return found


def _resolved(value: Value, key: str, part: str, directory: Path, variables: _Variables) -> Value:
    if part == "image":
        return replace(value, data=variables.text(value, key))
    if part == "extends":
        if not isinstance(value.data, dict):
            return replace(value, data={"service": replace(value, data=variables.text(value, key), tag="")})
        stated = value.mapping(key)
        if "service" not in stated:
            raise value.wrong(key, "names no service")
        other = {"service": replace(stated["service"], data=variables.text(stated["service"], key))}
        if "file" in stated:
            other["file"] = _located(stated["file"], f"{key}.file", directory, variables)
        return replace(value, data=other)
    if part == "env_file":
        items = value.items(key) if not isinstance(value.data, dict) else [value]
        return replace(value, data=[_env_file(item, key, directory, variables) for item in items])
    if part == "environment":
        return replace(value, data=_assigned(value, key, variables))
    return value


def _assigned(value: Value, key: str, variables: _Variables) -> list[Value] | dict[str, Value]:
    """Variables stay as they are written, for Docker Compose to look them up; what only an included file knows it cannot."""
    items = [replace(item, tag="") for item in assignments(value) if item.tag != RESET]
    if isinstance(value.data, list):
        return [_assignment(item, key, variables) for item in items]
    described = value.data if isinstance(value.data, dict) else {}
    if not variables.own:
        return described
    return {
        name: item
        if item.tag == RESET or item.data is None
        else replace(item, data=literal(variables.text(item, f"{key}.{name}")))
        for name, item in described.items()
    }


def _assignment(item: Value, key: str, variables: _Variables) -> Value:
    name = name_of(item)
    if variables.own and name == item.data and name in variables.values:
        return replace(item, data=f"{name}={literal(variables.values[name])}")
    own = variables.own or "$" in name
    return replace(item, data=literal(variables.text(item, key))) if own else item


def _env_file(item: Value, key: str, directory: Path, variables: _Variables) -> Value:
    if not isinstance(item.data, dict):
        return replace(item, data={"path": _located(item, key, directory, variables)})
    stated = item.mapping(key)
    if "path" not in stated:
        raise item.wrong(key, "names no path")
    return replace(item, data={**stated, "path": _located(stated["path"], key, directory, variables)})


def _located(value: Value, key: str, directory: Path, variables: _Variables) -> Value:
    path = variables.text(value, key)
    if "://" in path or path.startswith(("git@", "github.com/")):
        raise value.wrong(key, f"is not on this machine ({path}). {_FLAT}")
    return replace(value, data=str(directory / Path(path).expanduser()))


def _upon(base: Value, service: Value, name: str) -> Value:
    """Return `service` upon one that it includes or extends: its own tag is about earlier files, not about that."""
    if service.tag == RESET:
        return replace(base, tag=OVERRIDE)
    return replace(merged(base, replace(service, tag=""), ("services", name)), tag=service.tag)


def _included(
    top: Mapping[str, Value], directory: Path, variables: _Variables, chain: tuple[Path, ...]
) -> dict[str, Value]:
    found: dict[str, Value] = {}
    stated = top.get("include")
    if stated is None:
        return {}
    if not isinstance(stated.data, list):
        raise stated.wrong("include", "is not a list")
    for item in stated.items("include"):
        parts = item.mapping("include") if isinstance(item.data, dict) else {"path": item}
        if "path" not in parts:
            raise item.wrong("include", "names no path")
        paths = [
            Path(str(_located(each, "include", directory, variables).data))
            for each in parts["path"].items("include.path")
        ]
        known = {file.resolve() for file in chain}
        for path in paths:
            if path.resolve() in known:
                raise item.wrong("include", f"leads back to {path}")
        if not paths:
            raise item.wrong("include", "names no path")
        base = paths[0].parent
        if "project_directory" in parts:
            base = Path(str(_located(parts["project_directory"], "include", directory, variables).data))
        values = dict(variables.values)
        if "env_file" in parts:
            for each in parts["env_file"].items("include.env_file"):
                file = Path(str(_located(each, "include.env_file", directory, variables).data))
                values |= {} if file == Path(os.devnull) else from_file(file, values)
            values |= variables.values
        else:
            values = _with_file(variables.values, base / ".env")
        inner = _Variables(values, variables.own or values != dict(variables.values))
        for name, service in _model([(path, _bytes(path)) for path in paths], base, inner, chain).items():
            # what is there already counts more, as in Docker Compose
            found[name] = _upon(service, found[name], name) if name in found else service
    return found


def _extended(
    name: str, services: dict[str, Value], variables: _Variables, trail: tuple[tuple[str, str], ...]
) -> Value:
    """Return the service `name` of `services` with what it extends beneath it."""
    service = services[name]
    parts = service.data if isinstance(service.data, dict) else {}
    extends = parts.get("extends")
    if service.tag == RESET or extends is None or extends.tag == RESET or extends.data is None:
        return service
    key = f"services.{name}.extends"
    if (service.file, name) in trail:
        raise extends.wrong(key, "leads back to itself")
    stated = extends.mapping(key)
    ref = stated["service"].text(key)
    if "file" in stated:
        file = Path(str(stated["file"].data))
        services = {}
        for document in documents(_bytes(file), str(file)):
            own = _services(_top(document), file.parent, variables)
            services |= {
                each: merged(services.get(each), value, ("services", each)) for each, value in own.items()
            }
    if ref not in services or services[ref].tag == RESET:
        raise extends.wrong(key, f"names the service {ref!r}, which is not there")
    base = settled(_extended(ref, services, variables, (*trail, (service.file, name))))
    both = _upon(base, service, name)
    kept = both.data if isinstance(both.data, dict) else {}
    return replace(both, data={part: value for part, value in kept.items() if part != "extends"})


def _said(service: Mapping[str, Value], key: str) -> str:
    stated = plain(service[key]) if key in service else None
    return "" if stated is None else str(stated)


def _says(stated: Mapping[str, Value], key: str, value: str) -> bool:
    return key in stated and str(stated[key].data).lower() == value


def _environment(name: str, service: Mapping[str, Value], values: Mapping[str, str]) -> dict[str, str | None]:
    """Return a service's variables: those of its files, and over them those that it states itself."""
    found: dict[str, str | None] = {}
    for item in service["env_file"].items("env_file") if "env_file" in service else ():
        stated = item.mapping(f"services.{name}.env_file")
        path = Path(str(stated["path"].data))
        if _says(stated, "required", "false") and not path.is_file():
            continue
        read = from_file(path, values, raw=_says(stated, "format", "raw"))
        found |= {each: literal(value) for each, value in read.items()}
    for item in assignments(service["environment"]) if "environment" in service else ():
        variable, stated_too, value = str(item.data).partition("=")
        found[variable] = value if stated_too else None
    return found

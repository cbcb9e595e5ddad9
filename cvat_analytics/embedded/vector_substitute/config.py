"""Read a rendered `vector.toml` and refuse whatever the substitute could not honour."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SECRET = re.compile(r"SECRET\[(\w+)\.([\w./-]+)\]")

# What may stand for each option: a type, or the only values that are honoured. `!` marks what must be there.
Options = Mapping[str, "type | tuple[Any, ...]"]
_SOURCES: Mapping[str, Options] = {
    "http_server": {
        "!address": str,
        "path": str,
        "!framing.method": ("bytes",),
        "!decoding.codec": ("bytes",),
        "host_key": str,
        "headers": list,
        "auth.strategy": ("custom",),
        "auth.source": str,
        "tls.enabled": bool,
        "tls.crt_file": str,
        "tls.key_file": str,
    },
    "internal_metrics": {"!scrape_interval_secs": int},
    "host_metrics": {
        "!scrape_interval_secs": int,
        "!collectors": (["filesystem"],),
        "filesystem.filesystems.excludes": list,
        "filesystem.mountpoints.excludes": list,
    },
    "exec": {
        "!mode": ("scheduled",),
        "!scheduled.exec_interval_secs": int,
        "!command": list,
        "!include_stderr": (False,),
    },
}
_TRANSFORMS: Mapping[str, Options] = {
    "remap": {
        "!inputs": list,
        "!source": str,
        "drop_on_error": bool,
        "drop_on_abort": bool,
        "reroute_dropped": bool,
    },
    "metric_to_log": {"!inputs": list},
    # nothing is limited: what it is here for is that it hands on event by event
    "throttle": {"!inputs": list, "!threshold": int, "!window_secs": int, "!exclude": ("true",)},
}
_SINKS: Mapping[str, Options] = {
    "http": {
        "!inputs": list,
        "!uri": str,
        "!method": ("post",),
        "auth.strategy": ("basic",),
        "auth.user": str,
        "auth.password": str,
        "!encoding.codec": ("json", "text"),
        "encoding.except_fields": list,
        "!framing.method": ("newline_delimited", "bytes"),
        "!compression": ("gzip", "none"),
        "tls.ca_file": str,
        "!retry_strategy.type": ("all", "default"),
        "request.headers.X-CVAT-Analytics-Sender": str,
        "request.headers.X-CVAT-Analytics-Token": str,
        "request.retry_attempts": int,
        "request.retry_initial_backoff_secs": int,
        "request.retry_max_duration_secs": int,
        "request.timeout_secs": int,
        "!request.concurrency": (1,),
        "batch.timeout_secs": int,
        "batch.max_events": int,
        "batch.max_bytes": int,
        "!buffer.type": ("disk", "memory"),
        "buffer.max_size": int,
        "buffer.max_events": int,
        "!buffer.when_full": ("block", "drop_newest"),
        "acknowledgements.enabled": bool,
    },
    "file": {
        "!inputs": list,
        "!path": str,
        "!compression": ("none",),
        "!encoding.codec": ("json",),
        "!framing.method": ("newline_delimited",),
        "idle_timeout_secs": int,
    },
    "prometheus_exporter": {"!inputs": list, "!address": str, "!acknowledgements.enabled": (False,)},
}
# What Vector's defaults make of these together is another promise than the one that is kept here.
_TOGETHER = {
    "disk": {"buffer.max_size", "buffer.when_full=block"},
    "memory": {"buffer.max_events", "buffer.when_full=drop_newest", "acknowledgements.enabled=False"},
    "basic": {"auth.user", "auth.password"},
    # a body as it came, in a request of its own
    "text": {"framing.method=bytes", "batch.max_events=1"},
    "json": {"framing.method=newline_delimited"},
}
_SECRETS: Mapping[str, Options] = {"directory": {"!path": str, "remove_trailing_whitespace": bool}}
_KINDS = {"sources": _SOURCES, "transforms": _TRANSFORMS, "sinks": _SINKS, "secret": _SECRETS}
# (metrics are never forgotten here)
_GLOBAL: Options = {"!data_dir": str, "!acknowledgements.enabled": (True,), "expire_metrics_secs": float}


class ConfigError(Exception):
    """The configuration holds something that the substitute does not implement."""


@dataclass(frozen=True)
class Component:
    """One source, transform or sink: its options by dotted name, secrets filled in."""

    name: str
    type: str
    options: Mapping[str, Any]

    def __getitem__(self, option: str) -> Any:
        return self.options[option]

    def get(self, option: str, default: Any) -> Any:
        """Return the value of `option`, or Vector's `default`."""
        return self.options.get(option, default)


@dataclass(frozen=True)
class Config:
    """A configuration of which every part is implemented. `transforms` are in the order in which events pass."""

    data_dir: Path
    sources: tuple[Component, ...]
    transforms: tuple[Component, ...]
    sinks: tuple[Component, ...]
    general: Mapping[str, Any]
    """What cannot be changed by a reload: global options and secret backends."""

    def of_type(self, *types: str) -> tuple[Component, ...]:
        """Return the sources and sinks of `types`."""
        return tuple(component for component in (*self.sources, *self.sinks) if component.type in types)


def load(path: Path) -> Config:
    """Return the configuration in `path`. Raises ConfigError that names the component and the option."""
    try:
        text = path.read_text()
        document = tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    components = {kind: _components(kind, document.pop(kind, {})) for kind in _KINDS}
    general = _checked("the configuration", _flat(document), _GLOBAL)
    filled = {
        kind: [_with_secrets(component, components["secret"]) for component in components[kind]]
        for kind in _KINDS
    }
    for sink in filled["sinks"]:
        _require_together(sink)
    return Config(
        data_dir=Path(general["data_dir"]),
        sources=tuple(filled["sources"]),
        transforms=_in_order(filled["sources"], filled["transforms"], filled["sinks"]),
        sinks=tuple(filled["sinks"]),
        general=general | {backend.name: backend.options for backend in components["secret"]},
    )


def _require_together(sink: Component) -> None:
    """Raise ConfigError unless what depends on the sink's kind of buffer, login and encoding is there."""
    for option in ("buffer.type", "auth.strategy", "encoding.codec"):
        for other in sorted(_TOGETHER.get(sink.get(option, ""), ())):
            name, _, value = other.partition("=")
            if name not in sink.options or (value and str(sink[name]) != value):
                raise ConfigError(
                    f"sinks.{sink.name}: option {name} must be {value or 'given'} where {option} is {sink[option]!r}"
                )


def _components(kind: str, tables: Mapping[str, Any]) -> list[Component]:
    components = []
    for name, table in tables.items():
        options = _flat(table)
        type_ = options.pop("type", None)
        if type_ not in _KINDS[kind]:
            raise ConfigError(
                f"{kind}.{name}: option type = {type_!r} is not implemented by the substitute for Vector"
            )
        components.append(Component(name, type_, _checked(f"{kind}.{name}", options, _KINDS[kind][type_])))
    return components


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _checked(where: str, options: dict[str, Any], known: Options) -> dict[str, Any]:
    allowed = {name.removeprefix("!"): value for name, value in known.items()}
    for name, value in options.items():
        if name not in allowed:
            raise ConfigError(f"{where}: option {name} is not implemented by the substitute for Vector")
        want = allowed[name]
        if value not in want if isinstance(want, tuple) else type(value) is not want:
            can = (
                " or ".join(map(repr, want))
                if isinstance(want, tuple)
                else f"a value of type {want.__name__}"
            )
            raise ConfigError(
                f"{where}: option {name} = {value!r} is not implemented, the substitute for Vector takes {can}"
            )
    for name in known:
        if name.startswith("!") and name[1:] not in options:
            raise ConfigError(f"{where}: option {name[1:]} is missing; the substitute for Vector needs it")
    return options


def _with_secrets(component: Component, backends: list[Component]) -> Component:
    directories = {backend.name: backend for backend in backends}

    def secret(match: re.Match[str]) -> str:
        backend = directories.get(match[1])
        if backend is None:
            raise ConfigError(f"{component.name}: {match[0]} names a secret backend that is not configured")
        file = Path(backend["path"]) / match[2]
        try:
            value = file.read_text()
        except OSError as error:
            raise ConfigError(
                f"{component.name}: {match[0]} cannot be read from {file}: {error.strerror}"
            ) from None
        return value.rstrip() if backend.get("remove_trailing_whitespace", False) else value

    options = {
        name: _SECRET.sub(secret, value) if isinstance(value, str) else value
        for name, value in component.options.items()
    }
    return Component(component.name, component.type, options)


def _in_order(
    sources: list[Component], transforms: list[Component], sinks: list[Component]
) -> tuple[Component, ...]:
    """Return the transforms so that each comes after its inputs. Raises ConfigError for an input that nothing gives."""
    known, ordered, waiting = {source.name for source in sources}, list[Component](), list(transforms)
    while ready := [transform for transform in waiting if known.issuperset(transform["inputs"])]:
        for transform in ready:
            known |= {transform.name} | (
                {f"{transform.name}.dropped"} if transform.get("reroute_dropped", False) else set()
            )
        ordered += ready
        waiting = [transform for transform in waiting if transform not in ready]
    for component in [*waiting, *sinks]:
        for name in set(component["inputs"]) - known:
            raise ConfigError(f"{component.name}: option inputs names {name!r}, which no component gives")
    return tuple(ordered)

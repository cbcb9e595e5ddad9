"""Execute the transforms: events are JSON texts, remap programs run in the real VRL runtime."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import vector_vrl

from cvat_analytics.embedded.vector_substitute.config import Component, ConfigError

# The runtime shows an event only while it is an object, and nested values only as text; so the whole event is handed out
# as one text. The programs themselves stay untouched in front of it.
_HAND_OUT = '\n. = {"event": encode_json(.)}\n'

# An event is JSON here, which has no place for bytes that are no text; the programs get them as Vector has them.
_BYTES = "message_base64"
_BYTES_IN = f'. = set!(., ["message"], decode_base64!(del(.{_BYTES})))\n'

Outputs = Mapping[str, Sequence[str]]


def message(data: bytes) -> dict[str, str]:
    """Return the field of an event in which its message stands."""
    try:
        return {"message": data.decode()}
    except UnicodeDecodeError:
        return {_BYTES: base64.b64encode(data).decode()}


def message_bytes(event: Mapping[str, str]) -> bytes:
    """Return the message of an event."""
    return base64.b64decode(event[_BYTES]) if _BYTES in event else event["message"].encode()


def compile_all(transforms: Iterable[Component]) -> None:
    """Raise ConfigError for the first program that does not compile."""
    for transform in transforms:
        if transform.type != "remap":
            continue
        result = vector_vrl.validate_vrl(transform["source"] + _HAND_OUT)
        if not result.success:
            raise ConfigError(f"transforms.{transform.name}: option source does not compile: {result.error}")


def compile_condition(source: Component) -> None:
    """Raise ConfigError when the program that judges a source's requests does not compile."""
    result = vector_vrl.validate_vrl(_condition(source.get("auth.source", "true")))
    if not result.success:
        # not the error itself, which shows the line: a password may stand there
        raise ConfigError(f"sources.{source.name}: option auth.source does not compile")


def admits(source: Component, headers: Mapping[str, str], address: str) -> bool:
    """Return what the program that judges a source's requests says of one with these `headers` from that `address`."""
    if "auth.source" not in source.options:
        return True
    request = json.dumps({"headers": headers, "address": address, "path": source.get("path", "/")})
    (result,) = vector_vrl.execute_vrl(_condition(source["auth.source"]), [request])
    return bool(result.get("event") == "true")


def _condition(program: str) -> str:
    return f'. = {{"event": to_string({{\n{program}\n}})}}'


def run_all(transforms: Iterable[Component], inputs: Outputs) -> Outputs:
    """Return what each output gives (`name`, and `name.dropped` for rerouted events) when the sources give `inputs`."""
    outputs: dict[str, Sequence[str]] = dict(inputs)
    for transform in transforms:
        received = [event for name in transform["inputs"] for event in outputs.get(name, ())]
        if transform.type == "metric_to_log":
            outputs[transform.name] = [_metric_to_log(event) for event in received]
            continue
        if transform.type == "throttle":  # which excludes everything from being counted
            outputs[transform.name] = received
            continue
        passed, dropped = _run(transform, received)
        outputs[transform.name] = passed
        outputs[f"{transform.name}.dropped"] = dropped
    return outputs


def _run(transform: Component, events: Sequence[str]) -> tuple[list[str], list[str]]:
    passed: list[str] = []
    dropped: list[str] = []
    if not events:  # each call compiles the program, which takes longer than running it
        return passed, dropped
    program = transform["source"] + _HAND_OUT
    binary = [f'"{_BYTES}"' in event for event in events]
    texts = iter(
        _executed(program, [event for event, bytes_ in zip(events, binary, strict=True) if not bytes_])
    )
    others = iter(_executed(_BYTES_IN + program, list(itertools.compress(events, binary))))
    results = [next(others if bytes_ else texts) for bytes_ in binary]
    for event, result in zip(events, results, strict=True):
        if "event" in result:
            passed += _explode(result["event"])
            continue
        kind, _, message = str(result["error"]).partition(": ")
        reason = "abort" if kind == "VRL aborted" else "error"
        if not transform.get(f"drop_on_{reason}", reason == "abort"):
            passed.append(event)
        elif transform.get("reroute_dropped", False):
            dropped.append(_annotated(event, transform.name, reason, message))
    return passed, dropped


def _executed(program: str, events: list[str]) -> list[dict[str, Any]]:
    return vector_vrl.execute_vrl(program, events) if events else []


def _metric_to_log(event: str) -> str:
    fields = json.loads(event)
    host = fields["tags"].pop("host", None)
    return dump(fields | {"timestamp": datetime.now(UTC).isoformat()} | ({"host": host} if host else {}))


def _explode(text: str) -> list[str]:
    """Return one event per element of an array; what is no object goes under `message`, as in Vector."""
    if text.startswith("{"):
        return [text]
    value = json.loads(text)
    return [
        dump(item if isinstance(item, dict) else {"message": item})
        for item in (value if isinstance(value, list) else [value])
    ]


def _annotated(event: str, component: str, reason: str, message: str) -> str:
    details = {
        "reason": reason,
        "message": message,
        "component_id": component,
        "component_type": "remap",
        "component_kind": "transform",
    }
    if '"metadata"' not in event:  # spare reading and writing what may be 100 MiB
        return f'{event[:-1]}, "metadata": {dump({"dropped": details})}}}'
    fields = json.loads(event)
    metadata = fields.get("metadata")
    fields["metadata"] = (metadata if isinstance(metadata, dict) else {}) | {"dropped": details}
    return dump(fields)


def dump(value: object) -> str:
    """Return `value` as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

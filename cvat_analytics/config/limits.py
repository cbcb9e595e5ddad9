"""How large a request, an event and a dead letter may be: each fact once, for templates, clients and docs/reference/pipeline.md.

Vector's disk buffer takes a record of up to 128 MiB and drops a larger one although it has answered 200. What of several
requests is ready at the same moment passes a transform together and becomes one record (`ready_arrays` in Vector's
src/topology): up to READY events, and one list of events more. So requests that go the direct way are small, and what
is large goes alone (transform `throttle`, which hands on event by event).
"""

from __future__ import annotations

MIB = 2**20

EVENT = 32 * MIB
"""Bytes of an event as it is sent: 1.7 million objects in one save of CVAT's."""
LINE = 2 * EVENT + 4 * MIB
"""Bytes of an event as a line of JSON, in the journal and to ClickHouse: a payload that was an object has a backslash before
each quote then."""
BODY = 100 * MIB
"""Bytes of a request of CVAT's: its sender puts no more together (python-logstash-async)."""
VECTOR_BODY = 120 * MIB
"""Bytes of a request that Vector takes, before and after it is unpacked; more is answered 413. CVAT sends an event of more
than BODY alone: no event, but kept as a dead letter and out of CVAT's queue. The body is a record of a disk buffer."""
EVENTS = 50_000
"""Events of a request: each takes memory, whatever its size."""
FIELDS = 1000
"""Fields of an event: each unknown one is looked for among all."""
ANY_FORM = 4 * MIB
"""Up to here a request or an event may have any form of JSON; beyond, only CVAT's own, which takes little memory to judge."""
LETTER = 64 * 1024
"""Bytes of a dead letter's original that stand in the table; of a larger one the whole is in a file."""

RECORD = 128 * MIB
"""Bytes of a record that Vector's disk buffer takes."""
CHUNK_EVENTS = 4
"""VECTOR_CHUNK_SIZE_EVENTS, from which Vector makes READY."""
VECTOR_ENVIRONMENT = {
    "VECTOR_MAX_DECOMPRESSED_SIZE_BYTES": str(VECTOR_BODY),
    "VECTOR_CHUNK_SIZE_EVENTS": str(CHUNK_EVENTS),
}
"""What Vector must be started with, on hosts (templates/systemd/vector.conf.j2) and elsewhere."""
READY = 4 * CHUNK_EVENTS
DIRECT_BODY = MIB // 2
"""Bytes of a request that goes the direct way: CVAT's usual ones have 25 KiB."""
DIRECT_EVENTS = 1000
_OVERHEAD = 1024
"""Bytes of a row in the buffer beside its texts."""
_GROWTH = 3
"""How much larger than its text a row may be: unknown fields are written anew (templates/vector/normalise.vrl)."""
WORST_RECORD = READY * (_GROWTH * DIRECT_BODY + DIRECT_EVENTS * _OVERHEAD) + (READY - 1) * (
    _GROWTH * DIRECT_BODY + _OVERHEAD
)
"""Bytes of the largest record that requests of the direct way can make together."""

SMALLEST_BUFFER = 268_435_488
"""Bytes of the smallest disk buffer that Vector takes: those of large bodies and of dead letters."""

_SPACE = r"[ \t\r\n]*"
_TEXT = r'"(?:[^"\\]|\\.)*"'
_PAIR = rf"{_TEXT}{_SPACE}:{_SPACE}(?:{_TEXT}|[-+.0-9A-Za-z]+)"
_OBJECT = rf"\{{{_SPACE}{_PAIR}(?:{_SPACE},{_SPACE}{_PAIR})*{_SPACE}\}}"
FLAT_OBJECT = rf"^{_SPACE}{_OBJECT}{_SPACE}$"
"""An object of texts and plain values, as CVAT's events are (the payload is a text). Matches more than JSON, which is judged later."""
FLAT_OBJECTS = rf"^{_SPACE}\[{_SPACE}{_OBJECT}(?:{_SPACE},{_SPACE}{_OBJECT})*{_SPACE}\]{_SPACE}$"
"""An array of them."""
OBJECT_BEGINS = r'\{[ \t\r\n]*"'
"""Where an object of FLAT_OBJECTS begins: within a text every quote has a backslash."""
NAME_ENDS = r'[^\\](?:\\\\)*"[ \t\r\n]*:'
"""Where a field's name ends in FLAT_OBJECT: at a quote that has no backslash, or an even number of them."""

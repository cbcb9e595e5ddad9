"""ClickHouse's Native format, as far as it takes to find its columns: https://clickhouse.com/docs/interfaces/formats/Native."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO

from cvat_analytics.config.limits import MIB


def columns(path: Path) -> dict[str, str]:
    """Return the columns and types of the first block of a Native file, or nothing when it is none.

    https://clickhouse.com/docs/interfaces/formats/Native: the numbers of columns and rows, then of each column its name,
    its type and its values. Fixed widths and texts are all that CVAT's events have.
    """
    types: dict[str, str] = {}
    with path.open("rb", buffering=MIB) as file:
        try:
            count, rows = _number(file), _number(file)
            for _ in range(count):
                name = file.read(_number(file)).decode()
                types[name] = kind = file.read(_number(file)).decode()
                plain = re.sub(r"LowCardinality\((.*)\)", r"\1", kind)
                nullable, plain = plain, re.sub(r"Nullable\((.*)\)", r"\1", plain)
                if not name.isidentifier() or not plain:
                    return {}
                if plain != "String" and plain.split("(")[0] not in _WIDTHS:
                    # `match` refuses a type like this; what comes after it cannot be found
                    return types
                if kind != nullable:
                    _pass_low_cardinality(file, plain, rows)
                    continue
                if plain != kind:
                    file.seek(rows, os.SEEK_CUR)
                _pass(file, plain, rows)
        except (EOFError, UnicodeDecodeError, ValueError, OverflowError, OSError):
            return {}
        return types if file.tell() <= path.stat().st_size else {}


def _pass(file: BinaryIO, kind: str, values: int) -> None:
    """Go behind so many values."""
    if kind != "String":
        file.seek(values * _WIDTHS[kind.split("(")[0]], os.SEEK_CUR)
        return
    for _ in range(values):
        file.seek(_number(file), os.SEEK_CUR)


def _pass_low_cardinality(file: BinaryIO, kind: str, rows: int) -> None:
    """Go behind a column whose values are numbers of a dictionary that stands before them (SerializationLowCardinality.cpp)."""
    if not rows:
        return
    # a version, then: how wide the numbers are, in the lowest byte
    _, how, keys = (int.from_bytes(file.read(8), "little") for _ in range(3))
    _pass(file, kind, keys)
    file.seek(8 + (rows << (how & 255)), os.SEEK_CUR)


_WIDTHS = {"UInt8": 1, "UInt16": 2, "UInt32": 4, "UInt64": 8, "Int64": 8, "DateTime": 4, "DateTime64": 8}


def _number(file: BinaryIO) -> int:
    """Return the number that comes next: seven bits a byte, the lowest first."""
    number = shift = 0
    while shift < 64:
        byte = file.read(1)
        if not byte:
            raise EOFError
        number |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return number
        shift += 7
    raise ValueError("not a number")

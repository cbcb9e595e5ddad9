"""The whole of large dead letters is found by its digest, in plain and in compressed files, here and on a host."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path

import pytest

from cvat_analytics.connect.shell import Shell
from cvat_analytics.pipeline import originals
from cvat_analytics.pipeline.originals import MissingOriginal, Originals

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FILE = "dead-letters-2026-11-20T10.jsonl"
TEXT = '{"scope": "é\u2028' + "x" * 3 * 2**20 + '\ufffd"}'
BYTES = b"\xff\xfe\x00" * 10**6


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def line(data: bytes, **fields: str) -> bytes:
    return json.dumps({"sha256": digest(data), "reason": "bad count", "hour": "x"} | fields).encode() + b"\n"


LINES = [
    line(b"other", original="other"),
    line(TEXT.encode(), original=TEXT),
    line(BYTES, base64=base64.b64encode(BYTES).decode()),
]


def write(directory: Path, ending: str, torn: bool = False) -> None:
    data = b"".join(LINES)
    if ending == ".zst":
        # the timer compresses a file once; two frames are one file all the same
        data = b"".join(zstd.compress(part) for part in (b"".join(LINES[:1]), b"".join(LINES[1:])))
    (directory / (FILE + ending)).write_bytes(data[: -len(LINES[2]) // 2] if torn else data)


@pytest.mark.parametrize("ending", ["", ".zst"])
@pytest.mark.parametrize("over_ssh", [False, True])
def test_what_is_there_is_found(tmp_path: Path, ending: str, over_ssh: bool) -> None:
    write(tmp_path, ending)
    here = Shell("here", {}, None)
    place = originals.on_host(here, str(tmp_path)) if over_ssh else originals.in_directory(tmp_path)
    elsewhere = originals.in_directory(tmp_path / "another Vector's")
    found = Originals([elsewhere, place])
    for data in (b"other", TEXT.encode(), BYTES):
        assert found.whole(FILE, digest(data)) == data
    with pytest.raises(MissingOriginal, match=f"{FILE} any more.*{FILE}{ending}"):
        found.whole(FILE, digest(b"never written"))


def test_both_forms_of_a_file_that_is_just_being_compressed_are_read(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(LINES[1])
    (tmp_path / (FILE + ".zst")).write_bytes(zstd.compress(LINES[0]))
    found = Originals([originals.in_directory(tmp_path)])
    for data in (b"other", TEXT.encode()):
        assert found.whole(FILE, digest(data)) == data


@pytest.mark.parametrize("ending", ["", ".zst"])
def test_of_a_torn_file_what_is_whole_is_found(tmp_path: Path, ending: str) -> None:
    write(tmp_path, ending, torn=ending == "")
    if ending:
        path = tmp_path / (FILE + ending)
        path.write_bytes(path.read_bytes()[:-20])
    found = Originals([originals.in_directory(tmp_path)])
    assert found.whole(FILE, digest(b"other")) == b"other"
    with pytest.raises(MissingOriginal):
        found.whole(FILE, digest(BYTES))


@pytest.mark.parametrize(
    "bad",
    [
        line(TEXT.encode(), original=TEXT + " "),
        line(TEXT.encode(), base64="%"),
        line(TEXT.encode()),
        line(TEXT.encode(), original=TEXT)[:-3],
        f'"{digest(TEXT.encode())}"'.encode(),
    ],
    ids=["altered", "no base64", "without an original", "torn", "no object"],
)
def test_what_is_not_what_was_sent_is_not_taken_for_it(tmp_path: Path, bad: bytes) -> None:
    (tmp_path / FILE).write_bytes(bad)
    found = Originals([originals.in_directory(tmp_path)])
    with pytest.raises(MissingOriginal, match="any more, or damaged there"):
        found.whole(FILE, digest(TEXT.encode()))
    (tmp_path / FILE).write_bytes(bad.rstrip() + b"\n" + LINES[1])
    assert found.whole(FILE, digest(TEXT.encode())) == TEXT.encode()


@pytest.mark.parametrize("name", ["../secrets.json", "dead-letters-x.jsonl", ""])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingOriginal, match="is no name of a file"):
        Originals([originals.in_directory(tmp_path)]).whole(name, digest(b""))

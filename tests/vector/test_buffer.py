"""The disk buffer of the substitute."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvat_analytics.embedded.vector_substitute import buffer
from cvat_analytics.embedded.vector_substitute.buffer import BufferFull, DiskBuffer


def drain(queue: DiskBuffer, max_events: int = 100) -> list[str]:
    """Take and acknowledge everything."""
    lines: list[str] = []
    while batch := queue.next_batch(max_events, 10**6):
        lines += batch.body.decode().splitlines()
        queue.acknowledge(batch)
    return lines


def test_lines_come_out_in_order_over_segments_and_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffer, "SEGMENT_BYTES", 40)
    queue = DiskBuffer(tmp_path, 10**6)
    expected = [f"line {number}" for number in range(50)]
    taken: list[str] = []
    for number, line in enumerate(expected):
        queue.append([line])
        if number % 7 == 3:
            taken += drain(queue, 2)
        if number % 11 == 5:
            queue = DiskBuffer(tmp_path, 10**6)
    assert taken + drain(DiskBuffer(tmp_path, 10**6)) == expected
    assert len(list(tmp_path.glob("*.jsonl"))) == 1  # delivered segments are removed


def test_a_batch_that_was_not_acknowledged_comes_again_unchanged(tmp_path: Path) -> None:
    queue = DiskBuffer(tmp_path, 10**6)
    queue.append(["a", "b", "c"])
    first = queue.next_batch(2, 10**6)
    queue.append(["d"])
    again = DiskBuffer(tmp_path, 10**6).next_batch(100, 10**6)
    assert first
    assert first.body == b"a\nb\n"
    assert again == first


def test_batches_keep_to_their_size_but_a_larger_line_goes_alone(tmp_path: Path) -> None:
    queue = DiskBuffer(tmp_path, 10**6)
    queue.append(["a" * 30, "b" * 5, "c" * 5])
    sizes = []
    while batch := queue.next_batch(100, 20):
        sizes.append(len(batch.body))
        queue.acknowledge(batch)
    assert sizes == [31, 12]


def test_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    DiskBuffer(tmp_path, 10**6).append(["whole"])
    (segment,) = tmp_path.glob("*.jsonl")
    segment.write_bytes(b"whole\ntor")
    queue = DiskBuffer(tmp_path, 10**6)
    queue.append(["next"])
    assert drain(queue) == ["whole", "next"]


def test_a_lost_position_sends_again_rather_than_loses(tmp_path: Path) -> None:
    queue = DiskBuffer(tmp_path, 10**6)
    queue.append(["a"])
    drain(queue)
    (tmp_path / "position.json").write_text("")
    assert drain(DiskBuffer(tmp_path, 10**6)) == ["a"]


def test_a_full_buffer_says_so_until_something_is_delivered(tmp_path: Path) -> None:
    queue = DiskBuffer(tmp_path, 10)
    queue.append(["12345678"])
    with pytest.raises(BufferFull, match="is full: 9 of 10 bytes wait"):
        queue.require_room(["more"])
    drain(queue)
    queue.require_room(["more"])


def test_a_failed_write_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = DiskBuffer(tmp_path, 10**6)
    queue.append(["before"])

    def broken(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(buffer.os, "fsync", broken)
        with pytest.raises(OSError, match="No space left"):
            queue.append(["lost"])
    queue.append(["after"])
    assert drain(DiskBuffer(tmp_path, 10**6)) == ["before", "after"]

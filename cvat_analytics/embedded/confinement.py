"""Shut the engine's library in: it reads its own configuration and data, and connects to nobody.

A server lets SQL read files below `user_files_path` only. The library takes itself for clickhouse-local, and lets whoever logs in
read and write whatever its owner may: `file()`, `FROM INFILE`, the settings that name a file of a format. No grant covers all of
these, so that the kernel has to (Landlock, https://docs.kernel.org/userspace-api/landlock.html): Linux 5.19 or newer, and 6.7 for
connections.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""System calls, the same on every architecture."""
_PATH_BENEATH, _VERSION = 1, 1
_NO_NEW_PRIVS = 38
_READ = 0b1100
"""A file, and a directory's names."""
_OF_FILES = 0b1100000000000111
"""What may be done with a file by itself: run, written, read, cut off, asked of its driver."""
_CONNECT = 0b10
_OLDEST = 2
"""Before it, nothing could be moved from one directory into another, as the engine does with a table that is dropped."""
_CONNECTIONS = 4
"""Before it, a process could not be kept from connecting to others."""
_SYSTEM = (
    "/proc/self", "/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/stat", "/proc/sys", "/proc/uptime",
    "/proc/vmstat", "/sys", "/dev/random", "/dev/urandom", "/etc/ld.so.cache", "/etc/localtime", "/lib", "/lib64", "/usr/lib",
    "/usr/share/zoneinfo",
)  # fmt: skip
"""What any program of this kind reads, and nobody else's secrets are in."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("connections", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("directory", ctypes.c_int32))


def version() -> int:
    """Return which Landlock this kernel has; 0 for none that is of use."""
    found: int = _libc().syscall(_CREATE_RULESET, None, 0, _VERSION)
    return found if found >= _OLDEST else 0


def lacking() -> str:
    """Return what this kernel does not keep the engine from, as a sentence for whoever starts it; nothing where it shuts it in."""
    landlock = version()
    if not landlock:
        return (
            "this kernel has no Landlock of Linux 5.19: whoever logs in to the stack's ClickHouse as admin can read and write files of yours. "
            "Give nobody its passwords, or use Linux 6.7 or newer"
        )
    if landlock < _CONNECTIONS:
        return (
            "this kernel's Landlock is older than Linux 6.7: nothing but grants keeps the stack's ClickHouse from connecting elsewhere. "
            "Give nobody its passwords, or use Linux 6.7 or newer"
        )
    return ""


def confine(read: Iterable[Path], write: Iterable[Path]) -> bool:
    """Leave this process and those that it starts only these places, for good. Return whether the kernel could.

    Whatever must be loaded from elsewhere has to be loaded before.
    """
    landlock = version()
    if not landlock:
        return False
    libc = _libc()
    # one right more with version 2, 3 and 5 each
    everything = (1 << (13 + (landlock >= 2) + (landlock >= 3) + (landlock >= 5))) - 1
    handled = _Ruleset(everything, _CONNECT)
    size = ctypes.sizeof(handled) if landlock >= _CONNECTIONS else ctypes.sizeof(ctypes.c_uint64)
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(handled), size, 0)
    if ruleset < 0:
        return False
    try:
        places = [(each, _READ) for each in (*map(Path, _SYSTEM), *read)]
        places += [(each, everything) for each in write] + [(Path("/dev/null"), everything)]
        for place, rights in places:
            if place.exists():
                _allow(ruleset, place, rights & everything)
        steps: tuple[int, int] = (
            libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0),
            libc.syscall(_RESTRICT_SELF, ruleset, 0),
        )
        return steps == (0, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, place: Path, rights: int) -> None:
    directory = os.open(place, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(directory).st_mode):
            rights &= _OF_FILES
        rule = _Beneath(rights, directory)
        if _libc().syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(place))
    finally:
        os.close(directory)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)

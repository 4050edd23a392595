"""A user without the right to write, also where tests are run by root."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIBC = ctypes.CDLL(None)
VERSION = 0x20080522  # of the structs of capget and capset
OVERRIDE = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root may read and write what its mode forbids


@contextmanager
def without_override() -> Iterator[None]:
    """In the block, modes of files hold for root too."""
    if os.geteuid():
        yield
        return
    header, now = (ctypes.c_uint32 * 2)(VERSION, 0), (ctypes.c_uint32 * 6)()
    assert LIBC.capget(header, now) == 0
    less = (ctypes.c_uint32 * 6)(*now)
    less[0] &= ~OVERRIDE  # the effective ones. The permitted ones stay, so that they can be taken back
    assert LIBC.capset(header, less) == 0
    try:
        yield
    finally:
        assert LIBC.capset(header, now) == 0


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """In the block, nothing in a folder can be written."""
    modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*"))}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        with without_override():
            yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)

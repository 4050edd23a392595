"""Who works on what: a lock file that the kernel releases with its holder, and beside it who holds it and since when.

flock works on local disks and, between machines, on NFS 4; a dead holder's lock is free at once, a lost machine's when its
NFS lease ends. Each change of hands is written down, so that a holder which lost its lock finds out before it writes.
"""

import getpass
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dmm.base.paths import write_atomic

POLL = 0.5  # seconds between two tries of one who waits


class Held(ValueError):
    """Somebody else holds the lock."""


def holder(path: Path) -> dict | None:
    """Who took a lock last: token, user, host, pid, since; None where nobody has, or the file is damaged."""
    try:
        return json.loads(path.with_suffix(".holder").read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def describe(path: Path) -> str:
    """ann@node3, process 4711, since 2026-01-31 12:00:00 +0000"""
    found = holder(path)
    return "{user}@{host}, process {pid}, since {since}".format(**found) if found else "a process that begins just now"


def is_held(path: Path) -> bool:
    """Whether somebody works under this lock now; where locks cannot be tried, whether somebody took it."""
    from filelock import FileLock, Timeout

    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def user() -> str:
    """Who runs this; in a container a user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


@contextmanager
def hold(path: Path, what: str, *, wait: bool = False, say: Callable[[str], None] = print) -> Iterator[Callable]:
    """Holds a lock for the block; gives a function that raises once it is somebody else's.

    Where another has it, refuses with who and since when, or says so and waits.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=2)  # a look at the lock holds it for a moment
    except Timeout:
        taken = f"{what} is run by {describe(path)}"
        if not wait:
            raise Held(taken) from None
        say(f"{taken}; waiting")
        lock.acquire(poll_interval=POLL)
    try:
        me = {
            "token": uuid.uuid4().hex,
            "user": user(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        }
        write_atomic(path.with_suffix(".holder"), json.dumps(me).encode())

        def check() -> None:
            if holder(path) != me:
                raise RuntimeError(f"{what} was taken over by {describe(path)}")

        yield check
    finally:
        lock.release()

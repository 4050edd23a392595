"""Locks: a lock file that the kernel releases when its holder ends, and beside it a file that names the holder.

flock works on local disks and, between machines, on NFS 4. The lock of a dead process is free at once. The lock of a lost
machine is free when its NFS lease ends. Each new holder is written down, so a process that lost its lock notices it before
it writes.
"""

import fcntl
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from dmm.base.checksums import dump_json, load_json
from dmm.base.errors import user_name
from dmm.base.paths import write_atomic

POLL_SECONDS = 0.5  # between two tries to get a lock
HELD_SECONDS = 2  # after which a lock counts as held, because `is_held` holds it for a moment
OnWait = Callable[[str], None]  # called with what is awaited and who holds it, and with "" when the wait is over


class Held(ValueError):
    """Another process holds the lock."""


class LockLost(RuntimeError):
    """Another process has taken the lock that this one held."""


@dataclass(frozen=True)
class Holder:
    """The process that took a lock last."""

    token: str  # unique
    user: str
    host: str
    pid: int
    since: str  # local time with its offset from UTC


def holder(path: Path) -> Holder | None:
    """The process that took a lock last. None if no process has, or if the file is damaged."""
    try:
        return Holder(**load_json(path.with_suffix(".holder").read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def describe(path: Path) -> str:
    """ann@node3, process 4711, since 2026-01-31 12:00:00 +0000"""
    found = holder(path)
    if found is None:
        return "a process that has just begun"
    return f"{found.user}@{found.host}, process {found.pid}, since {found.since}"


def is_held(path: Path) -> bool:
    """Whether a process holds this lock now. For this, the file is only read.

    Raises OSError if this user may not read the file, and where locks do not work.
    """
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # LOCK_EX needs a file that is open for writing on NFS
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def say_wait(whom: str, say: Callable[[str], object]) -> None:
    """Says for whom a process waits, and nothing when the wait is over."""
    if whom:
        say(f"{whom}; waiting")


def print_wait(whom: str) -> None:
    """The OnWait of a process that has a terminal or a log."""
    say_wait(whom, partial(print, flush=True))


@contextmanager
def hold_unsigned(path: Path, whom: Callable[[], str], wait: OnWait | None = None) -> Iterator[None]:
    """Holds a lock for the block, and writes no holder beside it. `whom` says who holds it if another process does.

    Then this one raises Held. With `wait` it tells whom it waits for, and waits.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    told = ""
    while not lock.is_locked:
        try:
            lock.acquire(timeout=HELD_SECONDS, poll_interval=POLL_SECONDS if told else 0.05)
        except Timeout:
            other = whom()
            if wait is None:
                raise Held(other) from None
            if other != told:  # the first holder, or the next one
                wait(other)
                told = other
    try:
        if told and wait:
            wait("")
        yield
    finally:
        lock.release()


@contextmanager
def hold(path: Path, what: str, *, wait: OnWait | None = None) -> Iterator[Callable[[], None]]:
    """Holds a lock for the block. Gives a function that raises LockLost once another process has taken the lock.

    If another process holds it, this one raises Held with the holder's name. With `wait` it tells the name and waits.
    """
    with hold_unsigned(path, lambda: f"{what} is run by {describe(path)}", wait):
        me = Holder(
            token=uuid.uuid4().hex,
            user=user_name(os.getuid()),
            host=socket.gethostname(),
            pid=os.getpid(),
            since=time.strftime("%Y-%m-%d %H:%M:%S %z"),
        )
        write_atomic(path.with_suffix(".holder"), dump_json(asdict(me)))

        def assert_lock_held() -> None:
            found = holder(path)
            if found is None:
                raise LockLost(f"{what}: {path.with_suffix('.holder')} is damaged or gone, so its lock may be lost")
            if found != me:
                raise LockLost(f"{what} was taken over by {describe(path)}")

        yield assert_lock_held

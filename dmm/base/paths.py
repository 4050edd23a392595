"""The folder of dmm's own files, DMM_HOME (default ./.dmm), and how files are written."""

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path

from dmm.base.errors import explain

STALE_SECONDS = 24 * 3600  # after this time no process uses a name of `aside` any more
ASIDE = ".*.aside"
other_home: ContextVar[Path | None] = ContextVar("other_home", default=None)


def home() -> Path:
    """The folder for caches, trials, policies and the local MLflow store. Absolute, because workers start elsewhere.

    It may not exist yet. Raises ValueError if it is no folder or under a file.
    """
    folder = other_home.get() or expand(os.environ.get("DMM_HOME") or ".dmm")
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if not nearest.is_dir():
        raise ValueError(f"DMM_HOME is {folder}, and {nearest} is a file; DMM_HOME names a folder")
    return folder


@contextmanager
def home_at(folder: Path) -> Iterator[None]:
    """Within the block, `home` is this folder. So the results of another DMM_HOME can be read."""
    before = other_home.set(folder)
    try:
        yield
    finally:
        other_home.reset(before)


def expand(path: str | Path) -> Path:
    """An absolute path from one that may begin with ~. Raises ValueError if ~ is given and the user has no home folder."""
    try:
        return Path(path).expanduser().resolve()
    except RuntimeError as error:
        raise ValueError(f"{path} cannot be found: {error} The variable HOME names a user's home folder") from None


def check_writable(folder: Path, what: str) -> None:
    """Raises ValueError if nothing can be written in a folder. Called before work that would be lost."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe(folder)
    except OSError as error:
        raise ValueError(f"cannot write {what}: {explain(error)}") from error


def probe(folder: Path) -> None:
    """Raises OSError if no file can be made in a folder."""
    file = aside(folder / "writable")
    try:
        file.touch()
        file.unlink()
    except OSError as error:
        error.filename = str(folder)
        raise


def aside(path: Path) -> Path:
    """A hidden name beside a path. A file or folder has it while it is written or deleted.

    No other process, container or machine gets the same name. Long names are cut. The first call of a process in a folder
    deletes files that killed processes have left there.
    """
    delete_stale(path.parent)
    return path.with_name(f".{path.name[:64]}.{uuid.uuid4().hex}.aside")


@lru_cache(1000)
def delete_stale(folder: Path) -> None:
    """Deletes files and folders with a name of `aside` that have not changed for a day. A process looks into a folder once."""
    for path in folder.glob(ASIDE):
        with suppress(OSError):  # another process deletes it too
            newest = max(entry.lstat().st_ctime for entry in (path, *path.rglob("*")))
            if time.time() - newest > STALE_SECONDS:
                delete(path)


def delete(path: Path) -> None:
    """Deletes a file or a folder. It may be absent, or another process may be deleting it."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Waits until a file that was written is on disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def write_atomic(path: Path, data: bytes, keep: Path | None = None) -> None:
    """Writes a whole file or nothing. A reader never sees half of it. A crash or a full disk leaves the old file.

    With `keep` the old file is renamed to `keep` first. A crash between the two steps leaves only that file.
    Raises OSError if the file cannot be written.
    """
    temporary = aside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if keep and path.exists():
            os.replace(path, keep)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        message = f"cannot write {path.name}; its last version is kept: {error.strerror}"
        raise OSError(error.errno, message, str(path.parent)) from error

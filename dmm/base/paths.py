"""Where dmm keeps what it makes: DMM_HOME (default ./.dmm), absolute, so that a worker elsewhere means the same place."""

import os
import socket
from contextlib import suppress
from pathlib import Path


def home() -> Path:
    """Returns the absolute folder for caches, trials, policies and the local MLflow store."""
    return Path(os.environ.get("DMM_HOME", ".dmm")).expanduser().resolve()


def check_writable(folder: Path, what: str) -> None:
    """Refuses a folder in which nothing can be written, before any work is lost."""
    probe = folder / f".writable.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"cannot write {what} to {folder}: {error.strerror}") from error


def write_atomic(path: Path, data: bytes, keep: Path | None = None) -> None:
    """Writes a whole file or nothing: a reader never sees half of it, and a crash or a full disk leaves the old one.

    With `keep` the old file goes on under that name; a crash between the two leaves it there alone.
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
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
        raise OSError(error.errno, f"cannot write {path.name}, whose last version is kept: {error.strerror}") from error

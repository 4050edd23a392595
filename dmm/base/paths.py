"""The folder of dmm's own files, DMM_HOME (default ./.dmm), and how files are written."""

import os
import socket
from contextlib import suppress
from pathlib import Path


def home() -> Path:
    """The folder for caches, trials, policies and the local MLflow store. Absolute, because workers start elsewhere."""
    return Path(os.environ.get("DMM_HOME", ".dmm")).expanduser().resolve()


def check_writable(folder: Path, what: str) -> None:
    """Raises ValueError if nothing can be written in a folder. Called before work that would be lost."""
    probe = folder / f".writable.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"cannot write {what} to {folder}: {error.strerror}") from error


def write_atomic(path: Path, data: bytes, keep: Path | None = None) -> None:
    """Writes a whole file or nothing. A reader never sees half of it. A crash or a full disk leaves the old file.

    With `keep` the old file is renamed to `keep` first. A crash between the two steps leaves only that file.
    Raises OSError if the file cannot be written.
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
        raise OSError(error.errno, f"cannot write {path.name}; its last version is kept: {error.strerror}") from error

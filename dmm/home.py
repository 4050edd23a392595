"""Where dmm keeps what it makes: DMM_HOME (default ./.dmm), absolute, so that a worker elsewhere means the same place."""

import os
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


def write_atomic(path: Path, data: bytes) -> None:
    """Writes a whole file or nothing: a reader never sees half of it, and a crash leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)

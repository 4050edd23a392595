"""The cache. Each dataset is stored once, as memory-mapped .npy files that all processes of a machine share.

A folder is built under another name and renamed when it is complete. Its manifest is written last. A folder without a
manifest is no cache.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dmm.base.paths import home, write_atomic
from dmm.data.trajectories import Trajectories
from dmm.schema import from_json, to_json

ARRAYS = ("table", "offsets", "terminated")
FORMAT = 1  # raised by a change of the arrays that a source is turned into, so that old caches are rebuilt


@dataclass(frozen=True)
class Stamp:
    """A file's state, taken without reading the file. Size and time are None for a file that does not exist."""

    path: str
    size: int | None = None  # bytes
    mtime_ns: int | None = None  # nanoseconds since 1970


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """manifest.json of a cache folder."""

    format: int
    ids: list[str]  # more than one where several datasets are read as one
    sha256: str  # of the data: Trajectories.sha256
    sources: list[Stamp]  # the files, one a dataset
    state_mean: list[float]  # [S]
    state_std: list[float]  # [S]


def folder_of(ids: Sequence[str]) -> Path:
    """The cache folder of a dataset, or of several that are read as one."""
    text = " + ".join(ids)
    safe = re.sub(r"[^A-Za-z0-9.]+", "-", text)[-80:].strip("-.")
    return home() / "cache" / f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def stamp(path: Path) -> Stamp:
    """The stamp of a file now."""
    try:
        found = path.stat()
    except OSError:
        return Stamp(str(path))
    return Stamp(str(path), found.st_size, found.st_mtime_ns)


def manifests() -> list[Manifest]:
    """The manifests of all complete caches."""
    paths = sorted((home() / "cache").glob("[!.]*/manifest.json"))
    return [manifest for path in paths if (manifest := read_manifest(path)) is not None]


def read_manifest(path: Path) -> Manifest | None:
    """A manifest of today's format. None for another format, or where there is no file."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return from_json(Manifest, found, str(path)) if found.get("format") == FORMAT else None


def fresh(folder: Path, stamps: Sequence[Stamp]) -> Manifest | None:
    """The manifest of a complete cache whose files have not changed. A file that is gone counts as unchanged."""
    manifest = read_manifest(folder / "manifest.json")
    if manifest is None or len(manifest.sources) != len(stamps):
        return None
    pairs = zip(stamps, manifest.sources, strict=True)
    return manifest if all(now in (then, Stamp(then.path)) for now, then in pairs) else None


def read(folder: Path, stamps: Sequence[Stamp]) -> Trajectories | None:
    """Opens a cached dataset. None if it is not cached, or if a file has changed."""
    if (manifest := fresh(folder, stamps)) is None:
        return None
    # mode c: pages are shared and writes are private; torch accepts only arrays that can be written to
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in ARRAYS}
    return Trajectories(
        id=" + ".join(manifest.ids),
        sha256=manifest.sha256,
        state_mean=np.array(manifest.state_mean),
        state_std=np.array(manifest.state_std),
        **arrays,
    )


def write(folder: Path, ids: Sequence[str], trajectories: Trajectories, stamps: Sequence[Stamp]) -> Trajectories:
    """Caches trajectories and opens them from the cache. Other processes may do the same at the same time.

    Raises ValueError if the folder cannot be written. Nothing is left behind then.
    """
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    manifest = Manifest(
        format=FORMAT,
        ids=list(ids),
        sha256=trajectories.sha256,
        sources=list(stamps),
        state_mean=trajectories.state_mean.tolist(),
        state_std=trajectories.state_std.tolist(),
    )
    try:
        aside.mkdir(parents=True)
        for name in ARRAYS:
            np.save(aside / f"{name}.npy", getattr(trajectories, name))
        write_atomic(aside / "manifest.json", json.dumps(to_json(manifest), indent=1).encode())
        if fresh(folder, stamps) is None:
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)
    except OSError as error:
        if fresh(folder, stamps) is None:  # otherwise another process has cached the same data
            raise ValueError(f"cannot cache {trajectories.id} in {folder.parent}: {error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    opened = read(folder, stamps)
    assert opened is not None, f"{folder} changed while it was written"
    return opened

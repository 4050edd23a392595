"""The cache: each dataset once, as memory-mapped .npy files that all processes of a node share, with a manifest.

A folder is built aside and renamed when it is whole, its manifest written last: what has no manifest is no cache.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dmm.base.paths import home, write_atomic
from dmm.data.trajectories import Trajectories

ARRAYS = ("table", "offsets", "terminated")
FORMAT = 1  # raised by any change of what is computed when a source is read: old caches are then rebuilt


def folder_of(ids: Sequence[str]) -> Path:
    """Where a dataset, or several read as one, is cached."""
    text = " + ".join(ids)
    safe = re.sub(r"[^A-Za-z0-9.]+", "-", text)[-80:].strip("-.")
    return home() / "cache" / f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def stamp(path: Path) -> dict:
    """What tells a file from its later self, without reading it."""
    try:
        found = path.stat()
    except OSError:
        return {"path": str(path)}
    return {"path": str(path), "size": found.st_size, "mtime_ns": found.st_mtime_ns}


def manifests() -> list[dict]:
    """The manifests of all whole caches."""
    found = sorted((home() / "cache").glob("[!.]*/manifest.json"))
    return [manifest for path in found if (manifest := json.loads(path.read_text()))["format"] == FORMAT]


def fresh(folder: Path, stamps: Sequence[dict]) -> dict | None:
    """The manifest, if the cache is whole and its sources have not changed since; a source that is gone has not."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    known = manifest["sources"]
    same = len(known) == len(stamps) and all(
        now == then or now == {"path": then["path"]} for now, then in zip(stamps, known, strict=True)
    )
    return manifest if same and manifest["format"] == FORMAT else None


def read(folder: Path, stamps: Sequence[dict]) -> Trajectories | None:
    """Opens a cached dataset, or returns None where there is none that still holds."""
    if (manifest := fresh(folder, stamps)) is None:
        return None
    # mode c: shared pages, private writes; torch takes only arrays that could be written
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in ARRAYS}
    return Trajectories(
        id=" + ".join(manifest["ids"]),
        sha256=manifest["sha256"],
        state_mean=np.array(manifest["state_mean"]),
        state_std=np.array(manifest["state_std"]),
        **arrays,
    )


def write(folder: Path, ids: Sequence[str], trajectories: Trajectories, stamps: Sequence[dict]) -> Trajectories:
    """Caches trajectories and opens them from there: all or nothing, also beside other processes that do the same."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    manifest = {
        "format": FORMAT,
        "ids": list(ids),
        "sha256": trajectories.sha256,
        "sources": list(stamps),
        "state_mean": trajectories.state_mean.tolist(),
        "state_std": trajectories.state_std.tolist(),
    }
    try:
        aside.mkdir(parents=True)
        for name in ARRAYS:
            np.save(aside / f"{name}.npy", getattr(trajectories, name))
        write_atomic(aside / "manifest.json", json.dumps(manifest, indent=1).encode())
        if fresh(folder, stamps) is None:
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)
    except OSError as error:
        if fresh(folder, stamps) is None:  # else another process was faster
            raise ValueError(f"cannot cache {trajectories.id} in {folder.parent}: {error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    opened = read(folder, stamps)
    assert opened is not None, f"{folder} changed while it was written"
    return opened

"""The cache. Each dataset is stored once, as memory-mapped .npy files that all processes of a machine share.

A folder is built under another name and renamed when it is complete. Its manifest is written last. It has the checksums of
the arrays. A folder without a manifest is no cache.

Arrays are checked when they are opened, once per process. For this check a large array is read only if its file has changed
since the last check that found it whole.
"""

import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from dmm.base.checksums import dump_json, file_sha256, load_json
from dmm.base.errors import explain
from dmm.base.paths import aside, delete, flush, home, write_atomic
from dmm.data.frames import frame_starts
from dmm.data.trajectories import Trajectories
from dmm.schema import from_json, to_json

ARRAYS = ("table", "offsets", "terminated")
FORMAT = 2  # increased whenever the cached files change their form, so that old caches are rebuilt
LARGE = 256 * 2**20  # bytes
MANIFEST, CHECKS, FRAMES = "manifest.json", "checked.json", "frames.npy"


class Damaged(ValueError):
    """A cache is damaged. It can be rebuilt from its source."""


@dataclass(frozen=True)
class Stamp:
    """The state of a source's file, taken without reading it. Size and time are None for a file that does not exist.

    A source may also be a folder. Then these are the sum of its files' sizes and the newest of their times.
    """

    path: str
    size: int | None = None  # bytes
    mtime_ns: int | None = None  # nanoseconds since 1970


@dataclass(frozen=True)
class FileState:
    """The state of an array's file, taken without reading it. A file that is written to gets another state."""

    inode: int
    size: int  # bytes
    mtime_ns: int  # nanoseconds since 1970
    ctime_ns: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """manifest.json of a cache folder."""

    format: int
    ids: list[str]  # more than one where several datasets are read as one
    sha256: str  # of the data: Trajectories.sha256
    sources: list[Stamp]  # the files, one a dataset
    state_mean: list[float]  # [S]
    state_std: list[float]  # [S]
    files: dict[str, str]  # the sha256 of each array's file
    num_actions: int = 0  # discrete actions. 0: actions are in a box
    actions_counted: bool = False  # Trajectories.actions_counted


@dataclass(frozen=True)
class Checks:
    """checked.json of a cache folder: the states of the arrays' files when they were last found whole."""

    files: dict[str, FileState]


CHECKED: set[tuple[Path, FileState, str]] = set()  # files that this process has found whole, with their sha256


def folder_of(ids: Sequence[str]) -> Path:
    """The cache folder of a dataset, or of several that are read as one."""
    text = " + ".join(ids)
    safe = re.sub(r"[^A-Za-z0-9.]+", "-", text)[-80:].strip("-.")
    return home() / "cache" / f"{safe}-{sha256(text.encode()).hexdigest()[:8]}"


def folders() -> list[Path]:
    """The folders of all caches. Raises OSError if they cannot be listed."""
    place = home() / "cache"
    with suppress(FileNotFoundError):
        os.listdir(place)  # `glob` finds nothing in a folder that may not be read
    return [path.parent for path in sorted(place.glob(f"[!.]*/{MANIFEST}"))]


def manifests() -> list[Manifest]:
    """The manifests of all caches of the current format that are not damaged."""
    found = []
    for folder in folders():
        with suppress(Damaged):
            found.append(read_manifest(folder))
    return [manifest for manifest in found if manifest is not None]


def stamp(path: Path) -> Stamp:
    """The stamp of a file or a folder now."""
    try:
        found = [file.stat() for file in path.iterdir()] if path.is_dir() else [path.stat()]
    except OSError:
        return Stamp(str(path))
    return Stamp(str(path), sum(file.st_size for file in found), max((file.st_mtime_ns for file in found), default=0))


def state_of(path: Path) -> FileState:
    """The state of an array's file now. Raises Damaged if there is none."""
    try:
        found = path.stat()
    except OSError as error:
        raise Damaged(f"{path} is missing: {error.strerror}") from None
    return FileState(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a cache of the current format. None for another format, or if there is no cache.

    Raises Damaged.
    """
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if "format" in json.loads(data):  # the first format, which had no checksums
            return None
        content = load_json(data)
        if content["format"] != FORMAT:
            return None
        return from_json(Manifest, content, str(path))
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path} is damaged ({error})") from None


def fresh(folder: Path, stamps: Sequence[Stamp]) -> Manifest | None:
    """The manifest of a cache whose sources have not changed. A file that is gone counts as unchanged.

    Raises Damaged.
    """
    manifest = read_manifest(folder)
    if manifest is None or len(manifest.sources) != len(stamps):
        return None
    pairs = zip(stamps, manifest.sources, strict=True)
    return manifest if all(now in (then, Stamp(then.path)) for now, then in pairs) else None


def read(folder: Path, stamps: Sequence[Stamp]) -> Trajectories | None:
    """Opens a cached dataset. None if it is not cached, or if a source has changed.

    Raises Damaged if a file is damaged, and ValueError if it cannot be read.
    """
    if (manifest := fresh(folder, stamps)) is None:
        return None
    check_arrays(folder, manifest)
    # mode c: pages are shared and writes are private; torch accepts only arrays that can be written to
    names = (*ARRAYS, "frames") if FRAMES in manifest.files else ARRAYS
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in names}
    return Trajectories(
        id=" + ".join(manifest.ids),
        sha256=manifest.sha256,
        state_mean=np.array(manifest.state_mean),
        state_std=np.array(manifest.state_std),
        num_actions=manifest.num_actions,
        actions_counted=manifest.actions_counted,
        frame_starts=frame_starts(arrays["offsets"]) if "frames" in arrays else None,
        **arrays,
    )


def check_arrays(folder: Path, manifest: Manifest, anew: bool = False) -> None:
    """Raises Damaged if an array does not have its checksum. With `anew` every file is read."""
    states = {name: state_of(folder / name) for name in manifest.files}
    large = [name for name, state in states.items() if state.size > LARGE]
    last = read_checks(folder) if large else {}
    read = set()
    for name, checksum in manifest.files.items():
        path, state = folder / name, states[name]
        if not anew and ((path, state, checksum) in CHECKED or (name in large and state == last.get(name))):
            continue
        try:
            whole = file_sha256(path) == checksum
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {explain(error)}") from None
        if not whole:
            delete(folder / CHECKS)
            raise Damaged(f"{path} is damaged: it does not have its checksum")
        CHECKED.add((path, state, checksum))
        read.add(name)
    if read.intersection(large):
        with suppress(OSError):  # a reader may have no right to write. Then the next process reads the file again
            write_checks(folder, states)


def read_checks(folder: Path) -> dict[str, FileState]:
    """The states of the arrays' files when they were last found whole. Empty if that is not known."""
    try:
        return from_json(Checks, load_json((folder / CHECKS).read_bytes())).files
    except (OSError, ValueError):
        return {}


def write_checks(folder: Path, files: dict[str, FileState]) -> None:
    """Writes the states of the arrays' files, which are whole now."""
    write_atomic(folder / CHECKS, dump_json(to_json(Checks(files))))


def usable(folder: Path, stamps: Sequence[Stamp]) -> Trajectories | None:
    """`read` for a caller that can rebuild the cache. Also None if it is damaged."""
    try:
        return read(folder, stamps)
    except Damaged:
        return None


def write(folder: Path, ids: Sequence[str], trajectories: Trajectories, stamps: Sequence[Stamp]) -> Trajectories:
    """Caches trajectories and opens them from the cache. Other processes may do the same at the same time.

    An old cache that is not usable is replaced. Raises ValueError if the folder cannot be written. Then nothing is left
    behind.
    """
    building, replaced = aside(folder), aside(folder)
    try:
        building.mkdir(parents=True)
        names, files, states = [f"{array}.npy" for array in ARRAYS], {}, {}
        for name in names:
            np.save(building / name, getattr(trajectories, Path(name).stem))
            flush(building / name)  # it must be on disk before the manifest, which says that it is complete
        if isinstance(trajectories.frames, np.memmap):
            os.rename(str(trajectories.frames.filename), building / FRAMES)  # FrameWriter has them on disk already
            names.append(FRAMES)
        for name in names:
            files[name], states[name] = file_sha256(building / name), state_of(building / name)
        manifest = Manifest(
            format=FORMAT,
            ids=list(ids),
            sha256=trajectories.sha256,
            sources=list(stamps),
            state_mean=trajectories.state_mean.tolist(),
            state_std=trajectories.state_std.tolist(),
            files=files,
            num_actions=trajectories.num_actions,
            actions_counted=trajectories.actions_counted,
        )
        write_checks(building, states)
        write_atomic(building / MANIFEST, dump_json(to_json(manifest)))
        if usable(folder, stamps) is None:
            with suppress(FileNotFoundError):
                folder.rename(replaced)
            building.rename(folder)
            CHECKED.update((folder / name, states[name], files[name]) for name in names)
    except OSError as error:
        if usable(folder, stamps) is None:  # otherwise another process has cached the same data
            raise ValueError(f"cannot cache {trajectories.id} in {folder.parent}: {explain(error)}") from None
    finally:
        delete(building)
        delete(replaced)
    opened = usable(folder, stamps)
    if opened is None:
        raise ValueError(f"{folder} was changed by another process while it was written; try again")
    return opened

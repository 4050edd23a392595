"""D4RL's HDF5 layout: `d4rl:PATH` is any file, `d4rl/NAME` is NAME.hdf5 in the folder DMM_D4RL (default DMM_HOME/d4rl).

The arrays are flat. An episode ends where a step is terminal or timed out. An unfinished episode at the end is dropped.
Old files have no `timeouts`. With `@horizon=1000` at the end of the id, an episode of such a file ends after 1000 steps.
In antmaze-umaze the ant plays on at its goal, and each step there is terminal. So the papers' scripts cut it into thousands of
episodes of one step (as published). With `@ends=timeouts` at the end of the id, only timeouts end an episode (as meant).
States are one vector without keys. If they were made of a dictionary, `@view=` at the very end of the id says of which keys.
Some files also have next_observations, infos and metadata. These are not read.
D4RL's own files can be downloaded: dmm/data/addresses.py. A downloaded file is read only if it has its recorded sha256.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from os.path import isdir
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dmm.base.errors import unknown_name
from dmm.base.paths import expand, home
from dmm.data import addresses
from dmm.data.hdf5 import faults, open_contained
from dmm.data.http import RemoteFile, check_record, fetch_all
from dmm.data.trajectories import Trajectories, assemble, check_finite, check_flags, check_vectors
from dmm.tasks.view import split_id

if TYPE_CHECKING:
    import h5py

PREFIXES = ("d4rl",)
VECTORS, SCALARS = ("observations", "actions"), ("rewards", "terminals", "timeouts")  # of a step
FLAGS = {"terminals", "timeouts"}
FIRST_BYTES = b"\x89HDF\r\n\x1a\n"
HORIZON, TIMEOUTS_ONLY = "@horizon=", "@ends=timeouts"  # at the end of an id


def folder() -> Path:
    """The folder of the files that have a name."""
    return expand(os.environ.get("DMM_D4RL") or home() / "d4rl")


@dataclass(frozen=True)
class FileId:
    """The parts of an id."""

    name: str  # d4rl/NAME or d4rl:PATH
    horizon: int | None = None  # steps after which an episode ends, in a file without timeouts
    timeouts_only: bool = False  # terminal steps end no episode


def parse(dataset_id: str) -> FileId:
    """The parts of an id without its view. Raises ValueError if the horizon is not a number of steps."""
    name, mark, given = split_id(dataset_id)[0].partition(HORIZON)
    if not mark:
        return FileId(name.removesuffix(TIMEOUTS_ONLY), timeouts_only=name.endswith(TIMEOUTS_ONLY))
    if not re.fullmatch(r"[1-9]\d{0,8}", given):
        raise ValueError(f"{dataset_id}: the horizon is {given!r}; it takes a number of steps, as in {HORIZON}1000")
    return FileId(name, int(given))


def path(dataset_id: str) -> Path:
    """The file of a dataset."""
    name = parse(dataset_id).name
    if name.startswith("d4rl:"):
        return expand(name.removeprefix("d4rl:"))
    return folder() / f"{name.removeprefix('d4rl/')}.hdf5"


def local_ids() -> list[str]:
    """Ids of the files that have a name."""
    return [f"d4rl/{file.stem}" for file in folder().glob("*.hdf5")]


def absent(dataset_id: str) -> ValueError:
    """The error for a file that does not exist."""
    if dataset_id.startswith("d4rl:"):
        file = path(dataset_id)
        return ValueError(f"{dataset_id}: {file} is {'a folder, not a file' if isdir(file) else 'not there'}")
    elsewhere = "A file elsewhere is d4rl:PATH; DMM_D4RL names another folder."
    name = parse(dataset_id).name
    if name in addresses.d4rl_files():
        address = f"{addresses.D4RL}/{addresses.d4rl_files()[name]}"
        return ValueError(
            f"{name} is not in {folder()}, which has {', '.join(local_ids()) or 'none'}. "
            f"`dmm data download {name}` gets it from {address}. {elsewhere}"
        )
    return ValueError(f"{unknown_name('dataset', dataset_id, local_ids(), str(folder()))} {elsewhere}")


def downloadable_ids() -> list[str]:
    """Ids of D4RL's files on the web."""
    return list(addresses.d4rl_files())


def records() -> list[Path]:
    """The recorded sha256 of all files that were downloaded."""
    return list(folder().glob("*.sha256"))


def download(dataset_id: str, url_root: str) -> Callable[[], str]:
    """A function that downloads one of D4RL's files: `fetch_all`. Raises ValueError for an unknown id."""
    name = parse(dataset_id).name
    if name not in addresses.d4rl_files():
        raise unknown_name("dataset", dataset_id, addresses.d4rl_files(), "the list of downloads")
    address = f"{url_root or addresses.D4RL}/{addresses.d4rl_files()[name]}"
    return partial(fetch_all, name, [RemoteFile(address, path(name), FIRST_BYTES, check_whole)])


def check_whole(file: Path) -> None:
    """Raises ValueError if a file is not HDF5, or if its arrays that make episodes have several lengths. Reads no values."""
    import h5py

    with open_contained(file) as opened, faults(str(file)):
        found = {key: opened.get(key) for key in (*VECTORS, *SCALARS)}
        lengths = {key: len(array) for key, array in found.items() if isinstance(array, h5py.Dataset)}
    check_lengths(file, lengths)


def check_lengths(file: Path, lengths: dict[str, int]) -> None:
    """Raises ValueError if arrays have several lengths, or if there are none."""
    if not lengths:
        raise ValueError(f"{file} has none of {', '.join((*VECTORS, *SCALARS))}")
    longest = max(lengths, key=lambda key: lengths[key])
    for key, length in lengths.items():
        if length < lengths[longest]:
            raise ValueError(f"{file}: {key!r} ends at row {length}; {longest!r} has {lengths[longest]} rows")


def read(dataset_id: str) -> Trajectories:
    """Reads a file's whole episodes. Raises ValueError for damaged files and bad arrays, with key and row."""
    file, horizon, timeouts_only = path(dataset_id), parse(dataset_id).horizon, parse(dataset_id).timeouts_only
    check_record(file)
    arrays = read_arrays(file, horizon)
    check_lengths(file, {key: len(value) for key, value in arrays.items()})
    for key, value in arrays.items():
        check_finite(str(file), key, value)
    for key in FLAGS & arrays.keys():
        check_flags(str(file), key, arrays[key])
    terminals = arrays["terminals"].astype(bool)
    timeouts = reached(terminals, horizon) if horizon else arrays["timeouts"].astype(bool)
    terminals &= not timeouts_only
    ends = np.flatnonzero(terminals | timeouts) + 1
    if not len(ends):
        cut = f"no episode has {horizon} steps" if horizon else "'timeouts' is false"
        raise ValueError(f"{file}: no complete episode in {len(terminals)} rows: 'terminals' is false and {cut}")
    whole = slice(ends[-1])
    return assemble(
        dataset_id,
        arrays["observations"][whole],
        arrays["actions"][whole],
        arrays["rewards"][whole],
        np.concatenate([[0], ends]),
        terminals[ends - 1],
    )


def reached(terminals: np.ndarray, horizon: int) -> np.ndarray:
    """Flags [N] of the steps at which an episode reaches the horizon, from the flags [N] of terminal steps."""
    flags, first = np.zeros(len(terminals), bool), 0
    for end in [*np.flatnonzero(terminals) + 1, len(terminals)]:
        flags[first + horizon - 1 : end : horizon] = True
        first = end
    return flags


def read_arrays(file: Path, horizon: int | None) -> dict[str, np.ndarray]:
    """Reads the arrays that make episodes: [N, D] for VECTORS, [N] for SCALARS. A horizon replaces timeouts."""
    with open_contained(file) as opened:
        if horizon and "timeouts" in opened:
            raise ValueError(f"{file} has 'timeouts', which say where its episodes end; leave out {HORIZON}{horizon}")
        return {key: array(opened, key) for key in (*VECTORS, *SCALARS) if not (horizon and key == "timeouts")}


def array(opened: "h5py.File", key: str) -> np.ndarray:
    """Reads one array of an open file. Raises ValueError if it is absent or has another shape or type."""
    import h5py

    file, where = opened.filename, f"{opened.filename}: {key!r}"
    with faults(where):
        found, there = opened.get(key), ", ".join(map(str, opened))
    if found is None:
        hint = f". If every episode was cut after 1000 steps, add {HORIZON}1000 to the id" if key == "timeouts" else ""
        raise ValueError(f"{file} has no {key!r}, which is needed to find its episodes; it has {there}{hint}")
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{where} is a {type(found).__name__.lower()}, not an array")
    with faults(where):
        shape, kind = found.shape, found.dtype
    if key in VECTORS:
        check_vectors(file, key, shape, kind)
    elif not shape or shape[1:] not in ((), (1,)) or kind.kind not in "biuf":
        raise ValueError(f"{where} is {kind} of shape {shape}; it must have one number a step")
    with faults(where):
        values = found[()]
    return values if key in VECTORS else values.reshape(-1)

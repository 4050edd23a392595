"""D4RL's HDF5 layout: `d4rl:PATH` is any file, `d4rl/NAME` is NAME.hdf5 in the folder DMM_D4RL (default DMM_HOME/d4rl).

The arrays are flat. An episode ends where a step is terminal or timed out. An unfinished episode at the end is dropped.
Some files also have next_observations, infos and metadata: they are not read.
"""

import os
from pathlib import Path

import numpy as np

from dmm.base.errors import unknown_name
from dmm.base.paths import home
from dmm.data.trajectories import Trajectories, assemble, check_finite, check_vectors

PREFIXES = ("d4rl",)
VECTORS, SCALARS = ("observations", "actions"), ("rewards", "terminals", "timeouts")  # of a step


def folder() -> Path:
    """The folder of the files that have a name."""
    return Path(os.environ.get("DMM_D4RL", home() / "d4rl")).expanduser().resolve()


def path(dataset_id: str) -> Path:
    """The file of a dataset."""
    if dataset_id.startswith("d4rl:"):
        return Path(dataset_id.removeprefix("d4rl:")).expanduser().resolve()
    return folder() / f"{dataset_id.removeprefix('d4rl/')}.hdf5"


def local_ids() -> list[str]:
    """Ids of the files that have a name."""
    return [f"d4rl/{file.stem}" for file in folder().glob("*.hdf5")]


def absent(dataset_id: str) -> ValueError:
    """The error for a file that does not exist."""
    if dataset_id.startswith("d4rl:"):
        file = path(dataset_id)
        return ValueError(f"{dataset_id}: {file} is {'a folder, not a file' if file.is_dir() else 'not there'}")
    message = unknown_name("dataset", dataset_id, local_ids(), str(folder()))
    return ValueError(f"{message} A file elsewhere is d4rl:PATH; DMM_D4RL names another folder.")


def read(dataset_id: str) -> Trajectories:
    """Reads a file's whole episodes. Raises ValueError for damaged files and bad arrays, with key and row."""
    file = path(dataset_id)
    arrays = {key: array(file, key) for key in (*VECTORS, *SCALARS)}
    longest = max(arrays, key=lambda key: len(arrays[key]))
    for key, value in arrays.items():
        if len(value) < len(arrays[longest]):
            raise ValueError(f"{file}: {key!r} ends at row {len(value)}; {longest!r} has {len(arrays[longest])} rows")
        check_finite(str(file), key, value)
    terminals = arrays["terminals"].astype(bool)
    ends = np.flatnonzero(terminals | arrays["timeouts"].astype(bool)) + 1
    if not len(ends):
        raise ValueError(
            f"{file}: no complete episode: 'terminals' and 'timeouts' are false in all {len(terminals)} rows"
        )
    whole = slice(ends[-1])
    return assemble(
        dataset_id,
        arrays["observations"][whole],
        arrays["actions"][whole],
        arrays["rewards"][whole],
        np.concatenate([[0], ends]),
        terminals[ends - 1],
    )


def array(file: Path, key: str) -> np.ndarray:
    """Reads one array of a file: [N, D] for a key of VECTORS, [N] for a key of SCALARS."""
    import h5py

    try:
        with h5py.File(file, "r") as opened:
            if key not in opened:
                raise ValueError(
                    f"{file} has no {key!r}, which is needed to find its episodes; it has {', '.join(map(str, opened))}"
                )
            found = opened[key]
            if not isinstance(found, h5py.Dataset):
                raise ValueError(f"{file}: {key!r} is a {type(found).__name__.lower()}, not an array")
            if key in VECTORS:
                check_vectors(str(file), key, found.shape, found.dtype)
                return found[()]
            if not found.shape or found.shape[1:] not in ((), (1,)) or found.dtype.kind not in "biuf":
                raise ValueError(
                    f"{file}: {key!r} is {found.dtype} of shape {found.shape}; it must have one number a step"
                )
            return found[()].reshape(-1)
    except (OSError, RuntimeError, KeyError, TypeError, MemoryError) as error:  # h5py has no error class of its own
        raise ValueError(f"{file}: {key!r} cannot be read. The file is damaged or is not HDF5: {error}") from None

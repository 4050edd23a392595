"""The DQN replay of Atari games, as its bucket has it: `dqn/GAME` is run 1 of a game, `dqn/GAME/2` is run 2.

The files are in the folder DMM_DQN (default DMM_HOME/dqn), under GAME/RUN/replay_logs. They can be downloaded and listed. They
cannot be read so far, because their states are frames.
"""

import gzip
import os
import re
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from dmm.base.errors import unknown_name
from dmm.base.paths import expand, home
from dmm.data import addresses
from dmm.data.http import RemoteFile, fetch_all
from dmm.data.trajectories import Trajectories

PREFIXES = ("dqn",)
ID = re.compile(r"dqn/(\w+)(?:/([1-5]))?")
CHECKPOINTS = 50  # of a run
STORES = ("observation", "action", "reward", "terminal")  # arrays with a row for each step
COUNTS = ("add_count", "invalid_range")
FIRST_BYTES = b"\x1f\x8b"  # of gzip


def root() -> Path:
    """The folder of all games."""
    return expand(os.environ.get("DMM_DQN", home() / "dqn"))


def run_of(dataset_id: str) -> str:
    """GAME/RUN. Raises ValueError for an unknown game or run."""
    found = ID.fullmatch(dataset_id)
    if not found or found[1] not in addresses.GAMES:
        raise unknown_name("dataset", dataset_id, downloadable_ids(), "the DQN replay")
    return f"{found[1]}/{found[2] or 1}"


def folder(dataset_id: str) -> Path:
    """The folder of a run's files. It may not exist."""
    return root() / run_of(dataset_id) / "replay_logs"


def path(dataset_id: str) -> Path:
    """The first file of a run, which stands for all."""
    return folder(dataset_id) / "$store$_observation_ckpt.0.gz"


def local_ids() -> list[str]:
    """Ids of the runs whose first file is here."""
    runs = sorted(file.parts[-4:-2] for file in root().glob("*/[1-5]/replay_logs/$store$_observation_ckpt.0.gz"))
    return [f"dqn/{game}" if run == "1" else f"dqn/{game}/{run}" for game, run in runs if game in addresses.GAMES]


def absent(dataset_id: str) -> ValueError:
    """The error for a run that is not here."""
    return ValueError(f"{dataset_id} is not in {root()}. To get it: dmm data download {dataset_id}")


def read(dataset_id: str) -> Trajectories:
    """Raises ValueError. Frames are not read so far."""
    raise ValueError(f"{dataset_id}: its states are frames of {folder(dataset_id)}, which cannot be read so far")


def downloadable_ids() -> list[str]:
    """Ids of the first runs of all games."""
    return [f"dqn/{game}" for game in addresses.GAMES]


def download(dataset_id: str, url_root: str) -> Callable[[], str]:
    """A function that downloads the files of a run: `fetch_all`. Raises ValueError for an unknown game."""
    arrays = (*(f"$store$_{store}" for store in STORES), *COUNTS)
    names = [f"{array}_ckpt.{number}.gz" for number, array in product(range(CHECKPOINTS), arrays)]
    address = f"{url_root or addresses.DQN}/{run_of(dataset_id)}/replay_logs"
    files = [RemoteFile(f"{address}/{name}", folder(dataset_id) / name, FIRST_BYTES, check_whole) for name in names]
    return partial(fetch_all, dataset_id, files)


def check_whole(file: Path) -> None:
    """Raises ValueError if a file is no gzip of a NumPy array, or has other rows than the other arrays of its checkpoint.

    Reads the first bytes only.
    """
    rows = rows_of(file)
    number = file.name.removesuffix(".part").rpartition("_ckpt.")[2]
    for store in STORES:
        other = file.with_name(f"$store$_{store}_ckpt.{number}")
        if file.name.startswith("$store$") and other.is_file() and rows_of(other) != rows:
            raise ValueError(f"{file} has {rows} rows; {other.name} has {rows_of(other)}")


def rows_of(file: Path) -> int:
    """The rows of a gzipped array, or 0 for a single number. Raises ValueError for another file."""
    try:
        with gzip.open(file) as opened:
            np.lib.format.read_magic(opened)
            shape, _, _ = np.lib.format.read_array_header_1_0(opened)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{file} is no gzip of a NumPy array: {error}") from None
    return shape[0] if shape else 0

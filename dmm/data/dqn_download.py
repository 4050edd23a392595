"""Download of DQN-replay's runs: `dqn/GAME` is run 1 of a game, `dqn/GAME/2` is run 2. The reader is readers/dqn.py."""

import re
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

from dmm.base.errors import unknown_name
from dmm.data import addresses
from dmm.data.gzip_arrays import ArrayStream
from dmm.data.http import RemoteFile, fetch_all

ID = re.compile(r"dqn/(\w+?)(?:/([1-5])|-all|-[\d.]+pct-s\d+)?")  # of a run, or of a part of run 1
FILES = 50  # of each array of a run
STORES = ("observation", "action", "reward", "terminal")  # arrays with a row for each step
COUNTS = ("add_count", "invalid_range")
FIRST_BYTES = b"\x1f\x8b"  # of gzip


def run_of(dataset_id: str) -> str:
    """GAME/RUN. Raises ValueError for an unknown game or run."""
    found = ID.fullmatch(dataset_id)
    if not found or found[1] not in addresses.GAMES:
        raise unknown_name("dataset", dataset_id, downloadable_ids(), "the DQN replay")
    return f"{found[1]}/{found[2] or 1}"


def downloadable_ids() -> list[str]:
    """Ids of the first runs of all games."""
    return [f"dqn/{game}" for game in addresses.GAMES]


def paths(dataset_id: str, root: Path) -> list[Path]:
    """The files of a run in a folder of games."""
    logs = root / run_of(dataset_id) / "replay_logs"
    return [array_path(logs, key, number) for number, key in product(range(FILES), (*STORES, *COUNTS))]


def array_path(logs: Path, key: str, number: int) -> Path:
    """The file of an array in the folder of a run. File N has the N-th million of rows."""
    return logs / f"{'' if key in COUNTS else '$store$_'}{key}_ckpt.{number}.gz"


def download(dataset_id: str, root: Path, url_root: str) -> Callable[[], str]:
    """A function that downloads a run into a folder of games: `fetch_all`. Raises ValueError for an unknown game."""
    address = f"{url_root or addresses.DQN}/{run_of(dataset_id)}/replay_logs"
    files = [RemoteFile(f"{address}/{path.name}", path, FIRST_BYTES, check_whole) for path in paths(dataset_id, root)]
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
    with ArrayStream(file) as stream:
        return stream.shape[0] if stream.shape else 0

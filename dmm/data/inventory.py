"""The inventory of datasets, for `dmm data list`, and a full check of the cache, for `dmm data verify`."""

from collections.abc import Callable
from dataclasses import dataclass

from dmm import data
from dmm.base.errors import raise_interrupt
from dmm.data import addresses, cache
from dmm.data.http import check_record, part_of

COLLECTED = "collected on first use"  # the source of a dataset that is not here, and needs no download


@dataclass(frozen=True, kw_only=True)
class InventoryRow:
    """A dataset: size, returns, identity and source. Numbers are None where the data cannot be read."""

    id: str
    episodes: int | None = None
    steps: int | None = None
    length_mean: float | None = None  # steps of an episode
    return_mean: float | None = None  # undiscounted, over episodes
    return_std: float | None = None
    return_min: float | None = None
    return_max: float | None = None
    sha256: str | None = None  # its first 12 digits
    source: str  # the file, or why there are no numbers

    def cells(self) -> dict[str, str]:
        """The row as it is printed."""
        return {
            "id": self.id,
            "episodes": "" if self.episodes is None else f"{self.episodes:,}",
            "steps": "" if self.steps is None else f"{self.steps:,}",
            "return": "" if self.return_mean is None else f"{self.return_mean:,} ± {self.return_std:,}",
            "lowest to highest": "" if self.return_min is None else f"{self.return_min:,} to {self.return_max:,}",
            "sha256": self.sha256 or "",
            "source": self.source,
        }


@dataclass(frozen=True)
class RemoteRow:
    """A dataset on the web."""

    id: str
    here: str  # "yes" for all files, or the megabytes of a download that is not finished, or ""
    address: str


def remote_datasets() -> list[RemoteRow]:
    """A row for each dataset that `dmm data download` is known to get. Minari's server has its own list."""
    files = {dataset_id: f"{addresses.D4RL}/{file}" for dataset_id, file in addresses.d4rl_files().items()}
    files |= {f"dqn/{game}": f"{addresses.DQN}/{game}/1/replay_logs" for game in addresses.GAMES}
    return [RemoteRow(dataset_id, here(dataset_id), files[dataset_id]) for dataset_id in data.downloadable_ids()]


def here(dataset_id: str) -> str:
    """How much of a dataset is on this machine."""
    reader = data.find_reader(dataset_id)
    paths = getattr(reader, "download_paths", lambda name: [reader.path(name)])(dataset_id)
    if all(path.is_file() for path in paths):
        return "yes"
    found = [file for path in paths for file in (path, part_of(path)) if file.is_file()]
    return f"{sum(file.stat().st_size for file in found) / 1e6:,.0f} MB of it" if found else ""


def inventory() -> list[InventoryRow]:
    """A row for each dataset that is here, was read before or can be fetched.

    A dataset that was never read is read now, unless that is expensive.
    """
    cached = {manifest.ids[0] for manifest in cache.manifests() if len(manifest.ids) == 1}
    fetchable = set(data.fetchable_ids())
    return [inventory_row(dataset_id, fetchable) for dataset_id in sorted({*cached, *data.local_ids(), *fetchable})]


def inventory_row(dataset_id: str, fetchable: set[str]) -> InventoryRow:
    """The row of one dataset. A dataset that cannot be read has the error in the place of its source."""
    try:
        if not data.is_present(dataset_id):
            return InventoryRow(id=dataset_id, source=COLLECTED if dataset_id in fetchable else "gone")
        reader = data.find_reader(dataset_id)
        expensive = getattr(reader, "IS_EXPENSIVE", False)
        found = data.load_cached((dataset_id,)) if expensive else data.load((dataset_id,))
        if found is None:
            return InventoryRow(id=dataset_id, source=f"{reader.path(dataset_id)}, not read yet")
    except Exception as error:  # whatever is wrong with one dataset, the others are listed
        raise_interrupt(error)
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        return InventoryRow(id=dataset_id, source=f"{kind}{error}")
    returns = found.episode_returns
    return InventoryRow(
        id=dataset_id,
        episodes=found.episodes,
        steps=found.steps,
        length_mean=round(float(found.lengths.mean()), 1),
        return_mean=round(float(returns.mean()), 1),
        return_std=round(float(returns.std()), 1),
        return_min=round(float(returns.min()), 1),
        return_max=round(float(returns.max()), 1),
        sha256=found.sha256[:12],
        source=str(reader.path(dataset_id)),
    )


def verify(say: Callable[[str], None]) -> bool:
    """Reads every cached and every downloaded file, and compares its checksum. Rebuilds a damaged cache.

    False if a cache could not be rebuilt, or if a downloaded file has another sha256 than the recorded one.
    """
    good = True
    for record in data.records():
        if (path := record.with_suffix("")).is_file():
            try:
                check_record(path)
                say(f"{path}: has its recorded sha256")
            except (ValueError, OSError) as error:
                say(str(error))
                good = False
    for folder in cache.folders():
        try:
            manifest = cache.read_manifest(folder)
        except cache.Damaged as error:
            say(f"{error}; the dataset is read from its source at its next use")
            continue
        if manifest is None:
            say(f"{folder}: made by an earlier version; the dataset is read from its source at its next use")
            continue
        name = " + ".join(manifest.ids)
        try:
            cache.check_arrays(folder, manifest, anew=True)
            size = sum((folder / file).stat().st_size for file in manifest.files)
            say(f"{name}: whole, {size / 1e6:,.1f} MB")
        except ValueError as damaged:
            try:
                data.load(tuple(manifest.ids))
                say(f"{name}: was damaged, and is rebuilt")
            except ValueError as error:
                known = str(damaged) in str(error)
                say(str(error) if known else f"{damaged}, and it cannot be rebuilt: {error}")
                good = False
    return good

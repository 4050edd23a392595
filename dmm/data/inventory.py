"""The inventory of datasets, for `dmm data list`, and a full check of the cache, for `dmm data verify`."""

from collections.abc import Callable
from dataclasses import dataclass

from dmm import data
from dmm.data import cache


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


def inventory() -> list[InventoryRow]:
    """A row for each dataset that is here, was read before or can be fetched. A dataset that was never read is read now."""
    cached = {manifest.ids[0] for manifest in cache.manifests() if len(manifest.ids) == 1}
    fetchable = set(data.fetchable_ids())
    return [inventory_row(dataset_id, fetchable) for dataset_id in sorted({*cached, *data.local_ids(), *fetchable})]


def inventory_row(dataset_id: str, fetchable: set[str]) -> InventoryRow:
    """The row of one dataset."""
    if not data.is_present(dataset_id):
        return InventoryRow(id=dataset_id, source="collected on first use" if dataset_id in fetchable else "gone")
    try:
        found = data.load((dataset_id,))
    except ValueError as error:
        return InventoryRow(id=dataset_id, source=str(error))
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
        source=str(data.find_reader(dataset_id).path(dataset_id)),
    )


def verify(say: Callable[[str], None]) -> bool:
    """Reads every cached file and compares its checksum. Rebuilds what is damaged. False if something could not be rebuilt."""
    good = True
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

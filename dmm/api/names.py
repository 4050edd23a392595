"""Names that the other functions take, and datasets by their ids."""

from collections.abc import Sequence

from dmm import architectures, data, tables
from dmm.data.trajectories import Trajectories
from dmm.tasks import TASKS


def list_models() -> list[str]:
    """Names of all architectures: those that ship with dmm, and those of installed packages."""
    return sorted({*architectures.list_models(), *(offer.name for offer in architectures.entry_points())})


def list_tasks() -> list[str]:
    """Names of all tasks."""
    return sorted(TASKS)


def list_datasets() -> list[str]:
    """Ids of the datasets that are on this machine or are collected at their first use."""
    return sorted({*data.local_ids(), *data.fetchable_ids()})


def list_tables() -> list[str]:
    """Names of the tables in ./tune_spaces and of those that ship with dmm."""
    return sorted(tables.tables())


def load_dataset(ids: str | Sequence[str]) -> Trajectories:
    """Loads a dataset, or several as one: states [N S], actions [N A], rewards [N], returns_to_go [N], lengths [E].

    The N steps are those of E episodes, one episode after the other. Values are raw: states are not normalised, and actions
    have the environment's units. A dataset of dmm that is absent is collected first, with a bar.
    Raises ValueError for an unknown or absent dataset, for bad data, and for datasets of different dimensions.
    """
    return data.load(dataset_ids(ids))


def dataset_ids(ids: str | Sequence[str]) -> tuple[str, ...]:
    """One id or several, as a tuple. Raises ValueError if there is none, or if one is not a string."""
    found = (ids,) if isinstance(ids, str) else tuple(ids) if isinstance(ids, Sequence) else ()
    if not found or not all(isinstance(entry, str) and entry for entry in found):
        raise ValueError(f"data is {ids!r}; it takes the id of a dataset, or a list of ids that are read as one")
    return found

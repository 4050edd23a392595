"""Datasets: one in-memory form for all sources, found by id as SOURCE/NAME, or SOURCE:PATH for a file.

A source is one file of readers/, a reader, with PREFIXES and four functions: path(id) of the file that changes when
the data do, read(id) -> Trajectories, here() -> ids, absent(id) -> the error for an id that is not here.
"""

import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType

from dmm.base.errors import unknown_name
from dmm.data import cache
from dmm.data import readers as sources
from dmm.data.trajectories import Trajectories, join


def readers() -> dict[str, ModuleType]:
    """The reader of each prefix."""
    modules = [
        importlib.import_module(f"{sources.__name__}.{module.name}")
        for module in pkgutil.iter_modules(sources.__path__)
    ]
    return {prefix: module for module in modules for prefix in getattr(module, "PREFIXES", ())}


def reader(dataset_id: str) -> ModuleType:
    """The reader of a dataset's source."""
    prefix = re.split("[/:]", dataset_id, maxsplit=1)[0]
    if prefix == dataset_id or prefix not in readers():
        raise unknown_name("dataset", dataset_id, here())
    return readers()[prefix]


def here() -> list[str]:
    """Ids of all datasets in the places where sources keep theirs."""
    return sorted(name for module in set(readers().values()) for name in module.here())


def present(dataset_id: str) -> bool:
    """Whether a dataset can be loaded: it is in its source's place, or cached."""
    path = reader(dataset_id).path(dataset_id)
    return path.is_file() or cache.fresh(cache.folder_of([dataset_id]), [cache.stamp(path)]) is not None


def load(ids: tuple[str, ...]) -> Trajectories:
    """Loads a dataset, or several as one; a source is read once, then its cache is opened."""
    paths: list[Path] = [reader(dataset_id).path(dataset_id) for dataset_id in ids]
    folder, stamps = cache.folder_of(ids), [cache.stamp(path) for path in paths]
    if (found := cache.read(folder, stamps)) is not None:
        return found
    first, *others = ids
    if others:
        trajectories = join([load((dataset_id,)) for dataset_id in ids])
    elif paths[0].is_file():
        trajectories = reader(first).read(first)
    else:
        raise reader(first).absent(first)
    return cache.write(folder, ids, trajectories, stamps)

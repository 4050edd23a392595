"""Datasets. `load` is the only way in, and every source gives the same in-memory form, `Trajectories`.

trajectories.py  a dataset in memory, and checks of it
frames.py        frames of a dataset, written to disk while a source is read
windows.py       windows of K steps, for training and for rollouts, and how batches are sampled
goals.py         goals of hierarchical models
addresses.py     where datasets are on the web
dqn_download.py  the download of DQN-replay's runs
http.py          files over HTTP: resumed, whole, and of the recorded sha256
images.py        images of Atari games, converted to frames
hdf5.py          safe reading of HDF5 files from outside
gzip_arrays.py   reading of large .npy.gz files as a stream
cache.py         each dataset once, as memory-mapped files
inventory.py     the rows of `dmm data list`, and `dmm data verify`
collect.py       behaviours, which are policies and scripts, rolled out into Minari datasets
behaviour.py     behaviour policies trained with SAC
readers/         one file for each source of data
policies/        the behaviour policies that ship with dmm, with their cards
scripts/         behaviours that are code

A dataset's id is SOURCE/NAME, or SOURCE:PATH for a file. Every file in readers/ is a reader: `Reader` describes it.
"""

import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator, Sequence
from os.path import isdir, isfile
from pathlib import Path
from typing import Any, cast, runtime_checkable
from typing import Protocol as Interface

from dmm.base.errors import unknown_name
from dmm.data import cache
from dmm.data import readers as sources
from dmm.data.addresses import parts
from dmm.data.trajectories import Trajectories, join


@runtime_checkable
class Reader(Interface):
    """A module of readers/.

    A source that can get an absent dataset has two more functions. `fetch(dataset_id)` downloads or makes the dataset,
    with a bar. `fetchable_ids()` lists datasets that `fetch` can get.
    A source whose datasets are folders of many files has IS_FOLDER = True. One that takes hours to read has
    IS_EXPENSIVE = True. It is read for its use only, and not for a list.
    A source on the web has others, because nothing is downloaded until a user asks. `download(dataset_id, url_root)`
    raises ValueError for an unknown id. It gives a function that downloads the dataset, with a bar, and says what is here then.
    `downloadable_ids()` lists what is known to be on the web. `download_paths(dataset_id)` are a dataset's files, if they are
    more than its `path`. `records()` are the files NAME.sha256 of what was downloaded.
    TASK_SUFFIXES are endings of tasks that are for this source, where other data have a task of the plain name.
    """

    PREFIXES: tuple[str, ...]  # the part of an id before the first / or :

    def path(self, dataset_id: str) -> Path:
        """The file, or the folder, that changes when the data change. It may not exist."""
        ...

    def read(self, dataset_id: str) -> Trajectories:
        """Reads all whole episodes. Raises ValueError with the file and the place of the fault."""
        ...

    def local_ids(self) -> list[str]:
        """Ids of the datasets in the folder of this source."""
        ...

    def absent(self, dataset_id: str) -> ValueError:
        """The error for a dataset that is not in the folder of this source."""
        ...


def readers() -> dict[str, Reader]:
    """The reader of each prefix."""
    names = [module.name for module in pkgutil.iter_modules(sources.__path__)]
    modules = [cast(Reader, importlib.import_module(f"{sources.__name__}.{name}")) for name in names]
    return {prefix: module for module in modules for prefix in module.PREFIXES}


def find_reader(dataset_id: str) -> Reader:
    """The reader of a dataset. Raises ValueError for an unknown prefix."""
    prefix, *rest = re.split("[/:]", dataset_id, maxsplit=1)
    if not rest or prefix not in readers():
        raise unknown_name("dataset", dataset_id, {*local_ids(), *fetchable_ids()})
    return readers()[prefix]


def local_ids() -> list[str]:
    """Ids of the datasets in the folders of all sources."""
    return sorted(dataset_id for reader in readers().values() for dataset_id in reader.local_ids())


def fetchable_ids() -> list[str]:
    """Ids of datasets that `load` can fetch."""
    found = (getattr(reader, "fetchable_ids", list)() for reader in readers().values())
    return sorted(dataset_id for ids in found for dataset_id in ids)


def downloadable_ids() -> list[str]:
    """Ids of datasets that `download` is known to get. Minari's are not among them, because its server has the list."""
    found = (getattr(reader, "downloadable_ids", list)() for reader in readers().values())
    return sorted(dataset_id for ids in found for dataset_id in ids)


def download(ids: Sequence[str], url_root: str = "") -> Iterator[str]:
    """Downloads datasets, one after the other. Gives a line for each. A medium-expert of the papers is two datasets.

    `url_root` takes the place of the source's address. Datasets that are here are checked. Raises ValueError for an unknown id,
    before anything is downloaded, and for what the user can mend. Raises ConnectionError for what the network or a server did.
    """
    ways = {}
    for dataset_id in dict.fromkeys(part for given in ids for part in parts(given)):
        reader: Any = readers().get(re.split("[/:]", dataset_id, maxsplit=1)[0])
        if reader is None:
            raise unknown_name("dataset", dataset_id, downloadable_ids(), "the list of downloads")
        if not hasattr(reader, "download"):
            raise ValueError(f"{dataset_id} is not on the web. `dmm data collect {dataset_id}` makes it here")
        ways[dataset_id] = reader.download(dataset_id, url_root.rstrip("/"))
    for dataset_id, way in ways.items():
        yield f"{dataset_id}: {way()}"


def records() -> list[Path]:
    """The files with the recorded sha256 of everything that was downloaded."""
    return sorted(record for reader in readers().values() for record in getattr(reader, "records", list)())


def is_present(dataset_id: str) -> bool:
    """Whether a dataset can be loaded without fetching: its file exists, or the cache has it."""
    reader = find_reader(dataset_id)
    if is_there(reader, dataset_id):
        return True
    try:
        return cache.fresh(cache.folder_of([dataset_id]), stamps((dataset_id,))) is not None
    except cache.Damaged:
        return False


def is_there(reader: Reader, dataset_id: str) -> bool:
    """Whether the file or the folder of a dataset exists."""
    return (isdir if getattr(reader, "IS_FOLDER", False) else isfile)(reader.path(dataset_id))


def load(ids: tuple[str, ...]) -> Trajectories:
    """Loads a dataset, or several as one.

    An absent dataset is fetched, with a bar, if its reader can do so. A source is read once. Later calls open its cache. A
    damaged cache is rebuilt, and a line on stderr says so.
    Raises ValueError for an unknown or absent dataset, for bad data, and for datasets of different dimensions.
    """
    folder = cache.folder_of(ids)
    try:
        if (found := load_cached(ids)) is not None:
            return found
    except cache.Damaged as damaged:
        try:
            found = cache.write(folder, ids, *read_sources(ids))
        except ValueError as error:
            raise ValueError(f"{damaged}, and it cannot be rebuilt: {error}") from None
        print(f"{damaged}; it is rebuilt from {' + '.join(ids)}", file=sys.stderr, flush=True)
        return found
    return cache.write(folder, ids, *read_sources(ids))


def load_cached(ids: tuple[str, ...]) -> Trajectories | None:
    """Loads what the cache has. None for data that it has not, and if a source has changed. Raises Damaged, as `cache.read`."""
    return cache.read(cache.folder_of(ids), stamps(ids))


def read_sources(ids: tuple[str, ...]) -> tuple[Trajectories, list[cache.Stamp]]:
    """Reads datasets as one. Also gives the stamps that their files had before, so that later changes are noticed."""
    first, *others = ids
    if others:
        for dataset_id in ids:
            load((dataset_id,))  # fetches those that are absent
        before = stamps(ids)
        return join([load((dataset_id,)) for dataset_id in ids]), before
    reader = find_reader(first)
    if not is_there(reader, first):
        fetch = getattr(reader, "fetch", None)
        if fetch is None:
            raise reader.absent(first)
        fetch(first)
    before = stamps(ids)
    return reader.read(first), before


def stamps(ids: tuple[str, ...]) -> list[cache.Stamp]:
    """The stamps of the datasets' files."""
    return [cache.stamp(find_reader(dataset_id).path(dataset_id)) for dataset_id in ids]

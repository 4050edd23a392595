"""Minari's datasets. `minari/NAME` is the dataset NAME in Minari's own folder (MINARI_DATASETS_PATH).

Observations that are dictionaries become vectors by a view at the end of the id: `minari/NAME@view=observation+desired_goal`.
Without one, all leaves count, sorted by their keys. Discrete actions are one column of numbers.
Images of Atari games become frames: dmm/data/images.py. They are read from HDF5 a few hundred at a time.
Episodes are read one by one. Infos are not read, and no environment is made. Minari's own storage does both, and it needs the
spaces that some metadata lack.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dmm.base.errors import raise_interrupt, unknown_name
from dmm.base.paths import aside, delete, expand
from dmm.data.frames import FrameWriter
from dmm.data.hdf5 import faults, open_contained
from dmm.data.http import cause
from dmm.data.images import are_images, check_readable, frames_of
from dmm.data.trajectories import Trajectories, assemble, check_finite, check_flags, check_vectors
from dmm.environments.screens import FRAME
from dmm.tasks.view import flatten, split_id

PREFIXES = ("minari",)
KEYS = ("observations", "actions", "rewards", "terminations", "truncations")  # of an episode
TASK_SUFFIXES = ("-minari", "-robotics")  # where the plain name is the task of other data


def root() -> Path:
    """Minari's own folder."""
    return expand(os.environ.get("MINARI_DATASETS_PATH", "~/.minari/datasets"))


def name_of(dataset_id: str) -> str:
    """Minari's name of a dataset. The id is `minari/NAME`, or a NAME as Minari has it."""
    return split_id(dataset_id)[0].removeprefix("minari/")


def folder(dataset_id: str) -> Path:
    """The folder of a dataset. It may not exist."""
    return root() / name_of(dataset_id)


def path(dataset_id: str) -> Path:
    """The file that changes when a dataset does: the data, or the metadata where each episode has a file of its own."""
    data, metadata = (folder(dataset_id) / "data" / name for name in ("main_data.hdf5", "metadata.json"))
    return metadata if metadata.is_file() and not data.is_file() else data


def names() -> list[str]:
    """Minari's names of all datasets in its folder."""
    found = [file.parent.parent.relative_to(root()).as_posix() for file in root().glob("**/data/metadata.json")]
    return [name for name in found if "/." not in f"/{name}"]


def local_ids() -> list[str]:
    """Ids of the datasets in Minari's folder, except those of the source `dmm`."""
    return [f"minari/{name}" for name in names() if not name.startswith("dmm/")]


def absent(dataset_id: str) -> ValueError:
    """The error for a dataset that is not in Minari's folder."""
    message = unknown_name("dataset", dataset_id, local_ids(), str(root()))
    return ValueError(f"{message} To get it: dmm data download minari/{name_of(dataset_id)}")


def download(dataset_id: str, url_root: str) -> Callable[[], str]:
    """A function that downloads a dataset: `download_now`. Raises ValueError for another address than that of Minari."""
    if url_root:
        raise ValueError(f"--url-root is not for {dataset_id}. MINARI_REMOTE or HF_ENDPOINT names Minari's server")
    return partial(download_now, dataset_id)


def download_now(dataset_id: str) -> str:
    """Downloads a dataset with Minari's own downloader. Gives a line with its place.

    Each call has a hidden folder in Minari's own. The dataset is checked there, and moved when it is whole. Raises
    ConnectionError for what the server or the network did, and ValueError for a name that the server does not have.
    """
    if folder(dataset_id).is_dir():
        try:
            check_whole(folder(dataset_id))
        except ValueError as error:
            raise ValueError(f"{error}. To download it again, delete {folder(dataset_id)}") from None
        return f"{folder(dataset_id)}, which was here"
    if not re.search(r"-v\d+$", name_of(dataset_id)):
        raise ValueError(
            f"{dataset_id} has no version; a name of Minari ends in one, as in minari/mujoco/hopper/medium-v0"
        )
    staging = aside(root() / "download")
    try:
        download_to(staging, dataset_id)
        move_whole(staging)
    finally:
        delete(staging)
    if not folder(dataset_id).is_dir():
        raise ConnectionError(f"Minari's downloader ended without {name_of(dataset_id)}")
    return str(folder(dataset_id))


def download_to(staging: Path, dataset_id: str) -> None:
    """Downloads a dataset to another folder than Minari's own."""
    import minari
    from minari.storage.remotes import DEFAULT_REMOTE

    before, hint = os.environ.get("MINARI_DATASETS_PATH"), f"Or put the dataset's folder at {folder(dataset_id)}"
    staging.mkdir(parents=True)
    os.environ["MINARI_DATASETS_PATH"] = str(staging)
    try:
        minari.download_dataset(name_of(dataset_id), force_download=True)
    except Exception as error:  # of Minari, of Hugging Face or of the network
        raise_interrupt(error)
        server = os.environ.get("MINARI_REMOTE", DEFAULT_REMOTE)
        if isinstance(error, ValueError):
            raise ValueError(f"{dataset_id} cannot be downloaded from {server}: {error} {hint}") from None
        raise ConnectionError(f"{dataset_id} cannot be downloaded from {server}: {cause(error)}. {hint}") from None
    finally:
        os.environ.pop("MINARI_DATASETS_PATH")
        if before is not None:
            os.environ["MINARI_DATASETS_PATH"] = before


def move_whole(staging: Path) -> None:
    """Moves the datasets of a folder to Minari's own. Those that are there stay. Raises ConnectionError for a damaged one."""
    for metadata in sorted(staging.glob("**/data/metadata.json")):
        found = metadata.parent.parent
        place = root() / found.relative_to(staging)
        try:
            check_whole(found)
        except ValueError as error:
            raise ConnectionError(
                f"Minari's downloader gave a dataset that is not whole, so it was deleted: {error}"
            ) from None
        place.parent.mkdir(parents=True, exist_ok=True)
        rename_new(found, place)
    for namespace in staging.glob("**/namespace_metadata.json"):
        rename_new(namespace, root() / namespace.relative_to(staging))


def rename_new(found: Path, place: Path) -> None:
    """Renames, unless the place is taken. Another process may take it at the same time."""
    try:
        if not place.exists():
            found.rename(place)
    except OSError:
        if not place.exists():
            raise


@dataclass(frozen=True)
class Episode:
    """An episode in Minari's layout."""

    file: Path
    name: str
    # of KEYS. Observations may be arrays in dictionaries in dictionaries, and images may be on disk
    arrays: dict[str, Any]

    def place(self, key: str) -> str:
        """An array's place, for errors."""
        return f"{self.file}: '{self.name}/{key}'"

    def check_lengths(self) -> None:
        """Raises ValueError if an array has another length than the rewards."""
        steps = len(self.arrays["rewards"])
        for key in KEYS:
            expected = steps + (key == "observations")
            found = {len(leaf) if leaf.ndim else 0 for leaf in leaves(self.arrays[key])}
            if found != {expected}:
                rows = " and ".join(map(str, sorted(found))) or "no"
                raise ValueError(f"{self.place(key)} has {rows} rows; with {steps} rewards it takes {expected}")


def check_whole(place: Path) -> None:
    """Reads the folder of a dataset. Raises ValueError if an episode is missing or damaged, or has wrong lengths."""
    for episode in episodes(place):
        episode.check_lengths()
        for leaf in leaves(episode.arrays["observations"]):
            check_readable(leaf, episode.place("observations"))


def leaves(value: Any) -> list[Any]:
    """The arrays in dictionaries in dictionaries."""
    return [leaf for inner in value.values() for leaf in leaves(inner)] if isinstance(value, dict) else [value]


def in_memory(found: Any) -> Any:
    """The values of an HDF5 array, or of those in groups in groups. Images stay on disk, because they are gigabytes.

    `found` is of h5py's low interface, which takes less than half of the time. Episodes are small and many.
    """
    from h5py import Dataset, h5g, h5o, h5s

    if isinstance(found, h5g.GroupID):
        return {name.decode(): in_memory(h5o.open(found, name)) for name in found}
    if found.dtype.kind not in "bif":
        return value if are_images(value := Dataset(found)) else np.asarray(value[()])
    values = np.empty(found.shape, found.dtype)
    found.read(h5s.ALL, h5s.ALL, values)
    return values


def episodes(place: Path) -> Iterator[Episode]:
    """The episodes of a dataset's folder, one by one. Raises ValueError for metadata or files that cannot be read."""
    with faults(str(place / "data" / "metadata.json")):
        metadata = json.loads((place / "data" / "metadata.json").read_bytes())
        kind, count = metadata.get("data_format", "hdf5"), int(metadata["total_episodes"])
    if kind not in STORAGES:
        raise unknown_name("data_format", str(kind), STORAGES, str(place))
    yield from STORAGES[kind](place / "data", count)


def named_actions(place: Path) -> int:
    """The number of discrete actions by the metadata. 0 if they do not have it."""
    with faults(str(place / "data" / "metadata.json")):
        metadata = json.loads((place / "data" / "metadata.json").read_bytes())
        space = json.loads(metadata.get("action_space") or "{}")
        return int(space["n"]) if space.get("type") == "Discrete" else 0


def hdf5_episodes(place: Path, count: int) -> Iterator[Episode]:
    """The episodes of main_data.hdf5."""
    from h5py import h5o

    file = place / "main_data.hdf5"
    with open_contained(file) as opened:
        with faults(str(file)):
            found = sum(str(name).startswith("episode_") for name in opened)
        if found != count:
            raise ValueError(
                f"{file} has {found} episodes, and metadata.json says {count}; one of the two is not whole"
            )
        for number in range(count):
            name = f"episode_{number}"
            with faults(f"{file}: {name!r}"):
                arrays = {key: in_memory(h5o.open(opened.id, f"{name}/{key}".encode())) for key in KEYS}
            yield Episode(file, name, arrays)


def arrow_episodes(place: Path, count: int, kind: str = "arrow") -> Iterator[Episode]:
    """The episodes of a dataset with one folder for each episode. Flattened arrays are vectors here."""
    import pyarrow as pa
    import pyarrow.dataset

    def decoded(column: Any) -> Any:
        if pa.types.is_struct(column.type):
            return {column.type.field(i).name: decoded(part) for i, part in enumerate(column.flatten())}
        if pa.types.is_fixed_size_list(column.type):
            return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), column.type.list_size)
        return column.to_numpy(zero_copy_only=False)

    found = sum(folder.name.isdecimal() for folder in place.iterdir())
    if found != count:
        raise ValueError(f"{place} has {found} episodes, and metadata.json says {count}; one of the two is not whole")
    for number in range(count):
        with faults(str(place / str(number))):
            source = pyarrow.dataset.dataset(
                str(place / str(number)), format=kind, ignore_prefixes=["_", ".", "metadata.json"]
            )
            table = source.to_table(columns=list(KEYS)).combine_chunks()
            arrays = {key: decoded(table[key].combine_chunks()) for key in KEYS}
            # all columns have the rows of the observations, and the last row of the others is a pad
            shorter = {key: cut(arrays[key]) for key in KEYS[1:]}
        yield Episode(place, str(number), arrays | shorter)


def cut(value: Any) -> Any:
    """All rows but the last one, also of arrays in dictionaries."""
    return {key: cut(inner) for key, inner in value.items()} if isinstance(value, dict) else value[:-1]


def parquet_episodes(place: Path, count: int) -> Iterator[Episode]:
    """`arrow_episodes` in the format parquet."""
    return arrow_episodes(place, count, "parquet")


STORAGES: dict[str, Callable[[Path, int], Iterator[Episode]]] = {
    "arrow": arrow_episodes,
    "hdf5": hdf5_episodes,
    "parquet": parquet_episodes,
}


def read(dataset_id: str) -> Trajectories:
    """Reads a dataset's whole episodes. An episode that neither terminated nor was truncated is dropped.

    Raises ValueError for damaged files, and for data that are not vectors of finite floats or images, or discrete actions.
    """
    view, place, kept, writer = split_id(dataset_id)[1], folder(dataset_id), [], None
    with ExitStack() as stack:
        try:
            named = named_actions(place)
            for episode in episodes(place):
                if writer is None and not view and has_images(episode):
                    writer = stack.enter_context(FrameWriter(*FRAME))
                found = read_episode(episode, view, named, writer)
                kept += [found] if found is not None else []
        except ValueError as error:
            raise ValueError(f"{dataset_id}: {error}") from None
        if not kept:
            raise ValueError(f"{dataset_id}: no complete episode in {path(dataset_id)}")
        states, actions, rewards, terminated = zip(*kept, strict=True)
        for key, pieces in {"observations": states, "actions": actions}.items():
            if len(shapes := {piece.shape[1:] for piece in pieces}) > 1:
                raise ValueError(
                    f"{dataset_id}: {key!r} of its episodes have several shapes: {', '.join(map(str, shapes))}"
                )
        frames = writer.finish() if writer else None
    offsets, discrete = (
        np.cumsum([0, *(len(piece) for piece in rewards)]),
        any(piece.dtype.kind in "iu" for piece in actions),
    )
    states, actions, rewards = (
        np.concatenate(pieces, dtype=np.float32, casting="unsafe") for pieces in (states, actions, rewards)
    )
    counted = discrete and not named
    num_actions = int(actions.max()) + 1 if counted else named if discrete else 0
    return assemble(dataset_id, states, actions, rewards, offsets, np.array(terminated), frames, num_actions, counted)


def has_images(episode: Episode) -> bool:
    """Whether an episode's observations are images."""
    return not isinstance(episode.arrays["observations"], dict) and are_images(episode.arrays["observations"])


def read_episode(
    episode: Episode, view: str, named: int, writer: FrameWriter | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool] | None:
    """The states [T, S], actions [T, A], rewards [T] and `terminated` of an episode. States and rewards are float32.

    Images go to `writer`, and S is 0. `named` is the number of discrete actions, if the metadata have it.
    None if the episode is unfinished. Raises ValueError for wrong lengths, shapes, types and values.
    """
    episode.check_lengths()
    observations, actions, rewards, terminations, truncations = (episode.arrays[key] for key in KEYS)
    for key in KEYS[-2:]:
        check_flags(str(episode.file), f"{episode.name}/{key}", episode.arrays[key])
    if not len(rewards) or not (terminations[-1] or truncations[-1]):
        return None
    if isinstance(actions, dict):
        raise ValueError(
            f"{episode.place('actions')} are dictionaries; vectors of floats and discrete actions can be read"
        )
    if actions.dtype.kind in "iu" and actions.ndim == 1:
        if (outside := (actions < 0) | (actions >= (named or np.inf))).any():
            row = int(np.argmax(outside))
            known = f"the metadata have the actions 0 to {named - 1}" if named else "actions are 0 or more"
            raise ValueError(f"{episode.place('actions')}: row {row} has action {actions[row]}; {known}")
        actions = actions[:, None]
    else:
        check_vectors(str(episode.file), f"{episode.name}/actions", actions.shape, actions.dtype)
    checked = {"actions": actions, "rewards": rewards}
    if writer and has_images(episode):
        states = np.zeros((len(rewards) + 1, 0))
    else:
        states = flatten(observations, view, episode.place("observations"))
        check_vectors(str(episode.file), f"{episode.name}/observations", states.shape, states.dtype)
        checked = {"observations": states} | checked
    for key, values in checked.items():
        check_finite(str(episode.file), f"{episode.name}/{key}", values)
    if writer and not states.shape[1]:
        writer.begin_episode()
        for frames in frames_of(observations, len(rewards), episode.place("observations")):
            writer.add(frames)
    if actions.dtype.kind == "f":
        actions = actions.astype(np.float32)
    return states[:-1].astype(np.float32), actions, rewards.astype(np.float32), bool(terminations[-1])

"""Minari's datasets. `minari/NAME` is the dataset NAME in Minari's own folder (MINARI_DATASETS_PATH).

Nothing is downloaded.
"""

import json
import os
from pathlib import Path

import numpy as np

from dmm.base.errors import unknown_name
from dmm.base.paths import expand
from dmm.data.hdf5 import faults, open_contained
from dmm.data.trajectories import Trajectories, assemble, check_finite, check_vectors

PREFIXES = ("minari",)


def root() -> Path:
    """Minari's own folder."""
    return expand(os.environ.get("MINARI_DATASETS_PATH", "~/.minari/datasets"))


def folder(dataset_id: str) -> Path:
    """The folder of a dataset. It may not exist. The id is `minari/NAME`, or a NAME as Minari has it."""
    return root() / dataset_id.removeprefix("minari/")


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
    return ValueError(f"{message} To get it: minari download {dataset_id.removeprefix('minari/')}")


def read(dataset_id: str) -> Trajectories:
    """Reads a dataset's whole episodes. An episode that neither terminated nor was truncated is dropped.

    Raises ValueError for damaged files, and for data that are not vectors of finite floats.
    """
    from minari.dataset.minari_storage import MinariStorage

    where, file = f"{dataset_id}: {path(dataset_id)}", path(dataset_id)
    if file.suffix == ".hdf5":
        open_contained(file).close()
    with faults(where):
        metadata = json.loads((folder(dataset_id) / "data" / "metadata.json").read_bytes())
        lost = [key for key in ("observation_space", "action_space") if key not in metadata]
    if lost and not metadata.get("env_spec"):
        raise ValueError(f"{where} cannot be read. Its metadata.json has no {lost[0]}, and no env_spec in its place")
    with faults(where):
        storage = MinariStorage.read(folder(dataset_id) / "data")
        steps, spaces = storage.total_steps, (storage.observation_space, storage.action_space)
    for key, space in zip(("observations", "actions"), spaces, strict=True):
        shape, kind = (steps, *(space.shape or ())), np.dtype(space.dtype or object)
        check_vectors(f"{dataset_id} ({type(space).__name__})", key, shape, kind)
    with faults(where):
        episodes = list(storage.get_episodes(range(storage.total_episodes)))
    kept = [whole for episode in episodes if (whole := check_episode(dataset_id, episode)) is not None]
    if not kept:
        raise ValueError(f"{dataset_id}: no complete episode in {path(dataset_id)}")
    states, actions, rewards, terminated = zip(*kept, strict=True)
    lengths = [len(piece) for piece in rewards]
    states, actions, rewards = (np.concatenate(pieces) for pieces in (states, actions, rewards))
    return assemble(dataset_id, states, actions, rewards, np.cumsum([0, *lengths]), np.array(terminated))


def check_episode(dataset_id: str, episode: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool] | None:
    """Checks an episode in Minari's layout. Gives its states [T, S], actions [T, A], rewards [T] and `terminated`.

    None if the episode is unfinished. Raises ValueError for a wrong length and for values that are not finite.
    """
    steps = len(episode["rewards"])
    expected = {"observations": steps + 1, "actions": steps, "terminations": steps, "truncations": steps}
    for key, rows in expected.items():
        if len(episode[key]) != rows:
            where = f"{path(dataset_id)}: 'episode_{episode['id']}/{key}'"
            raise ValueError(f"{where} has {len(episode[key])} rows; with {steps} rewards it takes {rows}")
    for key in ("observations", "actions", "rewards"):
        check_finite(str(path(dataset_id)), f"episode_{episode['id']}/{key}", episode[key])
    terminated = bool(steps and episode["terminations"][-1])
    if not (terminated or (steps and episode["truncations"][-1])):
        return None
    return episode["observations"][:-1], episode["actions"], episode["rewards"], terminated

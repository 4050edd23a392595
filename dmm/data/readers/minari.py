"""Minari's local datasets: `minari/NAME` is any that Minari has here, `dmm/NAME` one that dmm has collected.

Both lie in Minari's own place (MINARI_DATASETS_PATH), the second under its id with dmm/. Nothing is downloaded.
"""

import json
import os
from pathlib import Path

import numpy as np

from dmm.base.errors import unknown_name
from dmm.data.trajectories import Trajectories, assemble, check_finite, check_vectors

PREFIXES = ("minari", "dmm")


def root() -> Path:
    """Where Minari keeps its datasets."""
    return Path(os.environ.get("MINARI_DATASETS_PATH", "~/.minari/datasets")).expanduser().resolve()


def folder(dataset_id: str) -> Path:
    """The folder of a dataset, whether it is there or not."""
    return root() / dataset_id.removeprefix("minari/")


def path(dataset_id: str) -> Path:
    """The file that changes when a dataset does: the data, or the metadata of one that keeps a file per episode."""
    data, metadata = (folder(dataset_id) / "data" / name for name in ("main_data.hdf5", "metadata.json"))
    return metadata if metadata.is_file() and not data.is_file() else data


def here() -> list[str]:
    """Ids of all local datasets."""
    found = [file.parent.parent.relative_to(root()).as_posix() for file in root().glob("**/data/metadata.json")]
    return [name if name.startswith("dmm/") else f"minari/{name}" for name in found if "/." not in f"/{name}"]


def absent(dataset_id: str) -> ValueError:
    """The error for a dataset that is not here."""
    fetch = f"minari download {dataset_id.removeprefix('minari/')}"
    make = f"dmm data collect {dataset_id}" if dataset_id.startswith("dmm/") else fetch
    return ValueError(f"{unknown_name('dataset', dataset_id, here(), str(root()))} To get it: {make}")


def read(dataset_id: str) -> Trajectories:
    """Reads a dataset's whole episodes; one that neither terminated nor was truncated is dropped."""
    from minari.dataset.minari_storage import MinariStorage

    try:
        storage = MinariStorage.read(folder(dataset_id) / "data")
        for key, space in {"observations": storage.observation_space, "actions": storage.action_space}.items():
            shape = (storage.total_steps, *(space.shape or ())) if type(space).__name__ == "Box" else ()
            check_vectors(f"{dataset_id} ({type(space).__name__})", key, shape, np.dtype(space.dtype or object))
        episodes = [whole(dataset_id, episode) for episode in storage.get_episodes(range(storage.total_episodes))]
    except (OSError, KeyError, RuntimeError, json.JSONDecodeError) as error:
        raise ValueError(f"{dataset_id}: {path(dataset_id)} is damaged or incomplete: {error}") from None
    kept = [episode for episode in episodes if episode is not None]
    if not kept:
        raise ValueError(f"{dataset_id}: no complete episode in {path(dataset_id)}")
    states, actions, rewards, terminated = zip(*kept, strict=True)
    lengths = [len(piece) for piece in rewards]
    states, actions, rewards = (np.concatenate(pieces) for pieces in (states, actions, rewards))
    return assemble(dataset_id, states, actions, rewards, np.cumsum([0, *lengths]), np.array(terminated))


def whole(dataset_id: str, episode: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool] | None:
    """Checks an episode: its states, actions, rewards, and whether the environment ended it; None if unfinished."""
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

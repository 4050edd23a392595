"""One thread, no wandering environment variables, and the toy task: Reacher, whose episodes have 50 steps."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
os.environ.pop("MLFLOW_TRACKING_URI", None)

import numpy as np
import pytest
import torch

from dmm.config import Protocol, Trial
from dmm.tasks import Task

torch.set_num_threads(1)

REACHER = Task(
    name="reacher", environment="Reacher-v5", state_dim=10, action_dim=2, horizon=50, scale=10.0, target=-5.0,
    low=-60.0, high=-4.0, source="made up for tests",
)  # fmt: skip
TINY = Protocol(
    name="tiny", context_length=4, updates=8, evaluations=2, episodes=5, shard=3, batch_size=8, warmup=2,
    learning_rate=1e-3, targets=(1.0, 2.0),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _home(tmp_path_factory, monkeypatch):
    """Every test has its own DMM_HOME and Minari folder."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("DMM_HOME", str(folder))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder / "minari"))


def write_reacher_file(path, episodes: int = 12, seed: int = 0) -> None:
    """Random Reacher episodes in D4RL's HDF5 layout."""
    import h5py

    env, generator = REACHER.make(), np.random.default_rng(seed)
    arrays = {name: [] for name in ("observations", "actions", "rewards", "terminals", "timeouts")}
    for episode in range(episodes):
        state, _ = env.reset(seed=seed * 1000 + episode)
        for step in range(50):
            action = generator.uniform(-1, 1, 2).astype(np.float32)
            following, reward, *_ = env.step(action)
            row = (state.astype(np.float32), action, np.float32(reward), False, step == 49)
            for name, value in zip(arrays, row, strict=True):
                arrays[name].append(value)
            state = following
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = np.array(values)


@pytest.fixture(scope="session")
def reacher_file(tmp_path_factory) -> str:
    """A small D4RL file of random Reacher episodes."""
    path = tmp_path_factory.mktemp("data") / "reacher-random.hdf5"
    write_reacher_file(path)
    return str(path)


@pytest.fixture
def tiny_trial(reacher_file) -> Trial:
    """A trial of a second: DT on Reacher."""
    return Trial(arch="dt", task=REACHER, dataset=(f"d4rl:{reacher_file}",), protocol=TINY, seed=0,
                 changes=(("width", 16), ("layers", 1)))  # fmt: skip


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory) -> Path:
    """The data of the toy table."""
    path = tmp_path_factory.mktemp("data") / "reacher.hdf5"
    write_reacher_file(path)
    return path


@pytest.fixture(scope="session")
def undisturbed(toy_data, tmp_path_factory) -> dict[str, bytes]:
    """The table of a sweep to which nothing happens."""
    from sweeping import SIZE, calm  # MLflow and all, which a trial that imports this module has no use for

    return calm(toy_data, tmp_path_factory.mktemp("undisturbed"), **SIZE)


@pytest.fixture
def env(toy_data, tmp_path, undisturbed) -> dict:
    """The variables of a sweep that something will happen to; asked for first, so that the other is over."""
    from sweeping import SIZE, environment

    return environment(tmp_path / "home", toy_data, **SIZE)


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen]]:
    """Processes that must not outlive a test."""
    from sweeping import kill_tree

    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            kill_tree(process.pid)
        process.wait()

"""One thread, no wandering environment variables, and the toy task: Reacher, whose episodes have 50 steps."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
os.environ.pop("MLFLOW_TRACKING_URI", None)

import pytest
import torch
from helpers.reacher import REACHER, TINY, write_reacher_file

from dmm.config import Trial

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _home(tmp_path_factory, monkeypatch):
    """Every test has its own DMM_HOME and Minari folder."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("DMM_HOME", str(folder))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder / "minari"))


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
                 overrides=(("width", 16), ("layers", 1)))  # fmt: skip


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory) -> Path:
    """The data of the toy table."""
    path = tmp_path_factory.mktemp("data") / "reacher.hdf5"
    write_reacher_file(path)
    return path


@pytest.fixture(scope="session")
def undisturbed(toy_data, tmp_path_factory) -> dict[str, bytes]:
    """The table of a sweep to which nothing happens."""
    from helpers.sweep_process import (  # MLflow and all, which a trial that imports this module has no use for
        SIZE,
        calm,
    )

    return calm(toy_data, tmp_path_factory.mktemp("undisturbed"), **SIZE)


@pytest.fixture
def env(toy_data, tmp_path, undisturbed) -> dict:
    """The variables of a sweep that something will happen to; asked for first, so that the other is over."""
    from helpers.sweep_process import SIZE, environment

    return environment(tmp_path / "home", toy_data, **SIZE)


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen]]:
    """Processes that must not outlive a test."""
    from helpers.sweep_process import kill_tree

    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            kill_tree(process.pid)
        process.wait()

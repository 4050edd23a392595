"""Settings and fixtures of all tests: one thread, checked annotations, and the toy task. Reacher's episodes have 50 steps."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
os.environ.pop("MLFLOW_TRACKING_URI", None)

import jaxtyping
import pytest
import torch

# Annotations are checked, shapes included, in every module of dmm that is imported from here on, but for three packages:
# config refuses a user's wrong value with errors of its own, tests of sweeps put fakes in the place of Ray and MLflow, and
# typer gives commands another class than the one that it asks for in annotations.
UNCHECKED = {"cli", "config", "sweeps"}
PACKAGES = {path.stem for path in (Path(__file__).parent.parent / "dmm").iterdir() if path.stem[0] not in "_."}
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"  # an int is a float, as for pyright
jaxtyping.install_import_hook([f"dmm.{name}" for name in sorted(PACKAGES - UNCHECKED)], CHECKER)

from helpers.command_line import Command, command  # noqa: E402
from helpers.reacher import REACHER, SETTINGS, parts, write_reacher_file  # noqa: E402

import dmm  # noqa: E402
from dmm.base.paths import home  # noqa: E402
from dmm.config import Trial  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _home(tmp_path_factory, monkeypatch):
    """Every test has its own DMM_HOME and Minari folder."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("DMM_HOME", str(folder))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder / "minari"))


@pytest.fixture(name="dmm")
def _dmm(capsys, monkeypatch) -> Command:
    """Runs the command line in this process. Returns its exit code, standard output and standard error."""
    return command(capsys, monkeypatch)


@pytest.fixture
def robotics(tmp_path, monkeypatch) -> None:
    """gymnasium-robotics, whose files go to the test's own folder. The test is skipped without it."""
    pytest.importorskip("gymnasium_robotics")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture(scope="session")
def reacher_file(tmp_path_factory) -> str:
    """A small D4RL file of random Reacher episodes."""
    path = tmp_path_factory.mktemp("data") / "reacher-random.hdf5"
    write_reacher_file(path)
    return str(path)


@pytest.fixture
def tiny_trial(reacher_file) -> Trial:
    """A trial that takes a second: DT on Reacher."""
    return Trial(arch="dt", task=REACHER, dataset=(f"d4rl:{reacher_file}",), seed=0, **parts(),
                 overrides=(("width", 16), ("layers", 1)))  # fmt: skip


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory) -> Path:
    """The data of the toy table."""
    path = tmp_path_factory.mktemp("data") / "reacher.hdf5"
    write_reacher_file(path)
    return path


@pytest.fixture(scope="session")
def undisturbed(toy_data, tmp_path_factory) -> dict[str, bytes]:
    """The table of a sweep that runs to its end without a fault."""
    from helpers.sweep_process import SIZE, calm  # not above: it imports MLflow, which a trial does not need

    return calm(toy_data, tmp_path_factory.mktemp("undisturbed"), **SIZE)


@pytest.fixture
def env(toy_data, tmp_path, undisturbed) -> dict:
    """The variables of a sweep that a fault will hit. It depends on `undisturbed`, so that only one sweep runs."""
    from helpers.sweep_process import SIZE, environment

    return environment(tmp_path / "home", toy_data, **SIZE)


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen]]:
    """A list of processes. The test adds to it, and they are killed when it ends."""
    from helpers.sweep_process import kill_tree

    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            kill_tree(process.pid)
        process.wait()


@pytest.fixture(scope="session")
def trained_home(reacher_file, tmp_path_factory) -> Path:
    """A DMM_HOME with the trained `tiny_trial`."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DMM_HOME", str(folder))
        dmm.train("dt", f"d4rl:{reacher_file}", task=REACHER, **SETTINGS)
    return folder


@pytest.fixture
def trained(tiny_trial, trained_home) -> Trial:
    """A trial that is finished in this test's own DMM_HOME."""
    shutil.copytree(trained_home, home(), dirs_exist_ok=True)
    return tiny_trial


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """A new MLflow database. Tests work on copies, because making one takes a second."""
    from dmm.tracking import database  # not above: it imports MLflow

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    database.make(path)
    return path


@pytest.fixture(scope="session")
def filled(empty_store, tmp_path_factory) -> Path:
    """A DMM_HOME with the results of helpers.tracking, in its store and as files."""
    from helpers.tracking import fill  # not above: it imports MLflow

    folder = tmp_path_factory.mktemp("filled")
    shutil.copy(empty_store, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DMM_HOME", str(folder))
        fill()
    return folder


@pytest.fixture
def store(filled) -> Path:
    """The database of this test's DMM_HOME, which is a copy of `filled`."""
    from mlflow.tracking._tracking_service import utils

    shutil.copytree(filled, home(), dirs_exist_ok=True)
    utils._artifact_repos_cache.clear()  # MLflow's own, by run. It knows the folders of `filled`
    return home() / "mlflow.db"


@pytest.fixture
def uri(empty_store, tmp_path) -> str:
    """The tracking URI of a store of this test's own."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"

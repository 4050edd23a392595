"""What a sweep checks before Ray starts, how signals end it at its start, and what its workers know of environments."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest
from helpers.sweep_process import free_port

from dmm.base.stopping import Stop
from dmm.config import Trial
from dmm.sweeps import cluster, place
from dmm.sweeps.place import Place
from dmm.tables import REGISTERED, read_table

ENVIRONMENT = """
import gymnasium
from gymnasium.envs.mujoco.reacher_v5 import ReacherEnv


class Mine(ReacherEnv):
    pass
"""
TABLE = """
from dataclasses import replace
{how}
from dmm.config import Column
from helpers.toy_table import TABLE as TOY

column = TOY.columns[0]
task = replace(column.task, environment="Mine-v0")
TABLE = replace(TOY, columns=(Column(task=task, dataset=column.dataset, label=column.label),))
"""


@pytest.fixture
def silent() -> str:
    """The address of a program that listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def refused(address: str, monkeypatch) -> str:
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    # else Ray takes another address of this machine for this one
    monkeypatch.setattr("ray._private.services.resolve_ip_for_localhost", lambda host: host)
    with pytest.raises(ValueError) as error:
        cluster.check_ray()
    assert repr(address) in str(error.value)
    return str(error.value)


def test_a_dead_head_is_found(monkeypatch):
    said = refused(f"127.0.0.1:{free_port()}", monkeypatch)
    assert "no head of Ray answers" in said and "unset RAY_ADDRESS" in said


def test_another_program_on_the_port_is_found(silent, monkeypatch):
    monkeypatch.setattr(cluster, "REACH_SECONDS", 0.5)
    assert "no head of Ray answers" in refused(silent, monkeypatch)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://127.0.0.1:10001", "`dmm submit`"),
        ("http://127.0.0.1:8265", "`dmm submit`"),
        ("nonsense", "HOST:PORT"),
        ("no.such.host.invalid:6379", "unset RAY_ADDRESS"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(address, said, monkeypatch):
    assert said in refused(address, monkeypatch)


def test_auto_without_a_cluster_is_refused(monkeypatch):
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", frozenset)
    monkeypatch.setattr("ray._private.services.find_bootstrap_address", lambda folder: None)
    assert "unset RAY_ADDRESS" in refused("auto", monkeypatch)


def test_temporary_folders_are_checked(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    for folder, reason in ((tmp_path / ("a" * 77), "too long"), (Path("/proc/none"), "No such file")):
        for variable in ("TMPDIR", "RAY_TMPDIR"):
            monkeypatch.setenv(variable, str(folder))
            with pytest.raises(ValueError, match=f"sockets in {folder}/ray: .*{reason}.*; set RAY_TMPDIR"):
                cluster.check_ray()
            monkeypatch.delenv(variable)
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    cluster.check_ray()
    assert not [name for name in os.listdir("/tmp/ray") if name.startswith(f"{os.getpid()}_")]


def test_a_ray_that_does_not_start_is_one_line(monkeypatch):
    import ray

    def start(*words, **settings):
        raise Exception("The current node timed out during startup.\nMore words.")  # Ray's own class

    monkeypatch.setattr(ray, "init", start)
    with pytest.raises(
        ValueError, match=r"Ray does not start at local: The current node timed out .* same command may"
    ):
        with cluster.ray_running({}):
            raise AssertionError("it has not started")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_code_that_does_not_return_to_python(number):
    """A handler that swallows the signal stands for C++ code that never lets Python run one."""
    code = (
        "import signal, sys, time\nfrom dmm.base import stopping\nstopping.STOP_SECONDS = 0.1\n"
        "with stopping.Stop('go on') as stop:\n"
        "    for number in stopping.SIGNALS: signal.signal(number, lambda *_: None)\n"
        "    print('ready', flush=True)\n"
        "    for _ in range(600): time.sleep(0.1)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.communicate(timeout=60)[0] == "go on\n" and process.returncode == 130


def test_a_signal_that_became_another_error_counts_as_a_stop():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ImportError), Stop("go on") as stop:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ImportError from None
    assert stop.requested and signal.getsignal(signal.SIGTERM) is before


def forget() -> None:
    """Makes this process as one that has read no table."""
    gymnasium.registry.pop("Mine-v0", None)
    REGISTERED.clear()
    place.load.cache_clear()


@pytest.mark.parametrize(
    "how",
    [
        'import mine_beside\nmine_beside.gymnasium.register("Mine-v0", entry_point=mine_beside.Mine)',
        'import gymnasium\ngymnasium.register("Mine-v0", entry_point="mine_beside:Mine")',
    ],
)
def test_workers_know_the_environments_of_the_tables_file(how, tmp_path, tiny_trial: Trial, monkeypatch):
    forget()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DMM_TOY_DATA", "absent.hdf5")
    (tmp_path / "mine_beside.py").write_text(ENVIRONMENT)
    (tmp_path / "mine.py").write_text(TABLE.format(how=how))
    (trial, *_) = read_table(tmp_path / "mine.py").trials()
    driver = Place.here([trial])
    assert driver.tables == ("mine.py",) and Place.here([tiny_trial]).tables == ()

    forget()
    driver.enter()
    assert gymnasium.make("Mine-v0").action_space.shape == (2,)
    forget()
    (tmp_path / "mine.py").unlink()
    with pytest.raises(ValueError, match="no table at .*mine.py"):
        driver.enter()


@pytest.mark.parametrize("given", ["", "temporary"])
def test_a_ray_tmpdir_that_is_no_whole_path_is_refused(monkeypatch, given):
    monkeypatch.setenv("RAY_TMPDIR", given)
    with pytest.raises(ValueError, match=f"RAY_TMPDIR is {given!r}; it takes the whole path of a folder"):
        cluster.check_temporary_folder()


def test_a_signal_in_a_callback_that_loses_it_ends_the_block_without_a_traceback():
    code = (
        "import signal, time, weakref\nfrom dmm.base import stopping\nstopping.STOP_SECONDS = 0.1\n"
        "class Thing: pass\n"
        "with stopping.Stop('go on') as stop:\n"
        "    thing = Thing()\n"
        "    reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM))\n"
        "    del thing\n"
        "    for _ in range(600): time.sleep(0.1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "go on\n", "")


def test_a_stopped_command_ends_before_python_clears_up():
    """What crashes there stands for a thread of Ray. The exit code stays that of a stopped command."""
    code = (
        "import atexit, os\nfrom dmm import cli\natexit.register(os.abort)\ncli.app = lambda **words: 130\ncli.main()"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 130


def test_a_signal_after_the_end_of_a_command_prints_no_traceback():
    code = (
        "import atexit, signal\nfrom dmm import cli\natexit.register(signal.raise_signal, signal.SIGTERM)\n"
        "cli.app = lambda **words: 0\ncli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "", "")

"""Trials that wait for a lock say so, and Ctrl-C during an import is Ctrl-C."""

import socket
from dataclasses import replace

import gymnasium
import pytest
from helpers import handmade_results as handmade

from dmm.base.checksums import dump_json, load_json
from dmm.base.errors import raise_interrupt
from dmm.base.lock import hold
from dmm.base.paths import home, write_atomic
from dmm.sweeps.progress import SweepProgress
from dmm.sweeps.status import status_lines
from dmm.trials.run import run
from dmm.trials.storage import evaluation_lock, training_lock

TRIAL, OTHER = handmade.TABLE.trials()[:2]


def held_elsewhere(path):
    """Writes another host into the holder's file of a lock that this process holds."""
    holder = path.with_suffix(".holder")
    write_atomic(holder, dump_json(load_json(holder.read_bytes()) | {"host": "far"}))


def test_the_status_says_for_whom_a_trial_waits():
    with hold(evaluation_lock(TRIAL), "evaluation"), hold(training_lock(TRIAL), "trial"):
        assert "waiting" not in status_lines(handmade.TABLE)[0]  # one process has both
        held_elsewhere(training_lock(TRIAL))
        lines = status_lines(handmade.TABLE)
    assert ", 1 waiting, " in lines[0]
    (line,) = [line for line in lines if line.startswith("waiting: ")]
    assert f"trial {TRIAL.weights_id} is run by " in line and "@far, process " in line and ", since 20" in line
    assert "waiting" not in "".join(status_lines(handmade.TABLE))


def test_the_status_says_who_runs_a_trial():
    handmade.write(handmade.result(TRIAL, {1.0: []}, "running", update=15), home() / "trials")
    with hold(evaluation_lock(TRIAL), "evaluation"):
        (line,) = [line for line in status_lines(handmade.TABLE) if line.startswith("running: ")]
    assert "update 15, run by " in line and f"@{socket.gethostname()}, process " in line


class NoRecorder:
    def push(self, found, labels) -> None: ...


def test_the_line_of_a_sweep_says_for_whom_a_trial_waits():
    said: list[str] = []
    progress = SweepProgress(handmade.TABLE, [TRIAL, OTHER], NoRecorder(), said.append)
    for trial in (TRIAL, OTHER):
        progress.status.set(trial.returns_id, "running")
    progress.waits(TRIAL.returns_id, "trial 1 is run by ann@far, process 5, since 2026")
    progress.line(always=True)
    assert said[0] == f"{progress.name(TRIAL.returns_id)} waits: trial 1 is run by ann@far, process 5, since 2026"
    assert "1 running, 1 waiting, " in said[1]
    progress.waits(TRIAL.returns_id, "")
    progress.line(always=True)
    assert said[2].endswith("waits no longer") and "2 running, 0 failed" in said[3]


def test_a_run_tells_for_whom_it_waits(tiny_trial, monkeypatch):
    told = []
    monkeypatch.setattr("dmm.base.lock.HELD_SECONDS", 0.1)
    with hold(training_lock(tiny_trial), "trial"):

        def wait(whom: str) -> None:
            told.append(whom)
            raise InterruptedError  # it would wait for ever

        with pytest.raises(InterruptedError):
            run(tiny_trial, wait=wait)
    assert told[0].startswith(f"trial {tiny_trial.weights_id} is run by ")


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_ctrl_c_while_an_environments_package_is_imported_stays_ctrl_c(tiny_trial, monkeypatch, link):
    """MuJoCo turns it into an ImportError, and gymnasium turns that into the error of a missing package."""

    def make(*words, **options):
        failed = ImportError("initialization failed")
        setattr(failed, link, KeyboardInterrupt())
        try:
            raise failed
        except ImportError as error:
            raise gymnasium.error.DependencyNotInstalled("MuJoCo is not installed") from error

    monkeypatch.setattr(gymnasium, "make", make)
    with pytest.raises(KeyboardInterrupt):
        tiny_trial.task.make()


def test_an_error_of_its_own_stays_an_error(tiny_trial):
    raise_interrupt(ImportError("no module"))
    with pytest.raises(ValueError, match="cannot be made"):
        replace(tiny_trial.task, environment="no_such_module:No-v0").make()

"""Sweeps as a user runs them, in processes of their own, and how to wait for them and to end them."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from dmm.base.seeds import derive_seed
from dmm.schema import ReturnsResult, TrainingResult, TrialResult
from dmm.trials.storage import read_checked

TESTS = Path(__file__).parent.parent
TOY = str(TESTS / "helpers/toy_table.py")
SIZE = {"DMM_TOY_SEEDS": "3", "DMM_TOY_UPDATES": "60"}  # six trials, each with evaluations at updates 20, 40, 60
TRIALS = 6
FILES = ("table.md", "table.csv")
PATIENCE = 1800  # seconds, on a machine that does much else


def environment(home: Path, data: Path, **more: str) -> dict:
    """Variables of a command whose results go to `home`."""
    return {
        **os.environ,
        "DMM_HOME": str(home),
        "DMM_TOY_DATA": os.path.relpath(data, home.parent),  # from the folder in which the command runs
        "PYTHONPATH": f"{TESTS.parent}:{TESTS}",
        "PYTHONUNBUFFERED": "1",
        "DMM_TOY_ENVIRONMENT": "helpers.waiting_env:Waiting-v0",
        "DMM_TOY_GATES": str(home.parent / "gates"),
        **more,
    }


def dmm(*words: str, env: dict, cwd: Path) -> subprocess.CompletedProcess:
    """A command, to its end."""
    command = [sys.executable, "-m", "dmm", *words]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE)


def start_command(env: dict, cwd: Path, log: Path, *words: str) -> subprocess.Popen:
    """A command that goes on by itself. Its words go to the end of a log."""
    command = [sys.executable, "-m", "dmm", *words]
    with log.open("ab") as output:
        return subprocess.Popen(command, env=env, cwd=cwd, stdout=output, stderr=output, start_new_session=True)


def start_sweep(env: dict, cwd: Path, *words: str) -> subprocess.Popen:
    """A sweep that goes on by itself. Its words are in sweep.log."""
    return start_command(env, cwd, cwd / "sweep.log", "sweep", TOY, *words)


def wait_for(
    condition: Callable, what: str, seconds: float = PATIENCE, sweep: tuple[subprocess.Popen, Path] | None = None
):
    """Waits until condition() is true and returns what it gave; not longer than a sweep, and the folder of its log, last."""
    end, over = time.monotonic() + seconds, False
    while time.monotonic() < end and not over:
        over = bool(sweep) and sweep[0].poll() is not None
        if found := condition():
            return found
        time.sleep(0.02)
    log = (sweep[1] / "sweep.log").read_text() if sweep else ""
    pytest.fail(f"{what} did not come about {'before the end of the sweep' if over else f'in {seconds} s'}\n{log}")


def close_gate(place: Path, seed: int = 1, from_last: int = 1, index: int = 0) -> Path:
    """Makes the trials of a seed wait before an episode of an evaluation, which is counted from the last one.

    Returns the gate. `unlink` opens it.
    """
    gate = place / "gates" / str(derive_seed(seed, "episode", from_last, index))
    gate.parent.mkdir(exist_ok=True)
    gate.touch()
    return gate


def wait_at(gate: Path, sweep: subprocess.Popen, place: Path) -> int:
    """Waits until a trial waits at a gate. Returns its process."""
    text = gate.with_suffix(".reached")
    return wait_for(lambda: text.exists() and int(text.read_text() or 0), "a trial at the gate", sweep=(sweep, place))


def middle(gate: Path, sweep: subprocess.Popen, place: Path) -> int:
    """Waits until a trial waits at a gate, and another is finished. Returns the process of the one that waits."""
    waiting = wait_at(gate, sweep, place)
    wait_for(lambda: in_the_middle(place / "home"), "the middle", sweep=(sweep, place))
    return waiting


def results(home: Path) -> list[TrialResult]:
    """All results that are whole."""
    found = []
    for path in sorted(home.glob("trials/*/evaluations/*.json")):
        with suppress(ValueError):
            returns = read_checked(ReturnsResult, path)
            training = read_checked(TrainingResult, path.parent.parent / "training.json")
            if returns and training:
                found.append(TrialResult(training=training, returns=returns, status=returns.status))
    return found


def count(home: Path, status: str) -> int:
    """How many trials have a status."""
    return sum(found.status == status for found in results(home))


def in_the_middle(home: Path) -> bool:
    """Whether a trial is finished and another has a checkpoint to go on from."""
    under_way = [found for found in results(home) if found.status == "running" and found.update]
    return bool(under_way) and count(home, "finished") >= 1


def family(pid: int, name: str = "") -> list[psutil.Process]:
    """The processes that a driver has started, those whose title begins with a name."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if " ".join(process.cmdline()).startswith(name):
                found.append(process)
        except psutil.Error:
            pass
    return found


def kill_tree(pid: int) -> None:
    """SIGKILL to a driver and to all that it started: what the loss of a machine looks like."""
    members = [*family(pid), psutil.Process(pid)]
    for member in members:
        if member.is_running():
            member.send_signal(signal.SIGKILL)
    psutil.wait_procs(members, timeout=20)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start_mlflow(place: Path, port: int, store: str = "") -> subprocess.Popen:
    """A tracking server over sqlite, or over a store of another kind, once it answers."""
    place.mkdir(exist_ok=True)
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += [
        "--backend-store-uri",
        store or f"sqlite:///{place / 'mlflow.db'}",
        "--artifacts-destination",
        str(place / "files"),
    ]
    with open(place / "server.log", "ab") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            cwd=place,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    wait_until_served(server, f"http://127.0.0.1:{port}/health", place / "server.log")
    return server


def wait_until_served(server: subprocess.Popen, url: str, log: Path) -> None:
    """Waits until a server that was started answers; one that ends first fails with its log."""

    def answers() -> bool:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    wait_for(answers, url)


def tables(env: dict, place: Path) -> dict[str, bytes]:
    """The report's files, from MLflow, without its figures."""
    done = dmm("report", TOY, "--format", "md,csv", env=env, cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: (place / "reports" / env.get("DMM_TOY_NAME", "toy") / name).read_bytes() for name in FILES}


def sweep_on(env: dict, place: Path, *words: str) -> subprocess.CompletedProcess:
    """The same command again, or for the first time, to its end."""
    done = dmm("sweep", TOY, *words, env=env, cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def ends_well(process: subprocess.Popen, place: Path) -> None:
    """Waits for the end of a sweep."""
    code = process.wait(timeout=PATIENCE)
    assert code == 0, (place / "sweep.log").read_text()


def runs(uri: str) -> list:
    """MLflow's runs of trials."""
    client = MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name("dmm").experiment_id])
    return [run for run in found if "dmm.returns_id" in run.data.tags]


def each_trial_is_one_finished_run(uri: str, trials: int = TRIALS) -> None:
    """Nothing is lost and nothing is there twice."""
    found = runs(uri)
    assert [run.info.status for run in found] == ["FINISHED"] * trials
    assert len({run.data.tags["dmm.returns_id"] for run in found}) == trials
    client = MlflowClient(uri)
    for run in found:
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "eval/return_x1")]
        count, updates = (int(run.data.params[name]) for name in ("num_evaluations", "updates"))
        assert steps == [updates // count * (i + 1) for i in range(count)]


def missing_in_mlflow(uri: str, home: Path) -> set[str]:
    """The finished trials, by second id, whose run is not finished."""
    there = {run.data.tags["dmm.returns_id"] for run in runs(uri) if run.info.status == "FINISHED"}
    return {found.id for found in results(home) if found.status == "finished"} - there


def ran_again(home: Path, trials: int = TRIALS) -> bool:
    """Whether a trial has begun more than once."""
    return sum(text.count("training from") for text in logs(home).values()) > trials


def logs(home: Path) -> dict[str, str]:
    """What the trials' logs say."""
    return {path.parent.name: path.read_text() for path in home.glob("trials/*/log.txt")}


def calm(data: Path, place: Path, *words: str, **size: str) -> dict[str, bytes]:
    """The table of a sweep to which nothing happens."""
    place.mkdir(exist_ok=True)
    env = environment(place / "home", data, **size)
    sweep_on(env, place, *words)
    return tables(env, place)

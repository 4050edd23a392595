"""Whatever dies in the middle of a sweep of six trials, the table has the bytes of an undisturbed one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import write_reacher_file
from mlflow import MlflowClient
from sweeping import (
    PATIENCE,
    TOY,
    count,
    dmm,
    environment,
    family,
    free_port,
    in_the_middle,
    kill_tree,
    results,
    start_mlflow,
    start_sweep,
    wait_for,
)

pytestmark = pytest.mark.faults
SIZE = {"DMM_TOY_SEEDS": "3", "DMM_TOY_UPDATES": "300"}  # six trials, each with evaluations at updates 100, 200, 300
TRIALS = 6
FILES = ("table.md", "table.csv")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "reacher.hdf5"
    write_reacher_file(path)
    return path


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory) -> dict[str, bytes]:
    """The table of a sweep to which nothing happens."""
    place = tmp_path_factory.mktemp("undisturbed")
    env = environment(place / "home", data, **SIZE)
    done = dmm("sweep", TOY, env=env, cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    return tables(env, place)


@pytest.fixture
def env(data, tmp_path, undisturbed) -> dict:
    """The variables of a sweep that something will happen to; asked for first, so that the other is over."""
    return environment(tmp_path / "home", data, **SIZE)


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen]]:
    """Processes that must not outlive a test."""
    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            kill_tree(process.pid)
        process.wait()


def tables(env: dict, place: Path) -> dict[str, bytes]:
    """The report's files, from MLflow."""
    done = dmm("report", TOY, env=env, cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: (place / "reports" / env.get("DMM_TOY_NAME", "toy") / name).read_bytes() for name in FILES}


def sweep_on(env: dict, place: Path) -> subprocess.CompletedProcess:
    """The same command again, to its end."""
    done = dmm("sweep", TOY, env=env, cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def ends_well(process: subprocess.Popen, place: Path) -> None:
    code = process.wait(timeout=PATIENCE)
    assert code == 0, (place / "sweep.log").read_text()


def runs(uri: str) -> list:
    client = MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name("dmm").experiment_id])
    return [run for run in found if "dmm.trial_id" in run.data.tags]


def each_trial_is_one_finished_run(uri: str, trials: int = TRIALS) -> None:
    found = runs(uri)
    assert [run.info.status for run in found] == ["FINISHED"] * trials
    assert len({run.data.tags["dmm.trial_id"] for run in found}) == trials


def logs(home: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in home.glob("trials/*/log.txt")}


def test_a_trials_process_dies(env, tmp_path, undisturbed, started):
    started.append(driver := start_sweep(env, tmp_path))
    wait_for(lambda: in_the_middle(tmp_path / "home"), "the middle")
    busy = family(driver.pid, "ray::ImplicitFunc.train")  # Tune's name for a function's process
    assert busy, [process.cmdline() for process in family(driver.pid)]
    busy[0].send_signal(signal.SIGKILL)
    ends_well(driver, tmp_path)
    assert sum(text.count("training from") for text in logs(tmp_path / "home").values()) > TRIALS, "it came too late"
    assert tables(env, tmp_path) == undisturbed
    each_trial_is_one_finished_run(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}")


def test_a_rollout_actor_dies_in_an_episode(env, tmp_path, undisturbed, started):
    profile = tmp_path / "actors.toml"
    profile.write_text("cpus = 1\nrollout_actors = 1\n")
    started.append(driver := start_sweep(env, tmp_path, "--profile", str(profile)))
    wait_for(lambda: in_the_middle(tmp_path / "home"), "the middle")
    (busy, *_) = wait_for(lambda: family(driver.pid, "ray::RolloutActor.roll"), "a rollout")
    busy.send_signal(signal.SIGKILL)
    ends_well(driver, tmp_path)
    assert tables(env, tmp_path) == undisturbed


@pytest.mark.parametrize("whole", [False, True], ids=["alone", "with its machine"])
def test_the_driver_dies_and_the_command_is_given_again(env, tmp_path, undisturbed, started, whole):
    started.append(driver := start_sweep(env, tmp_path))
    wait_for(lambda: in_the_middle(tmp_path / "home"), "the middle")
    if whole:
        kill_tree(driver.pid)
    else:
        driver.kill()
    driver.wait()
    before = {found["id"]: found for found in results(tmp_path / "home") if found["status"] == "finished"}
    assert 0 < len(before) < TRIALS
    done = sweep_on(env, tmp_path)  # its trials wait for those that the dead driver left, if any
    assert "of them finished before" in done.stdout
    after = {found["id"]: found for found in results(tmp_path / "home")}
    assert all(after[trial_id] == found for trial_id, found in before.items()), "a finished trial was run again"
    assert tables(env, tmp_path) == undisturbed
    each_trial_is_one_finished_run(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}")


def test_a_node_dies(env, tmp_path, undisturbed, started, monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        node = cluster.add_node(num_cpus=1)
        started.append(driver := start_sweep({**env, "RAY_ADDRESS": cluster.address}, tmp_path))
        wait_for(lambda: in_the_middle(tmp_path / "home") and count(tmp_path / "home", "running") == 2, "both at work")
        cluster.remove_node(node, allow_graceful=False)
        ends_well(driver, tmp_path)
    finally:
        cluster.shutdown()
    assert sum(text.count("training from") for text in logs(tmp_path / "home").values()) > TRIALS, "it came too late"
    assert tables(env, tmp_path) == undisturbed
    each_trial_is_one_finished_run(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}")


def test_mlflow_goes_away_for_a_minute(env, tmp_path, undisturbed, started):
    port = free_port()
    env = {**env, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    started.append(server := start_mlflow(tmp_path / "server", port))
    started.append(driver := start_sweep(env, tmp_path))
    wait_for(lambda: in_the_middle(tmp_path / "home"), "the middle")
    before = count(tmp_path / "home", "finished")
    kill_tree(server.pid)
    began = time.monotonic()
    wait_for(lambda: count(tmp_path / "home", "finished") > before, "a trial that ends and one that starts meanwhile")
    if driver.poll() is None:  # kept busy: a minute, unless the sweep is over before
        wait_for(lambda: driver.poll() is not None or time.monotonic() - began > 60, "a minute")
    started.append(start_mlflow(tmp_path / "server", port))
    code = driver.wait(timeout=PATIENCE)
    log = (tmp_path / "sweep.log").read_text()
    assert "MLflow does not answer" in log and log.count("MLflow does not answer") <= 2
    if code:  # the server came back too late for this sweep
        assert code == 1 and "`dmm sync toy` sends them" in log
        assert dmm("sync", TOY, env=env, cwd=tmp_path).returncode == 0
    assert tables(env, tmp_path) == undisturbed
    each_trial_is_one_finished_run(env["MLFLOW_TRACKING_URI"])


def test_mlflow_dies_for_good_and_sync_fills_a_new_server(env, tmp_path, undisturbed, started):
    port = free_port()
    old = {**env, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    started.append(server := start_mlflow(tmp_path / "old", port))
    started.append(driver := start_sweep(old, tmp_path))
    wait_for(lambda: count(tmp_path / "home", "finished") >= 1, "a finished trial")
    kill_tree(server.pid)
    assert driver.wait(timeout=PATIENCE) == 1, (tmp_path / "sweep.log").read_text()
    assert "results are not in MLflow yet; `dmm sync toy` sends them" in (tmp_path / "sweep.log").read_text()
    refused = dmm("sweep", TOY, env=old, cwd=tmp_path)  # at the start of a sweep it is an error at once
    assert refused.returncode == 2 and f"127.0.0.1:{port} cannot be used" in refused.stderr
    new = {**env, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'new.db'}"}
    for _ in range(2):
        done = dmm("sync", TOY, env=new, cwd=tmp_path)
        assert done.returncode == 0 and f"{TRIALS} results are in MLflow" in done.stdout, done.stdout + done.stderr
    assert tables(new, tmp_path) == undisturbed
    each_trial_is_one_finished_run(new["MLFLOW_TRACKING_URI"])


def test_the_disk_is_full_at_a_checkpoint(env, tmp_path, undisturbed, started):
    home = tmp_path / "home"
    (home / "trials").mkdir(parents=True)
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", home / "trials"], capture_output=True
    ).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        started.append(driver := start_sweep(env, tmp_path))
        wait_for(lambda: in_the_middle(home), "the middle")
        with pytest.raises(OSError), open(home / "trials" / "filler", "wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)
        assert driver.wait(timeout=PATIENCE) == 1, (tmp_path / "sweep.log").read_text()
        log = (tmp_path / "sweep.log").read_text()
        assert "No space left on device" in log and "failed: " in log
        before = {found["id"]: found for found in results(home) if found["status"] == "finished"}
        assert before and all(run.info.status != "RUNNING" for run in runs(f"sqlite:///{home / 'mlflow.db'}"))
        (home / "trials" / "filler").unlink()
        sweep_on(env, tmp_path)
        after = {found["id"]: found for found in results(home)}
        assert all(after[trial_id] == found for trial_id, found in before.items())
        assert tables(env, tmp_path) == undisturbed
        each_trial_is_one_finished_run(f"sqlite:///{home / 'mlflow.db'}")
    finally:
        for process in started:
            if process.poll() is None:
                kill_tree(process.pid)
        subprocess.run(["umount", "-l", home / "trials"], check=True)


def test_files_are_cut_and_damaged_while_nobody_looks(env, tmp_path, undisturbed, started):
    home = tmp_path / "home"
    started.append(driver := start_sweep(env, tmp_path))

    def with_two_checkpoints() -> list[dict]:
        under_way = [found for found in results(home) if found["status"] == "running" and found["update"] >= 200]
        return under_way if count(home, "finished") >= 2 else []

    wait_for(with_two_checkpoints, "a trial with two checkpoints")
    kill_tree(driver.pid)
    found = results(home)
    running = [entry for entry in found if entry["status"] == "running" and entry["update"] == 200]
    first, second = [entry for entry in found if entry["status"] == "finished"][:2]
    cut = [home / "trials" / entry["id"] / "checkpoint.pt" for entry in running]
    cut += [home / "trials" / entry["id"] / "result.json" for entry in (first, second)]
    for path in cut:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    damaged = home / "trials" / second["id"] / "checkpoint.pt"
    damaged.write_bytes(damaged.read_bytes().replace(b"\0", b"\1", 1000))
    sweep_on(env, tmp_path)
    assert all("checkpoint.pt is damaged" in logs(home)[entry["id"]] for entry in [*running, second])
    assert tables(env, tmp_path) == undisturbed
    each_trial_is_one_finished_run(f"sqlite:///{home / 'mlflow.db'}")


def test_two_people_at_once_and_a_table_that_shares_the_trials(env, tmp_path, undisturbed, started):
    home = tmp_path / "home"
    for name in ("first", "other"):
        (tmp_path / name).mkdir()
    reached = os.path.relpath(Path(tmp_path, env["DMM_TOY_DATA"]), tmp_path / "first")
    env["DMM_TOY_DATA"] = reached  # from a folder deeper; it is not part of a table's text
    started.append(first := start_sweep(env, tmp_path / "first"))
    wait_for(lambda: count(home, "running"), "the first sweep")
    second = dmm("sweep", TOY, env=env, cwd=tmp_path / "other")
    assert second.returncode == 2 and f"process {first.pid}, since 20" in second.stderr, second.stderr
    seen = dmm("status", TOY, env=env, cwd=tmp_path / "other")
    assert f"process {first.pid}" in seen.stdout and seen.returncode == 0
    other = {**env, "DMM_TOY_NAME": "another"}
    started.append(third := start_sweep(other, tmp_path / "other"))
    ends_well(first, tmp_path / "first")
    ends_well(third, tmp_path / "other")
    assert [text.count("training from update 0") for text in logs(home).values()] == [1] * TRIALS
    each_trial_is_one_finished_run(f"sqlite:///{home / 'mlflow.db'}")
    assert tables(env, tmp_path / "first")["table.csv"] == tables(other, tmp_path / "other")["table.csv"]


def test_a_trial_that_always_fails_is_said_and_harms_no_other(env, tmp_path, undisturbed):
    env = {**env, "DMM_TOY_BROKEN": "nan"}
    done = dmm("sweep", TOY, env=env, cwd=tmp_path)
    assert done.returncode == 1 and "6 of 9 trials done, 3 failed" in done.stdout, done.stdout + done.stderr
    broken = [text for text in logs(tmp_path / "home").values() if "FloatingPointError" in text]
    assert [text.count("training from") for text in broken] == [1] * 3, "the same again was tried again"
    found = tables(env, tmp_path)
    assert "## Failed trials" in found["table.md"].decode() and "FloatingPointError" in found["table.md"].decode()
    sound = undisturbed["table.csv"].decode().splitlines()
    assert set(sound) < set(found["table.csv"].decode().splitlines())
    seen = dmm("status", TOY, env=env, cwd=tmp_path)
    assert "3 failed" in seen.stdout and seen.stdout.count("FloatingPointError: the loss is nan") == 3, seen.stdout
    statuses = sorted(run.info.status for run in runs(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}"))
    assert statuses == ["FAILED"] * 3 + ["FINISHED"] * TRIALS


def test_a_trial_whose_process_always_dies_is_given_up(env, tmp_path):
    env = {**env, "DMM_TOY_ENVIRONMENT": "dying:Dying-v0", "DMM_TOY_SEEDS": "1", "DMM_TOY_UPDATES": "30"}
    done = dmm("sweep", TOY, env=env, cwd=tmp_path)
    assert done.returncode == 1 and "0 of 2 trials done, 2 failed" in done.stdout, done.stdout + done.stderr
    for text in logs(tmp_path / "home").values():
        assert text.count("training from") == 3  # once and two retries
    for found in results(tmp_path / "home"):
        assert found["status"] == "failed" and "given up after 3 attempts" in found["error"]
    seen = dmm("status", TOY, env=env, cwd=tmp_path)
    assert "2 failed" in seen.stdout and "given up after 3 attempts" in seen.stdout
    statuses = [run.info.status for run in runs(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}")]
    assert statuses == ["FAILED"] * 2


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_seconds_and_the_command_goes_on(env, tmp_path, undisturbed, started, sent):
    started.append(driver := start_sweep(env, tmp_path))
    wait_for(lambda: in_the_middle(tmp_path / "home"), "the middle")
    children = family(driver.pid)
    os.kill(driver.pid, sent)
    assert driver.wait(timeout=120) == 130, (tmp_path / "sweep.log").read_text()
    assert "stopped; the same command goes on" in (tmp_path / "sweep.log").read_text()
    _, alive = psutil.wait_procs(children, timeout=120)
    assert not alive
    statuses = {run.info.status for run in runs(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}")}
    assert statuses <= {"FINISHED", "KILLED"} and not count(tmp_path / "home", "failed")
    sweep_on(env, tmp_path)
    assert tables(env, tmp_path) == undisturbed
    each_trial_is_one_finished_run(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}")


@pytest.fixture
def head(started, tmp_path_factory) -> Iterator[str]:
    """A Ray head with a job server, as `ray start --head` makes one; its folder's name must be short."""
    port, place = free_port(), Path("/tmp") / f"dmm{os.getpid()}"
    words = ["start", "--head", "--block", "--num-cpus", "2", "--port", str(free_port()), "--dashboard-port", str(port)]
    words += [
        "--dashboard-host",
        "127.0.0.1",
        "--temp-dir",
        str(place),
        "--dashboard-agent-listen-port",
        str(free_port()),
    ]
    log = tmp_path_factory.mktemp("head") / "head.log"
    variables = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", *words],
            env={**os.environ, **variables, "PATH": path},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    started.append(process)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/jobs/", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    wait_for(answers, "the head")
    yield f"http://127.0.0.1:{port}"
    kill_tree(process.pid)
    shutil.rmtree(place, ignore_errors=True)


def test_a_job_is_submitted_stopped_and_submitted_again(env, tmp_path, undisturbed, head, data):
    from ray.job_submission import JobStatus, JobSubmissionClient

    code = tmp_path / "code"
    code.mkdir()
    for name in ("toy.py", "conftest.py"):
        shutil.copy(Path(TOY).parent / name, code / name)
    env = {**env, "DMM_TOY_DATA": str(data), "RAY_AUTH_MODE": "disabled"}
    client = JobSubmissionClient(head)

    def submit() -> str:
        done = dmm("submit", "toy.py", "--address", head, "--working-dir", ".", env=env, cwd=code)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "upload of" in done.stdout and "ray job stop" in done.stdout and "toy.py" in done.stdout
        return done.stdout.split("submitted ")[1].split(";")[0]

    ended = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)
    first = submit()
    wait_for(lambda: in_the_middle(tmp_path / "home") or client.get_job_status(first) in ended, "the middle of the job")
    assert client.get_job_status(first) == JobStatus.RUNNING, client.get_job_logs(first)
    client.stop_job(first)
    wait_for(lambda: client.get_job_status(first) in ended, "the end of the job")
    second = submit()
    wait_for(lambda: client.get_job_status(second) in ended, "the end of the second job")
    log = client.get_job_logs(second)
    assert client.get_job_status(second) == JobStatus.SUCCEEDED, log
    assert "ETA" in log and "of them finished before" in log
    env["DMM_TOY_DATA"] = os.path.relpath(data, tmp_path)
    seen = {json.loads(path.read_text())["status"] for path in tmp_path.glob("home/trials/*/result.json")}
    assert seen == {"finished"}
    assert tables({**env, "DMM_TOY_DATA": str(data)}, tmp_path)["table.csv"] == undisturbed["table.csv"]

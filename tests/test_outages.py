"""What a sweep needs goes away in its middle (MLflow, disk, files, job): the table has the bytes of an undisturbed one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.sweep_process import (
    PATIENCE,
    TOY,
    TRIALS,
    close_gate,
    count,
    dmm,
    each_trial_is_one_finished_run,
    ends_well,
    free_port,
    in_the_middle,
    kill_tree,
    logs,
    middle,
    results,
    runs,
    start_mlflow,
    start_sweep,
    sweep_on,
    tables,
    wait_at,
    wait_for,
    wait_until_served,
)

pytestmark = pytest.mark.faults


def test_mlflow_goes_away_and_comes_back(env, tmp_path, undisturbed, started):
    """Trials run one by one. Meanwhile several end and several start."""
    port, home = free_port(), tmp_path / "home"
    env = {**env, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    (tmp_path / "slow.toml").write_text("concurrency = 1\n")
    first, last = (close_gate(tmp_path, seed) for seed in (0, 2))
    started.append(server := start_mlflow(tmp_path / "server", port))
    started.append(driver := start_sweep(env, tmp_path, "--profile", "slow.toml"))
    wait_at(first, driver, tmp_path)
    kill_tree(server.pid)
    assert not count(home, "finished")
    first.unlink()
    wait_at(last, driver, tmp_path)
    assert count(home, "finished") >= 2
    started.append(start_mlflow(tmp_path / "server", port))
    last.unlink()
    ends_well(driver, tmp_path)
    log = (tmp_path / "sweep.log").read_text()
    assert log.count("MLflow does not answer") == log.count("MLflow has all results again") == 1, log
    assert tables(env, tmp_path) == undisturbed
    each_trial_is_one_finished_run(env["MLFLOW_TRACKING_URI"])


def test_mlflow_dies_for_good_and_sync_fills_a_new_server(env, tmp_path, undisturbed, started):
    port = free_port()
    old = {**env, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    started.append(server := start_mlflow(tmp_path / "old", port))
    gate = close_gate(tmp_path)
    started.append(driver := start_sweep(old, tmp_path))
    middle(gate, driver, tmp_path)
    kill_tree(server.pid)
    gate.unlink()
    assert driver.wait(timeout=PATIENCE) == 1, (tmp_path / "sweep.log").read_text()
    assert "this sends the results that are not in MLflow yet: dmm sync" in (tmp_path / "sweep.log").read_text()
    refused = dmm("sweep", TOY, env=old, cwd=tmp_path)  # at the start of a sweep it is an error at once
    assert refused.returncode == 2 and f"127.0.0.1:{port} cannot be used" in refused.stderr
    new = {**env, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'new.db'}"}
    for _ in range(2):
        done = dmm("sync", TOY, env=new, cwd=tmp_path)
        assert done.returncode == 0 and f"{TRIALS} results are in MLflow" in done.stdout, done.stdout + done.stderr
    assert tables(new, tmp_path) == undisturbed
    each_trial_is_one_finished_run(new["MLFLOW_TRACKING_URI"])


def mount(*words: str | Path) -> None:
    """Mounts something; skips the test where that is not allowed."""
    if subprocess.run(["mount", *words], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")


def fill(folder: Path) -> None:
    """Leaves no space on a file system."""
    with pytest.raises(OSError), open(folder / "filler", "wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)


def make_read_only(folder: Path) -> None:
    """Lets nobody open a file for writing."""
    mount("--bind", folder, folder)
    mount("-o", "remount,bind,ro", folder)


@pytest.mark.parametrize(
    ("harm", "heal", "said"),
    [
        (fill, lambda folder: (folder / "filler").unlink(), "No space left on device"),
        (make_read_only, lambda folder: subprocess.run(["umount", folder], check=True), "Read-only file system"),
    ],
    ids=["full", "read-only"],
)
def test_the_disk_cannot_be_written_at_a_checkpoint(env, tmp_path, undisturbed, started, harm, heal, said):
    home = tmp_path / "home"
    disk = home / "trials"
    disk.mkdir(parents=True)
    mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", disk)
    try:
        gate = close_gate(tmp_path)
        started.append(driver := start_sweep(env, tmp_path))
        middle(gate, driver, tmp_path)
        harm(disk)
        gate.unlink()
        assert driver.wait(timeout=PATIENCE) == 1, (tmp_path / "sweep.log").read_text()
        log = (tmp_path / "sweep.log").read_text()
        assert said in log and "failed: " in log
        before = {found.id: found for found in results(home) if found.status == "finished"}
        assert before and all(run.info.status != "RUNNING" for run in runs(f"sqlite:///{home / 'mlflow.db'}"))
        heal(disk)
        sweep_on(env, tmp_path)
        after = {found.id: found for found in results(home)}
        assert all(after[trial_id] == found for trial_id, found in before.items())
        assert tables(env, tmp_path) == undisturbed
        each_trial_is_one_finished_run(f"sqlite:///{home / 'mlflow.db'}")
    finally:
        for process in started:
            if process.poll() is None:
                kill_tree(process.pid)
        while os.path.ismount(disk):
            subprocess.run(["umount", "-l", disk], check=True)


def test_files_are_cut_and_damaged_while_nobody_looks(env, tmp_path, undisturbed, started):
    home = tmp_path / "home"
    gate = close_gate(tmp_path)  # the trials behind it have two checkpoints
    started.append(driver := start_sweep(env, tmp_path))
    wait_at(gate, driver, tmp_path)
    wait_for(lambda: count(home, "finished") >= 2, "two finished trials", sweep=(driver, tmp_path))
    kill_tree(driver.pid)
    gate.unlink()
    found = results(home)
    running = [entry for entry in found if entry.status == "running" and entry.update == 40]
    first, second = [entry for entry in found if entry.status == "finished"][:2]
    folders = {entry.id: home / "trials" / entry.training.weights_id for entry in found}
    cut = [folders[entry.id] / "checkpoint.pt" for entry in running]
    cut += [folders[entry.id] / "training.json" for entry in (first, second)]
    cut.append(folders[first.id] / "evaluations" / f"{first.id}.json")
    for path in cut:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    damaged = folders[second.id] / "checkpoint.pt"
    damaged.write_bytes(damaged.read_bytes().replace(b"\0", b"\1", 1000))
    sweep_on(env, tmp_path)
    said = logs(home)
    assert all("checkpoint.pt is damaged" in said[entry.training.weights_id] for entry in [*running, second])
    assert "its episodes are rolled out again" in said[first.training.weights_id]
    assert tables(env, tmp_path) == undisturbed
    each_trial_is_one_finished_run(f"sqlite:///{home / 'mlflow.db'}")


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

    wait_until_served(process, f"http://127.0.0.1:{port}/api/jobs/", log)
    yield f"http://127.0.0.1:{port}"
    kill_tree(process.pid)
    shutil.rmtree(place, ignore_errors=True)


def test_a_job_is_submitted_stopped_and_submitted_again(env, tmp_path, undisturbed, head, toy_data):
    from ray.job_submission import JobStatus, JobSubmissionClient

    code = tmp_path / "code"
    code.mkdir()
    shutil.copytree(Path(TOY).parent, code / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    relative = env["DMM_TOY_DATA"]
    env = {**env, "DMM_TOY_DATA": str(toy_data), "RAY_AUTH_MODE": "disabled"}
    client = JobSubmissionClient(head)

    def submit() -> str:
        done = dmm("submit", "helpers/toy_table.py", "--address", head, "--working-dir", ".", env=env, cwd=code)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "upload of" in done.stdout and "ray job stop" in done.stdout and "helpers/toy_table.py" in done.stdout
        return done.stdout.split("submitted ")[1].split()[0]

    ended = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)
    gate = close_gate(tmp_path)
    first = submit()
    wait_for(lambda: in_the_middle(tmp_path / "home") or client.get_job_status(first) in ended, "the middle of the job")
    assert client.get_job_status(first) == JobStatus.RUNNING, client.get_job_logs(first)
    client.stop_job(first)
    wait_for(lambda: client.get_job_status(first) in ended, "the end of the job")
    gate.unlink()
    second = submit()
    wait_for(lambda: client.get_job_status(second) in ended, "the end of the second job")
    log = client.get_job_logs(second)
    assert client.get_job_status(second) == JobStatus.SUCCEEDED, log
    assert "of updates" in log and "of them finished before" in log
    assert {found.status for found in results(tmp_path / "home")} == {"finished"}
    found = tables(env, tmp_path)["table.csv"].replace(bytes(toy_data), relative.encode())  # a job is elsewhere
    assert found == undisturbed["table.csv"]

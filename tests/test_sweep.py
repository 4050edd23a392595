"""A sweep through real Ray and MLflow, as a user runs it: killed in the middle twice, then the same table."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import write_reacher_file

TESTS = Path(__file__).parent


def environment(home: Path, data: Path, **more) -> dict:
    return {
        **os.environ,
        "DMM_HOME": str(home),
        "DMM_TOY_DATA": os.path.relpath(data, home.parent),  # from the folder in which the command runs
        "PYTHONPATH": f"{TESTS.parent}:{TESTS}",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


def dmm(*words: str, env: dict, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "dmm", *words], env=env, cwd=cwd, capture_output=True, text=True, timeout=300
    )


def start_sweep(env: dict, cwd: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "dmm", "sweep", str(TESTS / "toy.py")]
    with open(cwd / "sweep.log", "ab") as log:
        return subprocess.Popen(command, env=env, cwd=cwd, stdout=log, stderr=log, start_new_session=True)


def wait_for(condition, seconds: float = 150):
    """Waits until condition() is true and returns what it gave."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    pytest.fail(f"{condition.__name__} did not come about in {seconds} s")


def results(home: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(home.glob("trials/*/result.json"))]


def kill_tree(process: psutil.Process) -> None:
    """SIGKILL to a driver and to all that it started: what the loss of a machine looks like."""
    family = [*process.children(recursive=True), process]
    for member in family:
        if member.is_running():
            member.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, timeout=20)


def test_a_sweep_that_is_killed_twice_gives_the_same_table(tmp_path):
    data = tmp_path / "reacher.hdf5"
    write_reacher_file(data)
    plain, rough = tmp_path / "plain", tmp_path / "rough"
    for place in (plain, rough):
        place.mkdir()
    quiet = environment(plain / "home", data)
    done = dmm("sweep", str(TESTS / "toy.py"), env=quiet, cwd=plain)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4/4 done" in done.stdout and "ETA" in done.stdout and "4 of 4 trials done, 0 failed" in done.stdout
    reported = dmm("report", str(TESTS / "toy.py"), env=quiet, cwd=plain)
    assert reported.returncode == 0, reported.stdout + reported.stderr

    env = environment(rough / "home", data)
    driver = start_sweep(env, rough)

    def under_way():
        return [found for found in results(rough / "home") if found["status"] == "running"]

    wait_for(under_way)
    trials = [
        process
        for process in psutil.Process(driver.pid).children(recursive=True)
        if " ".join(process.cmdline()).startswith("ray::ImplicitFunc")  # Tune's name for a function's process
    ]
    assert trials, [process.cmdline() for process in psutil.Process(driver.pid).children(recursive=True)]
    trials[0].send_signal(signal.SIGKILL)
    wait_for(lambda: any(found["status"] == "finished" for found in results(rough / "home")))
    kill_tree(psutil.Process(driver.pid))
    driver.wait()
    before = {found["id"]: found for found in results(rough / "home")}
    assert any(found["status"] != "finished" for found in before.values()) or len(before) < 4, "the kill came too late"
    again = dmm("sweep", str(TESTS / "toy.py"), env=env, cwd=rough)
    assert again.returncode == 0, again.stdout + again.stderr
    after = {found["id"]: found for found in results(rough / "home")}
    for trial_id, found in before.items():
        if found["status"] == "finished":
            assert after[trial_id] == found, "a finished trial was run again"
    assert dmm("report", str(TESTS / "toy.py"), env=env, cwd=rough).returncode == 0
    for name in ("table.md", "table.csv"):
        assert (rough / "reports/toy" / name).read_bytes() == (plain / "reports/toy" / name).read_bytes()

    began = time.monotonic()
    third = dmm("sweep", str(TESTS / "toy.py"), env=env, cwd=rough)
    assert "4 of them finished before" in third.stdout and third.returncode == 0
    assert "ray" not in third.stderr.lower() and time.monotonic() - began < 120


def test_ctrl_c_leaves_a_state_to_go_on_from(tmp_path):
    data = tmp_path / "reacher.hdf5"
    write_reacher_file(data)
    env = environment(tmp_path / "home", data, DMM_TOY_UPDATES="60000")
    driver = start_sweep(env, tmp_path)
    wait_for(lambda: list((tmp_path / "home").glob("trials/*")))
    os.kill(driver.pid, signal.SIGINT)
    assert driver.wait(timeout=60) == 130, (tmp_path / "sweep.log").read_text()
    assert "the same command goes on" in (tmp_path / "sweep.log").read_text()
    assert not any(found["status"] == "failed" for found in results(tmp_path / "home"))


def test_a_tracking_server_that_does_not_answer_is_said_at_once(tmp_path):
    data = tmp_path / "reacher.hdf5"
    write_reacher_file(data)
    env = environment(tmp_path / "home", data, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    began = time.monotonic()
    refused = dmm("sweep", str(TESTS / "toy.py"), env=env, cwd=tmp_path)
    assert refused.returncode == 2 and "127.0.0.1:9" in refused.stderr and time.monotonic() - began < 60
    assert not (tmp_path / "home" / "trials").exists()


def test_rollout_actors_give_the_same_bits(tiny_trial, monkeypatch):
    import ray

    from dmm.home import home
    from dmm.run import run
    from dmm.workers import ENVIRONMENT, RolloutPool

    plain = run(tiny_trial)
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    ray.init("local", num_cpus=2, include_dashboard=False, runtime_env={"env_vars": ENVIRONMENT}, logging_level="error")
    try:
        for actors in (1, 2):
            monkeypatch.setenv("DMM_HOME", str(home().parent / f"actors-{actors}"))
            pool = RolloutPool(actors)
            spread = run(tiny_trial, roll=pool)
            pool.close()
            assert spread["evaluations"] == plain["evaluations"]
    finally:
        ray.shutdown()


@pytest.mark.parametrize(
    ("text", "words"),
    [("cpu = 1", ["cpu", "cpus"]), ("cpus = 4096", ["4096 CPU a trial", "the cluster has"])],
)
def test_profiles_are_refused_with_the_arithmetic(tmp_path, text, words):
    from dmm.sweep import check_fits, find_profile

    path = tmp_path / "odd.toml"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        check_fits(find_profile(str(path)), {"CPU": 2})
    for word in words:
        assert word in str(caught.value)

"""A sweep through real Ray and MLflow, as a user runs it, and the same command again. What may die is in test_faults.py."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.reacher import write_reacher_file
from helpers.sweep_process import TOY, dmm, environment, results

ROOT = Path(__file__).parent.parent


def test_a_sweep_gives_a_table_and_is_not_run_again(tmp_path):
    data = tmp_path / "reacher.hdf5"
    write_reacher_file(data)
    env = environment(tmp_path / "home", data)
    done = dmm("sweep", TOY, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4/4 done" in done.stdout and "of updates" in done.stdout and "4 of 4 trials done, 0 failed" in done.stdout
    reported = dmm("report", TOY, env=env, cwd=tmp_path)
    assert reported.returncode == 0 and (tmp_path / "reports/toy/table.md").exists(), reported.stdout + reported.stderr
    before = results(tmp_path / "home")
    again = dmm("sweep", TOY, env=env, cwd=tmp_path)
    assert "4 of them finished before" in again.stdout and again.returncode == 0
    assert "ray" not in again.stderr.lower() and results(tmp_path / "home") == before
    assert "toy: 4/4 done" in dmm("status", TOY, env=env, cwd=tmp_path).stdout


def test_a_tracking_server_that_does_not_answer_is_said_at_once(tmp_path):
    data = tmp_path / "reacher.hdf5"
    write_reacher_file(data)
    env = environment(tmp_path / "home", data, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    began = time.monotonic()
    refused = dmm("sweep", TOY, env=env, cwd=tmp_path)
    assert refused.returncode == 2 and "127.0.0.1:9" in refused.stderr and time.monotonic() - began < 60
    assert not (tmp_path / "home" / "trials").exists()


@pytest.mark.parametrize(("address", "anywhere"), [({}, "False"), ({"RAY_ADDRESS": "10.0.0.1:6379"}, "True")])
def test_a_ray_of_our_own_listens_on_loopback_only(tmp_path, address, anywhere):
    """Ray reads the variable as it is imported; set later it would do nothing."""
    code = "import dmm.sweeps.sweep; from ray._private import ray_constants; print(ray_constants.ENABLE_RAY_CLUSTER)"
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | address
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == anywhere, done.stderr


def test_rollout_actors_give_the_same_bits(tiny_trial, monkeypatch):
    import ray

    from dmm.base.paths import home
    from dmm.sweeps.place import Place
    from dmm.sweeps.workers import ENVIRONMENT, RolloutPool
    from dmm.trials.run import run

    plain = run(tiny_trial)
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    ray.init("local", num_cpus=2, include_dashboard=False, runtime_env={"env_vars": ENVIRONMENT}, logging_level="error")
    try:
        for actors in (1, 2):
            monkeypatch.setenv("DMM_HOME", str(home().parent / f"actors-{actors}"))
            pool = RolloutPool(actors, Place.here([tiny_trial]))
            spread = run(tiny_trial, roll=pool)
            pool.close()
            assert spread.evaluations == plain.evaluations
    finally:
        ray.shutdown()

"""Whatever process dies in the middle of a sweep of six trials, the table has the bytes of an undisturbed one."""

import os
import signal
from pathlib import Path

import psutil
import pytest
from helpers.sweep_process import (
    SIZE,
    TOY,
    TRIALS,
    calm,
    close_gate,
    count,
    dmm,
    each_trial_is_one_finished_run,
    ends_well,
    environment,
    family,
    kill_tree,
    logs,
    middle,
    ran_again,
    results,
    runs,
    start_sweep,
    sweep_on,
    tables,
    wait_at,
    wait_for,
)

pytestmark = pytest.mark.faults


def test_a_trials_process_dies(env, tmp_path, undisturbed, started):
    gate = close_gate(tmp_path)
    started.append(driver := start_sweep(env, tmp_path))
    os.kill(middle(gate, driver, tmp_path), signal.SIGKILL)
    gate.unlink()
    ends_well(driver, tmp_path)
    assert ran_again(tmp_path / "home")
    assert tables(env, tmp_path) == undisturbed
    each_trial_is_one_finished_run(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}")


def test_a_train_worker_of_two_dies(toy_data, tmp_path, started):
    profile, place = tmp_path / "pair.toml", tmp_path / "struck"
    profile.write_text("workers = 2\n")
    words, size = ("--profile", str(profile)), {**SIZE, "DMM_TOY_SEEDS": "2"}  # a group takes 20 s to start
    expected = calm(toy_data, tmp_path / "calm", *words, **size)  # two workers sum in another order than one
    place.mkdir()
    env = environment(place / "home", toy_data, **size)
    gate = close_gate(place)
    started.append(driver := start_sweep(env, place, *words))
    first = middle(gate, driver, place)  # it evaluates, and the other one waits for it
    (other,) = (worker for worker in family(driver.pid, "ray::RayTrainWorker") if worker.pid != first)
    other.send_signal(signal.SIGKILL)
    gate.unlink()
    ends_well(driver, place)
    assert ran_again(place / "home", 4)
    assert tables(env, place) == expected
    each_trial_is_one_finished_run(f"sqlite:///{place / 'home' / 'mlflow.db'}", 4)


def test_a_rollout_actor_dies_in_an_episode(env, tmp_path, undisturbed, started):
    profile = tmp_path / "actors.toml"
    profile.write_text("cpus = 1\nrollout_actors = 1\n")
    gate = close_gate(tmp_path)
    started.append(driver := start_sweep(env, tmp_path, "--profile", str(profile)))
    actor = middle(gate, driver, tmp_path)
    assert actor in {process.pid for process in family(driver.pid, "ray::RolloutActor")}
    os.kill(actor, signal.SIGKILL)
    gate.unlink()
    ends_well(driver, tmp_path)
    assert tables(env, tmp_path) == undisturbed


@pytest.mark.parametrize("whole", [False, True], ids=["alone", "with its machine"])
def test_the_driver_dies_and_the_command_is_given_again(env, tmp_path, undisturbed, started, whole):
    gate = close_gate(tmp_path)
    started.append(driver := start_sweep(env, tmp_path))
    middle(gate, driver, tmp_path)
    if whole:
        kill_tree(driver.pid)
    else:
        driver.kill()
    driver.wait()
    gate.unlink()
    before = {found.id: found for found in results(tmp_path / "home") if found.status == "finished"}
    assert 0 < len(before) < TRIALS
    done = sweep_on(env, tmp_path)  # its trials wait for those that the dead driver left, if any
    assert "of them finished before" in done.stdout
    after = {found.id: found for found in results(tmp_path / "home")}
    assert all(after[trial_id] == found for trial_id, found in before.items()), "a finished trial was run again"
    assert tables(env, tmp_path) == undisturbed
    each_trial_is_one_finished_run(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}")


def test_a_node_dies(env, tmp_path, undisturbed, started, monkeypatch):
    from ray.cluster_utils import Cluster

    gate = close_gate(tmp_path)  # of both trials of a seed
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # a token in HOME would switch it on in the driver only
    for name in ("DMM_TOY_GATES", "PYTHONPATH"):
        monkeypatch.setenv(name, env[name])  # a node has variables of its own
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        node = cluster.add_node(num_cpus=1)
        started.append(
            driver := start_sweep({**env, "RAY_ADDRESS": cluster.address, "RAY_AUTH_MODE": "disabled"}, tmp_path)
        )
        middle(gate, driver, tmp_path)
        wait_for(lambda: count(tmp_path / "home", "running") == 2, "two at work", sweep=(driver, tmp_path))
        kill_tree(node.all_processes["raylet"][0].process.pid)  # with its workers, all at once
        cluster.remove_node(node, allow_graceful=False)
        gate.unlink()
        ends_well(driver, tmp_path)
    finally:
        cluster.shutdown()
    assert ran_again(tmp_path / "home")
    assert tables(env, tmp_path) == undisturbed
    each_trial_is_one_finished_run(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}")


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_seconds_and_the_command_goes_on(env, tmp_path, undisturbed, started, sent):
    gate = close_gate(tmp_path)
    started.append(driver := start_sweep(env, tmp_path))
    middle(gate, driver, tmp_path)
    children = family(driver.pid)
    os.kill(driver.pid, sent)
    assert driver.wait(timeout=120) == 130, (tmp_path / "sweep.log").read_text()
    assert "stopped; the same command continues: " in (tmp_path / "sweep.log").read_text()
    _, alive = psutil.wait_procs(children, timeout=120)
    assert not alive
    statuses = {run.info.status for run in runs(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}")}
    assert statuses <= {"FINISHED", "KILLED"} and not count(tmp_path / "home", "failed")
    gate.unlink()
    sweep_on(env, tmp_path)
    assert tables(env, tmp_path) == undisturbed
    each_trial_is_one_finished_run(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}")


def test_two_people_at_once_and_a_table_that_shares_the_trials(env, tmp_path, undisturbed, started):
    home = tmp_path / "home"
    for name in ("first", "other"):
        (tmp_path / name).mkdir()
    reached = os.path.relpath(Path(tmp_path, env["DMM_TOY_DATA"]), tmp_path / "first")
    env["DMM_TOY_DATA"] = reached  # from a folder deeper; it is not part of a table's text
    gate = close_gate(tmp_path)
    started.append(first := start_sweep(env, tmp_path / "first"))
    wait_at(gate, first, tmp_path / "first")
    second = dmm("sweep", TOY, env=env, cwd=tmp_path / "other")
    assert second.returncode == 2 and f"process {first.pid}, since 20" in second.stderr, second.stderr
    seen = dmm("status", TOY, env=env, cwd=tmp_path / "other")
    assert f"process {first.pid}" in seen.stdout and seen.returncode == 0
    other = {**env, "DMM_TOY_NAME": "another"}
    started.append(third := start_sweep(other, tmp_path / "other"))
    gate.unlink()
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
    env = {
        **env,
        "DMM_TOY_ENVIRONMENT": "helpers.crashing_env:Crashing-v0",
        "DMM_TOY_SEEDS": "1",
        "DMM_TOY_UPDATES": "6",
    }
    done = dmm("sweep", TOY, env=env, cwd=tmp_path)
    assert done.returncode == 1 and "0 of 2 trials done, 2 failed" in done.stdout, done.stdout + done.stderr
    for text in logs(tmp_path / "home").values():
        assert text.count("training from") == 3  # once and two retries
    for found in results(tmp_path / "home"):
        assert found.status == "failed" and "given up after 3 attempts" in found.error
    seen = dmm("status", TOY, env=env, cwd=tmp_path)
    assert "2 failed" in seen.stdout and "given up after 3 attempts" in seen.stdout
    statuses = [run.info.status for run in runs(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}")]
    assert statuses == ["FAILED"] * 2

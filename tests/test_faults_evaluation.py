"""Trained once, measured often, whatever dies: the tables have the bytes of undisturbed ones, each from a home of its own."""

import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from subprocess import Popen

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
    missing_in_mlflow,
    ran_again,
    results,
    start_sweep,
    sweep_on,
    tables,
    wait_at,
    wait_for,
)

from dmm.base.lock import hold

pytestmark = pytest.mark.faults
FINER = {"DMM_TOY_NAME": "finer", "DMM_TOY_EVALUATIONS": "6"}  # its evaluations include those of the toy table


@pytest.fixture(scope="session")
def finer(toy_data, tmp_path_factory) -> dict[str, bytes]:
    """The undisturbed table of the same trainings, evaluated twice as often."""
    return calm(toy_data, tmp_path_factory.mktemp("finer"), **SIZE, **FINER)


def kill_at(gate: Path, driver: Popen, place: Path) -> None:
    """Kills a sweep with its whole tree as soon as it waits at a gate, and opens the gate."""
    wait_at(gate, driver, place)
    kill_tree(driver.pid)
    gate.unlink()


def begun(home: Path) -> list[int]:
    """How often each training has begun."""
    return [text.count("training from") for text in logs(home).values()]


def test_killed_between_the_last_weights_and_the_first_episode_of_their_evaluation(env, tmp_path, undisturbed, started):
    home = tmp_path / "home"
    gate = close_gate(tmp_path, from_last=0)
    started.append(driver := start_sweep(env, tmp_path))
    kill_at(gate, driver, tmp_path)
    trained = [found for found in results(home) if found.update == 60 and found.evaluations[-1].update == 40]
    assert trained
    for found in trained:
        assert (home / "trials" / found.training.weights_id / "weights/60/card.json").exists()
    sweep_on(env, tmp_path)
    assert all(logs(home)[found.training.weights_id].count("training from") == 1 for found in trained)
    assert tables(env, tmp_path) == undisturbed
    each_trial_is_one_finished_run(f"sqlite:///{home / 'mlflow.db'}")


def test_killed_inside_evaluation_two_of_four(toy_data, tmp_path, started):
    size, place = {"DMM_TOY_SEEDS": "1", "DMM_TOY_UPDATES": "60", "DMM_TOY_EVALUATIONS": "4"}, tmp_path / "struck"
    expected = calm(toy_data, tmp_path / "calm", **size)
    place.mkdir()
    env = environment(place / "home", toy_data, **size)
    gate = close_gate(place, seed=0, from_last=2, index=3)  # in the second batch
    started.append(driver := start_sweep(env, place))
    kill_at(gate, driver, place)
    inside = [found for found in results(place / "home") if found.update == 30]
    assert inside and all([entry.update for entry in found.evaluations] == [15, 15] for found in inside)
    sweep_on(env, place)
    assert tables(env, place) == expected
    each_trial_is_one_finished_run(f"sqlite:///{place / 'home' / 'mlflow.db'}", 2)


def test_killed_between_a_complete_evaluation_file_and_mlflow(env, tmp_path, undisturbed, started):
    home = tmp_path / "home"
    uri = f"sqlite:///{home / 'mlflow.db'}"
    gate, last = (close_gate(tmp_path, seed) for seed in (1, 2))
    started.append(driver := start_sweep({**env, "MLFLOW_TRACKING_URI": f"{uri}?timeout=1"}, tmp_path))
    middle(gate, driver, tmp_path)
    with closing(sqlite3.connect(home / "mlflow.db", timeout=60, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")  # the driver can send nothing, and says so
        before = count(home, "finished")
        gate.unlink()
        wait_for(lambda: count(home, "finished") > before, "a complete evaluation", sweep=(driver, tmp_path))
        kill_tree(driver.pid)
        database.execute("ROLLBACK")
    last.unlink()
    assert missing_in_mlflow(uri, home)
    sweep_on(env, tmp_path)
    assert not missing_in_mlflow(uri, home)
    assert tables(env, tmp_path) == undisturbed
    each_trial_is_one_finished_run(uri)


@pytest.mark.parametrize("killed", [False, True], ids=["to their ends", "one dies"])
def test_two_tables_of_other_evaluations_at_once(env, tmp_path, undisturbed, finer, started, killed):
    """Both have noted what they want before a training begins, so each is trained once, for both."""
    home, sweeps = tmp_path / "home", {}

    def noted(number: int) -> bool:
        return len(list(home.glob("trials/*/evaluations/*.wanted"))) == number

    def start(variables: dict) -> None:
        started.append(driver := start_sweep(variables, tmp_path))
        sweeps[driver.pid] = driver, variables

    def trainer() -> int | None:
        """The sweep whose process trains a trial and waits at the gate."""
        waiting = gate.with_suffix(".reached")
        at_work = int(waiting.exists() and waiting.read_text() or 0)
        return next((pid for pid in sweeps if at_work in {child.pid for child in family(pid)}), None)

    gate = close_gate(tmp_path, from_last=2)
    start(env)
    wait_for(lambda: noted(TRIALS), "the notes of the first sweep")
    with ExitStack() as locks:
        for folder in home.glob("trials/*"):
            locks.enter_context(hold(folder / "lock", "the training"))
        assert not any(logs(home).values())
        start({**env, **FINER})
        wait_for(lambda: noted(2 * TRIALS), "the notes of the second sweep")
    if killed:
        victim = wait_for(trainer, "a training")
        kill_tree(victim)
        _, variables = sweeps.pop(victim)
    gate.unlink()
    for driver, _ in sweeps.values():
        ends_well(driver, tmp_path)
    if killed:
        assert ran_again(home)
        sweep_on(variables, tmp_path)
    else:
        assert begun(home) == [1] * TRIALS
    assert tables(env, tmp_path) == undisturbed
    assert tables({**env, **FINER}, tmp_path) == finer
    each_trial_is_one_finished_run(f"sqlite:///{home / 'mlflow.db'}", 2 * TRIALS)


def test_a_table_that_differs_only_in_its_evaluation_trains_nothing(env, tmp_path, undisturbed, finer):
    home = tmp_path / "home"
    sweep_on({**env, **FINER}, tmp_path)
    done = sweep_on(env, tmp_path)
    assert "6 trials, 0 of them finished before; nothing to train, 6 to evaluate" in done.stdout
    assert begun(home) == [1] * TRIALS
    assert tables(env, tmp_path) == undisturbed
    assert tables({**env, **FINER}, tmp_path) == finer
    each_trial_is_one_finished_run(f"sqlite:///{home / 'mlflow.db'}", 2 * TRIALS)


def test_weights_that_are_not_kept_are_an_error_until_they_are_trained_again(env, tmp_path, undisturbed, finer):
    home, more = tmp_path / "home", {**env, **FINER}
    (tmp_path / "last.toml").write_text('keep = "last"\n')
    sweep_on(env, tmp_path, "--profile", "last.toml")
    assert [path.name for path in home.glob("trials/*/weights/*")] == ["60"] * TRIALS
    refused = dmm("sweep", TOY, env=more, cwd=tmp_path)
    assert refused.returncode == 1 and "0 of 6 trials done, 6 failed" in refused.stdout, refused.stdout
    said = "its weights at update 10, 20, 30, 40, 50 are not kept; --retrain trains the trial again"
    assert refused.stdout.count(said) == TRIALS and begun(home) == [1] * TRIALS
    sweep_on(more, tmp_path, "--retrain")
    assert begun(home) == [2] * TRIALS
    assert tables(more, tmp_path) == finer
    assert tables(env, tmp_path) == undisturbed
    each_trial_is_one_finished_run(f"sqlite:///{home / 'mlflow.db'}", 2 * TRIALS)

"""Finished trials are taken over from runs.jsonl.gz: a sweep trains nothing again, and overwrites nothing."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import handmade_results as handmade
from helpers.kept_results import FILE, FILES, TABLE, TRIALS, by_id, every_status, keep_report, write_results, write_runs

from dmm.base.lock import hold
from dmm.base.paths import home
from dmm.results.kept import RUNS
from dmm.results.sources import FolderResults, find_results
from dmm.trials import taking_over
from dmm.trials.run import WeightsNotKept, run
from dmm.trials.storage import evaluation_lock, load_result, trial_folder
from dmm.trials.taking_over import take_over_all


def ignore(*words) -> None:
    """Does nothing."""


def take_over(path: Path, table=TABLE) -> list[str]:
    """Takes the results of a place over. Returns what was said."""
    said: list[str] = []
    take_over_all(table, find_results(str(path)).results(table), "there", said.append)
    return said


def test_a_sweep_takes_finished_trials_over_and_trains_nothing(dmm, tmp_path, monkeypatch):
    report = keep_report(dmm, tmp_path, monkeypatch)
    from dmm.sweeps import sweep as driver

    shutil.rmtree(home() / "trials")
    ran, sent = [], []
    monkeypatch.setattr(driver, "run_tune", lambda trials, *more: ran.append(trials))
    recorder = SimpleNamespace(keep_only=ignore, push=lambda result, rows: sent.append(result))
    monkeypatch.setattr(driver, "Recorder", lambda uri: recorder)
    code, out, error = dmm("sweep", FILE, "--from", str(report))
    assert (code, ran, error) == (0, [], "")
    assert (
        f"{report} has 4 trials of the table: 4 taken over\n" in out
        and "4 of them finished before; nothing to train" in out
    )
    assert out.endswith(f"now: dmm report {FILE}\n")
    assert FolderResults(home()).results(TABLE) == by_id(sent) == by_id(handmade.results())
    assert dmm("report", FILE, "--from", str(home()), "--out", str(tmp_path / "there"), "--keep")[0] == 0
    for name in (*FILES, RUNS):
        assert (tmp_path / "there/handmade" / name).read_bytes() == (report / name).read_bytes()


def test_only_what_is_missing_is_run_after_finished_trials_were_taken_over(dmm, tmp_path, monkeypatch):
    from dmm.sweeps import sweep as driver

    path, ran = write_runs(tmp_path / RUNS, every_status()), []
    monkeypatch.setattr(driver, "run_tune", lambda trials, *more: ran.extend(trials))
    monkeypatch.setattr(driver, "check", lambda trial: None)
    monkeypatch.setattr(driver, "Recorder", lambda uri: SimpleNamespace(keep_only=ignore, push=ignore))
    monkeypatch.setattr(driver, "data", SimpleNamespace(load=lambda ids: SimpleNamespace(summary=lambda: ids)))
    out = dmm("sweep", FILE, "--from", str(path))[1]
    assert f"{path} has 4 trials of the table: 2 taken over, 2 not finished" in out
    assert [trial.returns_id for trial in ran] == [trial.returns_id for trial in TRIALS[2:]]


def test_nothing_finished_is_overwritten_and_other_numbers_are_said(tmp_path):
    path = write_runs(tmp_path / RUNS)
    same, other = handmade.results()[0], handmade.result(TRIALS[1], {1.0: [1.0, 2.0, 3.0], 0.5: [1.0, 2.0, 3.0]})
    write_results([replace(same, training=replace(same.training, train_seconds=99.0)), other])
    folder = trial_folder(TRIALS[1])
    assert take_over(path) == [
        f"DMM on hopper-medium, seed 0: there has other numbers than DMM_HOME; those in DMM_HOME stay ({folder})",
        "there has 4 trials of the table: 1 finished here before, 1 finished here with other numbers, 2 taken over",
    ]
    assert load_result(TRIALS[1]) == other and load_result(TRIALS[0]).seconds.train == 99.0
    assert load_result(TRIALS[2]) == handmade.results()[2]
    assert (
        take_over(path)[-1]
        == "there has 4 trials of the table: 3 finished here before, 1 finished here with other numbers"
    )


def test_a_training_that_has_begun_here_goes_on_here_and_one_that_failed_at_once_is_replaced(tmp_path):
    path = write_runs(tmp_path / RUNS)
    begun, blank = (handmade.result(trial, {1.0: [], 0.5: []}, "failed", error="no disk") for trial in TRIALS[:2])
    write_results([begun, blank])
    (trial_folder(TRIALS[0]) / "checkpoint.pt").write_text("the state of training")
    assert take_over(path) == ["there has 4 trials of the table: 1 begun here, 3 taken over"]
    assert load_result(TRIALS[0]) == begun and load_result(TRIALS[1]) == handmade.results()[1]


def test_an_evaluation_is_taken_over_beside_a_training_only_if_they_belong_together(tmp_path):
    path = write_runs(tmp_path / RUNS)
    for result, losses in zip(handmade.results()[:2], (1.0, 2.0), strict=True):
        training = replace(
            result.training, loss=[point._replace(loss=losses * point.loss) for point in result.training.loss]
        )
        handmade.write(replace(result, training=training), home() / "trials")
        (home() / f"trials/{training.weights_id}/evaluations/{result.id}.json").unlink()
    said = take_over(path)
    assert said[0].startswith("DMM on hopper-medium, seed 0: there has other numbers")
    assert said[1] == "there has 4 trials of the table: 3 taken over, 1 finished here with other numbers"
    assert load_result(TRIALS[0]) == handmade.results()[0] and load_result(TRIALS[1]) is None


def test_another_evaluation_of_trials_that_were_taken_over_says_that_it_must_train_again(tmp_path, monkeypatch):
    row = replace(TABLE.rows[0], label="DT longer", overrides={"width": 64, "episodes_per_evaluation": 4})
    table = replace(TABLE, rows=(*TABLE.rows, row))
    said = take_over(write_runs(tmp_path / RUNS), table)
    again = "DT longer on hopper-medium, seed 0 and 1 other trial must roll out weights that did not come along"
    assert said == ["there has 4 trials of the table: 4 taken over", f"{again}; --retrain trains them again"]
    monkeypatch.setattr("dmm.trials.run.check", lambda trial: None)
    longer = next(trial for trial in table.trials() if trial.evaluation.episodes_per_evaluation == 4)
    with pytest.raises(WeightsNotKept, match="its weights at update 10, 20, 30 are not kept; --retrain"):
        run(longer)


def test_a_trial_that_another_process_runs_is_left_to_it(tmp_path, monkeypatch):
    path = write_runs(tmp_path / RUNS)
    monkeypatch.setattr("dmm.base.lock.HELD_SECONDS", 0)
    with hold(evaluation_lock(TRIALS[0]), "an evaluation"):
        said = take_over(path)
    assert said[0].startswith("DT on hopper-medium, seed 0 is not taken over: evaluation ")
    assert said[1:] == ["there has 4 trials of the table: 3 taken over"]


def test_results_of_other_data_than_those_here_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(taking_over.data, "is_present", lambda dataset_id: True)
    monkeypatch.setattr(taking_over, "training_data", lambda trial: SimpleNamespace(sha256="0ther" * 5))
    with pytest.raises(
        ValueError, match="there was made with other data: dmm/hopper/medium-v0 has sha256 5ca1ab1e5ca1 there"
    ):
        take_over(write_runs(tmp_path / RUNS))
    assert not (home() / "trials").exists()


def test_trials_that_another_table_shares_are_taken_over_and_none_is_an_error(tmp_path):
    path = write_runs(tmp_path / RUNS)
    half = replace(TABLE, name="half", rows=TABLE.rows[:1])
    assert take_over(path, half) == ["there has 2 trials of the table: 2 taken over"]
    foreign = replace(half, name="foreign", seeds=(7,))
    with pytest.raises(ValueError, match="has 4 trials of table handmade, and none of them is one of table foreign"):
        take_over(path, foreign)

"""Status, sync and submission, on results made by hand; the job server itself is in test_faults.py."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import handmade_results as handmade
from mlflow import MlflowClient

from dmm.base.lock import hold
from dmm.base.paths import home
from dmm.config import Protocol
from dmm.schema import TrialResult
from dmm.sweeps import submit as job
from dmm.sweeps.progress import SweepProgress
from dmm.sweeps.status import SweepStatus, Work, status_lines
from dmm.sweeps.sync import sync
from dmm.tables import find_table
from dmm.tracking.mlflow_store import Recorder
from dmm.trials.storage import OldResult, evaluation_lock, hold_table, old_results, returns_path, table_lock

TRIALS = handmade.TABLE.trials()


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """An empty MLflow store; tests work on copies, which costs less."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    Recorder(f"sqlite:///{path}")
    return path


@pytest.fixture
def results() -> list[TrialResult]:
    """Result files of a sweep in the middle: the first four trials finished, failed, under way and stopped."""
    found = handmade.results()[:4]
    reason = "FloatingPointError: the loss is nan\nbetween updates 10 and 20"
    found[1] = handmade.result(of(found, 1), {1.0: [5.0]}, "failed", error=reason)
    found[2:] = [handmade.result(of(found, i), {1.0: []}, "running", update=15) for i in (2, 3)]
    for result in found:
        handmade.write(result, home() / "trials")
    return found


def of(results: list[TrialResult], index: int):
    (trial,) = [trial for trial in TRIALS if trial.returns_id == results[index].id]
    return trial


def test_status_says_who_stands_where_and_why(results):
    with hold(evaluation_lock(of(results, 2)), "trial"), hold_table(handmade.TABLE):
        lines = status_lines(handmade.TABLE)
    total = len(TRIALS)
    assert lines[0].startswith(f"handmade: 1/{total} done, 1 running, 1 failed, 1 stopped, {total - 4} pending; ")
    assert sum(line.startswith("running: ") for line in lines) == 1
    assert any(line.startswith("running: ") and results[2].id in line and "update 15" in line for line in lines)
    assert any(line.startswith("stopped: ") and results[3].id in line for line in lines)
    (failed,) = [line for line in lines if line.startswith("failed: ")]
    assert failed.endswith("FloatingPointError: the loss is nan between updates 10 and 20")
    assert re.search(r"swept by \w+@\S+, process \d+, since 20", lines[-1]) and str(home()) in lines[-1]
    free = status_lines(handmade.TABLE, again="dmm sweep handmade.py")[-1]
    assert free == f"no sweep of it is running, in {home()}; this continues it: dmm sweep handmade.py"
    done = status_lines(
        replace(handmade.TABLE, rows=handmade.TABLE.rows[:1], seeds=(0,)), again="dmm sweep handmade.py"
    )
    assert done[0].startswith("handmade: 1/1 done") and done[-1] == f"no sweep of it is running, in {home()}"


def test_time_left_is_work_over_trials_at_once():
    table, (first, second, *_) = handmade.TABLE, TRIALS
    updates, evaluations = first.training.updates, 6  # three, at two targets
    done = SweepStatus(table)
    assert done.seconds_left() is None
    for trial in TRIALS:
        done.set(trial.returns_id, "finished", Work((updates, evaluations), (1.0, 1.0)))
    assert done.seconds_left() == 0
    two = SweepStatus(table, [first, second])
    two.set(first.returns_id, "running", Work((updates // 2, 3), (30.0, 10.0)))
    two.set(second.returns_id, "finished", Work((updates, 6), (0.0, 0.0)))
    assert two.seconds_left() == pytest.approx(40)
    two.set(second.returns_id, "running", Work((updates // 2, 2), (30.0, 15.0)))
    assert two.seconds_left() == pytest.approx((40 + 30 + 30) / 2)  # a third is evaluated in 15 s. Two trials at once
    new = SweepStatus(table, [first, replace(second, arch="bc", overrides=())])
    new.set(first.returns_id, "running", Work((updates // 2, 3), (30.0, 10.0)))
    assert new.seconds_left() == pytest.approx(40 + 80)  # a kind without an update takes the pace of the others


def test_a_damaged_file_is_one_failed_trial(results):
    returns_path(of(results, 0)).write_text("{")
    lines = status_lines(handmade.TABLE)
    assert "0/" in lines[0] and " 2 failed," in lines[0]
    assert any(f"{returns_path(of(results, 0))} is damaged" in line for line in lines)


def test_sync_fills_a_new_store_once(results, store, tmp_path):
    uri = f"sqlite:///{shutil.copy(store, tmp_path / 'mlflow.db')}"
    for _ in range(2):
        assert sync(handmade.TABLE, uri) == 4
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("dmm").experiment_id])
    assert {run.data.tags["dmm.returns_id"]: run.info.status for run in runs} == {
        result.id: status for result, status in zip(results, ("FINISHED", "FAILED", "KILLED", "KILLED"))
    }
    assert len(runs) == 4
    here, there = status_lines(handmade.TABLE), status_lines(handmade.TABLE, uri)
    assert here[:-1] == there[:-1]


def test_results_of_earlier_versions_change_nothing(results, store, tmp_path):
    uri = f"sqlite:///{shutil.copy(store, tmp_path / 'mlflow.db')}"
    before = status_lines(handmade.TABLE)
    old = handmade.write_old(home() / "trials")
    text = old.read_text()
    assert status_lines(handmade.TABLE) == before
    assert sync(handmade.TABLE, uri) == 4
    progress = SweepProgress(handmade.TABLE, TRIALS, Recorder(uri), lambda line: None)
    assert len(progress.start()) == 3
    assert old.read_text() == text and sorted(path.name for path in old.parent.iterdir()) == ["result.json"]
    assert old_results() == [OldResult(handmade.OLD, 4, "dt", "dmm/hopper/medium-v0", 3, "finished")]


def test_an_old_result_that_is_damaged_is_listed_too():
    handmade.write_old(home() / "trials").write_text("{")
    assert old_results() == [OldResult(handmade.OLD, None, "", "", None, "damaged")]


def test_a_table_that_differs_in_its_evaluation_is_trained_and_not_evaluated(results):
    table = replace(handmade.TABLE, name="again", protocol=handmade.PROTOCOL.with_overrides(episodes_per_evaluation=9))
    lines = status_lines(table)
    assert lines[0].startswith("again: 0/4 done, 0 running, 0 failed, 0 stopped, 4 pending; ")
    assert lines[1] == "1 trained, 0 partly evaluated, 0 evaluated"  # of the first table's four one has all updates
    assert status_lines(handmade.TABLE)[1] == "1 trained, 1 partly evaluated, 1 evaluated"


def test_two_sweeps_of_different_tables_make_one_run_for_a_trial(store, tmp_path):
    uri = f"sqlite:///{shutil.copy(store, tmp_path / 'mlflow.db')}"
    first, second = Recorder(uri), Recorder(uri)
    (one, other, *_) = handmade.results()
    first.push(one, {"a": "DT"})
    second.push(other, {"b": "DT"})  # by now both have looked up all runs
    first.push(other, {"a": "DT"})
    second.push(one, {"b": "DT"})
    client = MlflowClient(uri)
    runs = client.search_runs([first.experiment])
    assert sorted(run.data.tags["dmm.returns_id"] for run in runs) == sorted([one.id, other.id])
    assert all({"dmm.row.a", "dmm.row.b"} <= set(run.data.tags) for run in runs)


def test_a_table_that_is_swept_is_not_synchronised(results):
    with hold_table(handmade.TABLE), pytest.raises(ValueError, match="table handmade is run by .*process"):
        sync(handmade.TABLE, "sqlite:////nowhere/mlflow.db")
    assert table_lock(handmade.TABLE).exists()


def test_an_upload_names_its_largest_files_and_obeys_rays_rules(tmp_path, monkeypatch):
    for name, size in {
        "code.py": 10,
        "big.bin": 3000,
        "data/more.bin": 2000,
        "left/out.bin": 9000,
        ".git/x": 9000,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    (tmp_path / ".rayignore").write_text("left/\n")
    assert job.upload(tmp_path)[:2] == [(3000, "big.bin"), (2000, "data/more.bin")]
    assert sum(size for size, _ in job.upload(tmp_path)) == 10 + 3000 + 2000 + len("left/\n")
    monkeypatch.setattr(job, "UPLOAD_LIMIT", 5000)
    with pytest.raises(
        ValueError, match=r"the largest: big.bin 0.0 MiB, data/more.bin.*name what is not code in .rayignore"
    ):
        job.check_upload(tmp_path)


def test_a_submission_that_cannot_work_is_refused_before_it_is_sent(tmp_path, monkeypatch):
    def submit(*words):
        job.submit(
            handmade.TABLE, list(words), address="http://127.0.0.1:9", folder=tmp_path, uri=None, say=said.append
        )

    said: list[str] = []
    with pytest.raises(ValueError, match="no Ray head answers at http://127.0.0.1:9"):
        submit("quickstart")
    assert said[0].startswith("upload of")
    with pytest.raises(ValueError, match="/elsewhere/table.py does not travel"):
        submit("/elsewhere/table.py")
    monkeypatch.setenv("DMM_HOME", "relative")
    with pytest.raises(ValueError, match="set DMM_HOME to an absolute path"):
        submit("quickstart")


@pytest.mark.parametrize("name", ["../up", "", "a/b", "-f", "..", "a b"])
def test_a_tables_name_cannot_leave_its_folder(name):
    from dataclasses import replace

    with pytest.raises(ValueError, match="a table's name becomes a folder's"):
        replace(find_table("quickstart"), name=name, protocol=Protocol(name="x"))

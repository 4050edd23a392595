"""The recorder on a real sqlite store: one run a trial, nothing twice, everything read back; bad addresses at once."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import handmade_results as handmade
from helpers.tracking import RISING, ROWS, TRIAL, finished, history, partial, runs
from mlflow import MlflowClient

from dmm.base.paths import home
from dmm.report.files import write_report
from dmm.results.score import summarise
from dmm.schema import EvaluationResult, to_json
from dmm.tracking import mlflow_store as record
from dmm.tracking.mlflow_store import Recorder, TrackingError


def test_a_new_store_is_quiet_and_in_dmm_home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", "from dmm.tracking.mlflow_store import Recorder; Recorder()"],
        env={**os.environ, "DMM_HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""
    assert sorted(path.name for path in folder.iterdir()) == [".mlflow.db.lock", "mlflow.db"]
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    assert client.get_experiment_by_name("dmm").artifact_location == (folder / "mlartifacts").as_uri()


def test_a_finished_trial_is_one_run_with_all_that_is_asked_of_it(uri):
    Recorder(uri).push(finished(), ROWS)
    (run,) = runs(uri)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "metamamba Hopper-v5 s0 K8 H64")
    assert run.data.tags["dmm.returns_id"] == TRIAL.returns_id and run.data.tags["dmm.row.handmade"] == "DMM"
    expected = {"arch": "metamamba", "dataset": "dmm/hopper/medium-v0", "environment": "Hopper-v5", "seed": "0", "layers": "3",
                "context_length": "8", "embed_dim": "64", "learning_rate": "0.001", "targets": "x1,x0.5"}  # fmt: skip
    assert {key: run.data.params[key] for key in expected} == expected
    assert {"score/last", "score/best", "model/parameters", "time/train_s", "time/rollout_s"} <= set(run.data.metrics)
    assert run.data.metrics["model/parameters"] == 123587
    assert history(uri, run, "score/last") == [(0, pytest.approx(30))]
    assert history(uri, run, "score/best") == [(0, pytest.approx(40))]
    assert history(uri, run, "train/loss") == [(10, 0.1), (20, 0.05), (30, 1 / 30)]
    assert history(uri, run, "eval/score_x1") == [
        (10, pytest.approx(10)),
        (20, pytest.approx(40)),
        (30, pytest.approx(30)),
    ]
    assert history(uri, run, "eval/return_x0.5")[2] == (30, pytest.approx(handmade.raw(7.0)))
    path = MlflowClient(uri).download_artifacts(run.info.run_id, "episodes.json")
    assert json.loads(Path(path).read_text()) == to_json(finished().evaluations)


def test_nothing_is_sent_twice_whatever_happens_in_between(uri):
    recorder = Recorder(uri)
    for result in (partial(1), partial(2), partial(2)):
        recorder.push(result, ROWS)
    assert runs(uri)[0].info.status == "RUNNING"
    Recorder(uri).push(partial(1), ROWS)  # a driver started anew, and a trial behind what was sent
    restarted = Recorder(uri)
    for result in (partial(2), finished(), finished()):
        restarted.push(result, ROWS)
    Recorder(uri).push(finished(), ROWS)
    (run,) = runs(uri)
    assert run.info.status == "FINISHED"
    for key in ("train/loss", "eval/score_x1", "eval/return_x0.5"):
        assert [step for step, _ in history(uri, run, key)] == [10, 20, 30], key
    for key in ("score/last", "time/train_s"):
        assert len(history(uri, run, key)) == 1, key


def test_points_that_arrived_without_their_receipt_are_not_kept_twice(uri):
    recorder = Recorder(uri)
    recorder.push(partial(2), {})
    (run,) = runs(uri)
    for tag in ("dmm.sent", "dmm.summaries", "dmm.sha256"):
        MlflowClient(uri).delete_tag(run.info.run_id, tag)
    Recorder(uri).push(finished(), {})
    assert [step for step, _ in history(uri, run, "train/loss")] == [10, 20, 30]


def test_a_push_that_breaks_off_between_two_requests_is_made_good(uri, monkeypatch):
    monkeypatch.setattr(record, "BATCH", 4)
    recorder, sent = Recorder(uri), []

    def broken(run_id, **batch):
        sent.append(batch)
        if len(sent) == 2:
            raise OSError("connection lost")
        MlflowClient(uri).log_batch(run_id, **batch)

    monkeypatch.setattr(recorder._client, "log_batch", broken)
    with pytest.raises(TrackingError, match="connection lost"):
        recorder.push(finished(), ROWS)
    assert runs(uri)[0].info.status == "RUNNING"
    Recorder(uri).push(finished(), ROWS)
    (run,) = runs(uri)
    assert run.info.status == "FINISHED" and run.data.params["arch"] == "metamamba"
    for key in ("train/loss", "eval/score_x1", "eval/return_x0.5"):
        assert [step for step, _ in history(uri, run, key)] == [10, 20, 30], key


def test_an_unchanged_result_costs_no_request(uri, monkeypatch):
    recorder = Recorder(uri)
    recorder.push(finished(), ROWS)
    monkeypatch.setattr(recorder, "_client", None)
    recorder.push(finished(), ROWS)


def test_a_failed_trial_says_so_and_can_go_on(uri):
    recorder = Recorder(uri)
    recorder.push(partial(1, status="failed", error="OSError: disk full"), {})
    assert runs(uri)[0].info.status == "FAILED"
    recorder.push(partial(2), {})
    assert runs(uri)[0].info.status == "RUNNING"
    recorder.push(finished(), {})
    (run,) = runs(uri)
    assert run.info.status == "FINISHED" and len(history(uri, run, "score/last")) == 1


def test_summaries_come_back_as_they_went_page_by_page(uri, monkeypatch):
    monkeypatch.setattr(record, "PAGE", 3)
    recorder = Recorder(uri)
    for result in handmade.results():
        recorder.push(result, ROWS)
    stranger = replace(TRIAL, seed=77)
    recorder.push(handmade.result(stranger, RISING), {"other": "DMM"})
    found = Recorder(uri).summaries(handmade.TABLE)
    expected = {result.id: summarise(result) for result in handmade.results()}
    assert list(found) == [trial.returns_id for trial in handmade.TABLE.trials()]
    assert {key: replace(value, run_id=None) for key, value in found.items()} == expected
    assert {value.run_id for value in found.values()} < {run.info.run_id for run in runs(uri)}


def test_a_report_from_mlflow_has_the_bytes_of_one_from_the_folder(uri, tmp_path):
    recorder = Recorder(uri)
    for result in handmade.results():
        handmade.write(result, home() / "trials")
        recorder.push(result, ROWS)
    reader = Recorder(uri)
    source = reader.source(handmade.TABLE)
    write_report(handmade.TABLE, handmade.load_summaries(handmade.TABLE), tmp_path / "here", source, ("md", "csv"))
    write_report(handmade.TABLE, reader.summaries(handmade.TABLE), tmp_path / "there", source, ("md", "csv"))
    for name in ("table.md", "table.csv"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    manifest = json.loads((tmp_path / "there" / "manifest.json").read_text())
    expected = {"uri": uri, "experiment": "dmm", "query": reader.query("handmade")}
    assert {key: manifest["source"][key] for key in expected} == expected and manifest["source"]["commit"]
    assert {trial["run_id"] for trial in manifest["trials"]} == {run.info.run_id for run in runs(uri)}


def test_a_trial_that_another_table_needs_too_gets_its_tag(uri):
    Recorder(uri).push(finished(), {"first": "a row"})
    recorder = Recorder(uri)
    recorder.push(finished(), ROWS)
    (run,) = runs(uri)
    assert (run.data.tags["dmm.row.first"], run.data.tags["dmm.row.handmade"]) == ("a row", "DMM")
    assert list(recorder.summaries(handmade.TABLE)) == [TRIAL.returns_id]


def test_two_evaluations_of_one_trial_are_two_flat_runs_with_the_ids_of_both(uri):
    other = replace(TRIAL, evaluation=replace(TRIAL.evaluation, episodes_per_evaluation=7))
    recorder = Recorder(uri)
    for trial, table in ((TRIAL, "handmade"), (other, "other")):
        recorder.push(handmade.result(trial, RISING), {table: "DMM"})
    ids = {(run.data.tags["dmm.weights_id"], run.data.tags["dmm.returns_id"]) for run in runs(uri)}
    assert ids == {(TRIAL.weights_id, TRIAL.returns_id), (TRIAL.weights_id, other.returns_id)} and len(runs(uri)) == 2
    assert not any("mlflow.parentRunId" in run.data.tags for run in runs(uri))
    assert list(recorder.summaries(handmade.TABLE)) == [TRIAL.returns_id]


def test_runs_of_earlier_versions_are_neither_read_nor_changed(uri):
    client = MlflowClient(uri)
    experiment = Recorder(uri).experiment
    tags = {"dmm.trial_id": "0123456789abcdef", "dmm.row.handmade": "DMM", "dmm.sent": "3 6", "dmm.summaries": "1"}
    tags["dmm.summary.0"] = json.dumps({"id": "0123456789abcdef", "trial": {"results_version": 4}})
    old = client.create_run(experiment, run_name="metamamba hopper s0 K8 H64", tags=tags)
    client.set_terminated(old.info.run_id)
    recorder = Recorder(uri)
    assert recorder.summaries(handmade.TABLE) == {}
    recorder.push(finished(), ROWS)
    assert list(Recorder(uri).summaries(handmade.TABLE)) == [TRIAL.returns_id]
    (new,) = [run for run in runs(uri) if run.info.run_id != old.info.run_id]
    assert new.data.tags["dmm.returns_id"] == TRIAL.returns_id
    kept = client.get_run(old.info.run_id)
    assert {key: kept.data.tags[key] for key in tags} == tags and kept.data.metrics == {}
    recorder.view_link(handmade.TABLE)
    view = client.get_experiment(experiment).tags["mlflow.sharedViewState.table-handmade"]
    assert len(client.search_runs([experiment], json.loads(view)["searchFilter"])) == 1


def test_a_summary_longer_than_a_tag_is_whole(uri):
    every = [
        EvaluationResult(update=i, target="x1", asked=3600.0, returns=[i / 7], lengths=[9], weights_sha256=handmade.SHA)
        for i in range(1, 1500)
    ]
    result = finished()
    result = replace(result, returns=replace(result.returns, evaluations=every))
    assert len(json.dumps(to_json(summarise(result)))) > 20_000
    recorder = Recorder(uri)
    recorder.push(result, ROWS)
    found = Recorder(uri).summaries(handmade.TABLE)[TRIAL.returns_id]
    assert found.curve == summarise(result).curve
    assert len(history(uri, runs(uri)[0], "eval/score_x1")) == 1499
    recorder.push(partial(1), ROWS)  # shorter again: no rest of the long one is read
    assert Recorder(uri).summaries(handmade.TABLE)[TRIAL.returns_id].curve == summarise(partial(1)).curve


def test_five_targets_make_fewer_than_thirty_metrics(uri):
    Recorder(uri).push(handmade.result(TRIAL, dict.fromkeys((1.0, 2.0, 5.0, 10.0, 20.0), [1.0, 2.0, 3.0])), {})
    assert len(runs(uri)[0].data.metrics) < 30


def test_a_store_that_goes_away_loses_nothing(uri, tmp_path):
    recorder = Recorder(uri)
    recorder.push(partial(1), {})
    kept = (tmp_path / "mlflow.db").read_bytes()
    (tmp_path / "mlflow.db").write_bytes(b"no database at all" * 1000)
    with pytest.raises(TrackingError, match="cannot be used"):
        recorder.push(partial(2), {})
    (tmp_path / "mlflow.db").write_bytes(kept)
    recorder.push(finished(), {})
    (run,) = runs(uri)
    assert run.info.status == "FINISHED" and [step for step, _ in history(uri, run, "train/loss")] == [10, 20, 30]


def test_a_server_that_is_not_there_is_said_within_seconds():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(
        TrackingError, match=f"http://127.0.0.1:{port} cannot be used: .*A tracking URI is http://HOST:PORT"
    ):
        Recorder(f"http://127.0.0.1:{port}")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("address", ["nonsense", "file:///tmp/mlruns", "postgresql://someone:secret@127.0.0.1:1/dmm"])
def test_an_address_that_cannot_be_used_is_said_at_once(address):
    began = time.monotonic()
    with pytest.raises(ValueError, match="cannot be used: .*A tracking URI is") as error:
        Recorder(address)
    assert time.monotonic() - began < 10 and "secret" not in str(error.value)


def test_a_file_that_is_no_database_and_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "text.db").write_text("this is a text, not a database, and long enough to tell\n" * 50)
    for address in (f"sqlite:///{tmp_path / 'text.db'}", f"sqlite:///{tmp_path / 'text.db' / 'mlflow.db'}"):
        with pytest.raises(TrackingError, match="cannot be used"):
            Recorder(address)


def test_the_environment_names_the_store(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert Recorder().uri == Recorder(None).uri == uri


def test_a_report_does_not_say_where_dmm_home_is():
    source = Recorder().source(handmade.TABLE)
    assert source.uri == "sqlite:///DMM_HOME/mlflow.db"

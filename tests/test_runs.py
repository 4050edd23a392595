"""What a run in MLflow has beside curves: its data as inputs, the time of its work, its costs; and the run of a report."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import handmade_results as handmade
from helpers.tracking import ROWS, finished, history, partial, runs
from mlflow import MlflowClient

from dmm.base.paths import home
from dmm.results.score import summarise
from dmm.sweeps.sync import sync
from dmm.tracking import mlflow_store as record
from dmm.tracking.content import final_metrics
from dmm.tracking.mlflow_store import Recorder, TrackingError


def inputs(run) -> dict[str, tuple[str, str, dict, dict]]:
    """The inputs of a run by name: context, digest, source and profile."""
    found = {}
    for entry in run.inputs.dataset_inputs:
        (context,) = (tag.value for tag in entry.tags if tag.key == "mlflow.data.context")
        dataset = entry.dataset
        found[dataset.name] = (context, dataset.digest, json.loads(dataset.source), json.loads(dataset.profile))
    return found


DATA = "dmm/hopper/medium-v0"
DATA_INPUT = (
    "training",
    handmade.SHA[:16],
    {"ids": [DATA]},
    {"episodes": 446, "steps": 200450, "sha256": handmade.SHA},
)


def test_the_data_are_an_input_of_a_trials_run(uri):
    Recorder(uri).push(partial(1), ROWS)
    Recorder(uri).push(finished(), ROWS)
    (run,) = runs(uri)
    assert inputs(run) == {DATA: DATA_INPUT} and len(run.inputs.dataset_inputs) == 1


def test_data_of_a_long_name_are_an_input(uri):
    result = finished()
    data = replace(result.training.data, ids=["d4rl:/a/long/folder/" + "x" * 300, "d4rl:/another/" + "y" * 300])
    Recorder(uri).push(replace(result, training=replace(result.training, data=data)), ROWS)
    ((_, _, source, _),) = inputs(runs(uri)[0]).values()
    assert source["ids"] == data.ids


def duration(uri: str) -> int:
    """How long the only run lasted, in milliseconds."""
    (run,) = runs(uri)
    return run.info.end_time - run.info.start_time


@pytest.mark.parametrize("status", ["finished", "failed", "stopped"])
def test_a_run_lasts_as_long_as_its_work(status, uri):
    result = partial(2, status=status, error="no" if status == "failed" else None)
    Recorder(uri).push(result, ROWS)
    assert duration(uri) == 16_500  # 12 s of training and 4.5 s of rollouts


def test_a_run_that_goes_on_lasts_as_long_as_all_of_its_work(uri):
    recorder = Recorder(uri)
    recorder.push(partial(1, status="failed", error="OSError: disk full"), ROWS)
    recorder.push(partial(2), ROWS)
    result = finished()
    longer = replace(result, returns=replace(result.returns, rollout_seconds=20.0))
    Recorder(uri).push(longer, ROWS)
    assert duration(uri) == 32_000


def test_costs_are_metrics_where_they_are_known(uri):
    recorder, result = Recorder(uri), finished()
    recorder.push(result, ROWS)
    (run,) = runs(uri)
    assert run.data.metrics["cost/updates_per_s"] == 2.5  # 30 updates in 12 s
    assert run.data.metrics["cost/ms_per_action"] == 2.5  # 4.5 s for six evaluations of 300 steps
    assert "cost/peak_memory_mib" not in run.data.metrics
    recorder.push(replace(result, training=replace(result.training, peak_memory=321.5)), ROWS)
    (run,) = runs(uri)
    assert run.data.metrics["cost/peak_memory_mib"] == 321.5


def test_a_run_of_an_earlier_version_gets_what_it_lacks(uri, monkeypatch):
    """It has no steps, no costs and no inputs, and it lasted from its making to its last request."""
    earlier, client = Recorder(uri), MlflowClient(uri)
    with monkeypatch.context() as patch:
        patch.setattr(record, "summarise", lambda result: replace(summarise(result), steps=0))
        patch.setattr(record, "final_metrics", lambda summary: final_metrics(replace(summary, update=0))[:4])
        patch.setattr(earlier._client, "log_inputs", lambda *_: None)
        patch.setattr(
            earlier._client, "set_terminated", lambda run_id, status, end: client.set_terminated(run_id, status)
        )
        earlier.push(finished(), ROWS)
    handmade.write(finished(), home() / "trials")
    assert sync(handmade.TABLE, uri) == 1
    (run,) = runs(uri)
    assert inputs(run) == {DATA: DATA_INPUT} and duration(uri) == 16_500
    assert (run.data.metrics["cost/updates_per_s"], run.data.metrics["cost/ms_per_action"]) == (2.5, 2.5)
    for key in run.data.metrics:
        assert len(history(uri, run, key)) == (3 if key.startswith(("eval/", "train/")) else 1), key
    recorder = Recorder(uri)
    recorder._stored()
    monkeypatch.setattr(recorder, "_client", None)
    recorder.push(finished(), ROWS)  # and now nothing is missing


REQUESTS = ("create_run", "search_runs", "log_inputs", "log_batch", "log_dict", "set_terminated", "update_run")


def test_a_finished_trial_costs_six_requests(uri, monkeypatch):
    recorder, sent = Recorder(uri), []
    recorder._stored()
    for name in REQUESTS:
        send = getattr(recorder._client, name)
        monkeypatch.setattr(
            recorder._client, name, lambda *args, name=name, send=send, **more: sent.append(name) or send(*args, **more)
        )
    recorder.push(finished(), ROWS)
    assert sent == ["search_runs", "create_run", "log_inputs", "log_batch", "log_dict", "set_terminated"]


# the run of a report


def write_files(folder: Path, **texts: str) -> Path:
    """A report's folder with these files only."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, text in texts.items():
        (folder / f"{name}.md").write_text(text)
    return folder


def artifacts(uri: str, run) -> dict[str, str]:
    """The artifacts of a run, with their texts."""
    client = MlflowClient(uri)
    found = [entry.path for entry in client.list_artifacts(run.info.run_id)]
    return {path: Path(client.download_artifacts(run.info.run_id, path)).read_text() for path in found}


def test_a_report_is_kept_as_artifacts_of_one_run(uri, tmp_path):
    recorder = Recorder(uri)
    for text in ("old", "new"):
        recorder.upload(write_files(tmp_path / "report", table=text), handmade.TABLE, {})
        (run,) = runs(uri)
    assert (run.data.tags["dmm.report"], run.info.status) == ("handmade", "FINISHED")
    assert artifacts(uri, run) == {"table.md": "new"}
    assert recorder.summaries(handmade.TABLE) == {}


def test_a_second_report_of_the_same_table_stays_at_its_address(uri, tmp_path):
    recorder = Recorder(uri)
    recorder.upload(write_files(tmp_path / "report", table="old"), handmade.TABLE, {})
    (first,) = runs(uri)
    recorder.upload(write_files(tmp_path / "report", table="new", page="new"), handmade.TABLE, {})
    (second,) = runs(uri)
    assert second.info.run_id == first.info.run_id and second.info.end_time == first.info.end_time
    assert artifacts(uri, second) == {"table.md": "new", "page.md": "new"}


def test_a_file_that_a_report_has_no_more_is_not_beside_the_new_ones(uri, tmp_path):
    recorder = Recorder(uri)
    recorder.upload(write_files(tmp_path / "report", table="old", page="old"), handmade.TABLE, {})
    recorder.upload(write_files(tmp_path / "report", table="new"), handmade.TABLE, {})
    (run,) = runs(uri)
    assert artifacts(uri, run) == {"table.md": "new"}


def test_a_report_that_broke_off_is_replaced(uri, tmp_path, monkeypatch):
    folder = write_files(tmp_path / "report", table="new")
    recorder = Recorder(uri)
    with monkeypatch.context() as patch:
        patch.setattr(recorder._client, "log_artifacts", lambda *_: (_ for _ in ()).throw(OSError("connection lost")))
        with pytest.raises(TrackingError, match="connection lost"):
            recorder.upload(folder, handmade.TABLE, {})
    recorder.upload(folder, handmade.TABLE, {})
    (run,) = runs(uri)
    assert run.info.status == "FINISHED" and artifacts(uri, run) == {"table.md": "new"}


def test_the_table_and_its_data_are_inputs_of_a_reports_run(uri, tmp_path):
    folder = write_files(tmp_path / "report", table="a table")
    found = {result.id: summarise(result) for result in handmade.results()}
    recorder, digests = Recorder(uri), set()
    longer = replace(handmade.TABLE, seeds=(0, 1, 2))
    for table, facts in (
        (handmade.TABLE, {"budget": "paper", "trials": 4}),
        (longer, {"budget": "paper", "trials": 6}),
        (replace(longer, budget="smoke"), {"budget": "smoke", "trials": 6}),
        (replace(longer, data_source="dmm"), {"budget": "paper", "trials": 6, "data_source": "dmm"}),
    ):
        recorder.upload(folder, table, found)
        (run,) = runs(uri)
        assert list(inputs(run)) == ["handmade", DATA] and inputs(run)[DATA] == DATA_INPUT
        context, digest, source, profile = inputs(run)["handmade"]
        assert (context, source) == ("table", {"table": "handmade"})
        ids = sorted(trial.returns_id for trial in table.trials())
        assert profile == {**facts, "ids_sha256": hashlib.sha256(json.dumps(ids).encode()).hexdigest()}
        digests.add(digest)
    assert len(digests) == 4

"""Eight sweeps that begin at once on one new tracking store, each with trials of its own: no run is lost or in Default."""

import multiprocessing
import os
import time
from dataclasses import replace

import pytest
from helpers import handmade_results as handmade
from helpers.sweep_process import free_port, start_mlflow
from mlflow import MlflowClient

from dmm.schema import TrialResult
from dmm.tracking.mlflow_store import Recorder

pytestmark = pytest.mark.slow
WRITERS, TRIALS = 8, 3
SCORES = {1.0: [10.0, 40.0, 30.0], 0.5: [5.0, 6.0, 7.0]}


def results(trial) -> list[TrialResult]:
    """A trial's result after each evaluation."""
    cut = [{target: values[:count] for target, values in SCORES.items()} for count in (1, 2, 3)]
    found = [handmade.result(trial, scores, status="running") for scores in cut]
    return [*found, replace(found[-1], status="finished")]


def write(uri: str, start: float, seeds: range) -> None:
    """One sweep: its first use of the store, at the same moment as the others', and all that it records."""
    time.sleep(max(0.0, start - time.time()))
    recorder = Recorder(uri)
    for seed in seeds:
        for result in results(replace(handmade.TABLE.trials()[0], seed=seed)):
            recorder.push(result, {"handmade": "DT"})


@pytest.fixture(params=["sqlite", "server", "postgres"])
def uri(request, tmp_path, monkeypatch):
    """A store that nobody has used: a database file, a server's, or that of the server named by DMM_TEST_POSTGRES."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")  # a busy machine is no loss
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'mlflow.db'}"
        return
    store = f"sqlite:///{tmp_path / 'server' / 'mlflow.db'}"
    if request.param == "postgres":
        if not (store := os.environ.get("DMM_TEST_POSTGRES", "")):
            pytest.skip("DMM_TEST_POSTGRES names an empty database: postgresql+psycopg://USER@HOST/NAME")
    server = start_mlflow(tmp_path / "server", port := free_port(), store)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(30)


def test_eight_that_begin_at_once_lose_nothing(uri):
    fork, start = multiprocessing.get_context("fork"), time.time() + 1
    writers = [
        fork.Process(target=write, args=(uri, start, range(first * TRIALS, (first + 1) * TRIALS)))
        for first in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    client = MlflowClient(uri)
    experiments = {one.name: one.experiment_id for one in client.search_experiments()}
    assert sorted(experiments) == ["Default", "dmm"] and not client.search_runs([experiments["Default"]])
    runs = client.search_runs([experiments["dmm"]], max_results=1000)
    assert sorted(int(run.data.params["seed"]) for run in runs) == list(range(WRITERS * TRIALS))
    for run in runs:
        assert run.info.status == "FINISHED" and run.data.metrics["score/best"] == pytest.approx(40)
        assert run.info.end_time - run.info.start_time == 16_500  # milliseconds of training and rollouts
        assert [entry.dataset.name for entry in run.inputs.dataset_inputs] == ["dmm/hopper/medium-v0"]
        history = client.get_metric_history(run.info.run_id, "eval/score_x1")
        assert [(point.step, point.value) for point in history] == [
            (10, pytest.approx(10)),
            (20, pytest.approx(40)),
            (30, pytest.approx(30)),
        ]

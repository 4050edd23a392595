"""What a tracking store has, results that are pushed to it, and edits of its database."""

import sqlite3
from contextlib import closing
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from dmm.base.paths import home
from dmm.schema import TrialResult
from dmm.tracking.database import open_database, sqlite_uri
from dmm.tracking.mlflow_store import Recorder
from helpers import handmade_results as handmade

RESULTS = handmade.results()
LABELS = {result.id: label for result, label in zip(RESULTS, ["DT", "DMM"] * 2, strict=True)}  # the rows of RESULTS

TRIAL = handmade.TABLE.trials()[1]  # DMM, seed 0
ROWS = {"handmade": "DMM"}  # the trial's row in each table
RISING = {1.0: [10.0, 40.0, 30.0], 0.5: [5.0, 6.0, 7.0]}


def fill() -> None:
    """Puts RESULTS into DMM_HOME, in its store and as files."""
    recorder = Recorder()
    for result in RESULTS:
        handmade.write(result, home() / "trials")
        recorder.push(result, {"handmade": LABELS[result.id]})


def edit(path: Path, *statements: str) -> None:
    """Changes a sqlite file behind MLflow's back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def runs(uri: str = "") -> list[Run]:
    """All runs of a store, by default of that in DMM_HOME, read by MLflow's own client."""
    client = MlflowClient(uri) if uri else open_database(sqlite_uri(home() / "mlflow.db"), print)
    found = client.get_experiment_by_name("dmm")
    assert found
    return list(client.search_runs([found.experiment_id]))


def history(uri: str, run: Run, key: str) -> list[tuple[int, float]]:
    """The points of a metric: step and value."""
    return [(point.step, point.value) for point in MlflowClient(uri).get_metric_history(run.info.run_id, key)]


def partial(evaluations: int, **changes) -> TrialResult:
    """TRIAL after some of its evaluations."""
    scores = {target: values[:evaluations] for target, values in RISING.items()}
    return handmade.result(TRIAL, scores, **{"status": "running", **changes})


def finished() -> TrialResult:
    """TRIAL at its end: 12 s of training, 4.5 s of rollouts."""
    return partial(3, status="finished")

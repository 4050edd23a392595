"""What a tracking store has, and a trial that is pushed to it step by step."""

from mlflow import MlflowClient
from mlflow.entities import Run

from dmm.schema import TrialResult
from helpers import handmade_results as handmade

TRIAL = handmade.TABLE.trials()[1]  # DMM, seed 0
ROWS = {"handmade": "DMM"}  # the trial's row in each table
RISING = {1.0: [10.0, 40.0, 30.0], 0.5: [5.0, 6.0, 7.0]}


def runs(uri: str) -> list[Run]:
    """All runs, read by MLflow's own client."""
    client = MlflowClient(uri)
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

"""Evaluations as DataFrames."""

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from dmm.config import Table, Trial
from dmm.results.score import summarise
from dmm.schema import EvaluationResult, TrialSummary
from dmm.tables import find_table
from dmm.tasks import Task
from dmm.trials.storage import load_status

if TYPE_CHECKING:
    import pandas as pd

TRIAL_COLUMNS = ["row", "column", "arch", "seed"]
NUMBER_COLUMNS = [
    "update", "target", "asked", "mean_return", "std_return", "score", "episodes",
    "parameters", "live_parameters", "status", "weights_id", "returns_id", "data_sha256",
]  # fmt: skip


def load_results(table: str | Path | Table, mlflow: str | None = None) -> "pd.DataFrame":
    """All evaluations of a table: one row for each trial, update and target.

    `table` is a name, the path of a file or a Table. Results are read from DMM_HOME or, with `mlflow`, from that tracking
    store. From MLflow `std_return` is nan, because MLflow has the means only. The columns are

    - row, column, arch, seed, and one column for each axis of the table's grids, with the trial's setting
    - update, target, asked: after how many updates, the target's label, and the return asked for
    - mean_return, std_return, score, episodes: undiscounted returns over episodes, and D4RL's normalised score of the mean
    - parameters, live_parameters (those that training changes), status
    - weights_id, returns_id, data_sha256

    A trial that was not evaluated yet has no row.
    """
    import pandas as pd

    found = table if isinstance(table, Table) else find_table(str(table))
    stored = summary_rows(found, mlflow) if mlflow else trial_rows(found)
    rows = [
        {
            "row": row.label,
            "column": column.label,
            "arch": row.arch,
            "seed": trial.seed,
            **{axis: settings_of(trial).get(axis) for axis in found.axes},
            **entry,
            "weights_id": trial.weights_id,
            "returns_id": trial.returns_id,
        }
        for row in found.rows
        for column in found.columns
        for trial in found.cell(row, column)
        for entry in stored.get(trial.returns_id, [])
    ]
    return pd.DataFrame(rows, columns=[*TRIAL_COLUMNS, *found.axes, *NUMBER_COLUMNS])


def settings_of(trial: Trial) -> dict[str, Any]:
    """All settings of a trial by name: fields of Config, Training and Evaluation."""
    return {**vars(trial.training), **vars(trial.evaluation), **vars(trial.config)}


def trial_rows(table: Table) -> dict[str, list[dict[str, Any]]]:
    """The evaluations of a table's trials by second id, from DMM_HOME."""
    found = {trial.returns_id: load_status(trial) for trial in table.trials()}
    return {
        id_: [
            {**entry, **trial_columns(summarise(result))} for entry in evaluation_rows(result.evaluations, result.task)
        ]
        for id_, result in found.items()
        if result
    }


def trial_columns(summary: TrialSummary) -> dict[str, Any]:
    """The columns that are the same in all rows of a trial."""
    return {
        "parameters": summary.parameters,
        "live_parameters": summary.live_parameters,
        "status": summary.status,
        "data_sha256": summary.data.sha256,
    }


def evaluation_rows(evaluations: Iterable[EvaluationResult], task: Task) -> list[dict[str, Any]]:
    """The numbers of evaluations, each at one target."""
    return [
        {
            "update": entry.update,
            "target": entry.target,
            "asked": entry.asked,
            "mean_return": fmean(entry.returns),
            "std_return": stdev(entry.returns) if len(entry.returns) > 1 else float("nan"),
            "score": task.normalised_score(fmean(entry.returns)),
            "episodes": len(entry.returns),
        }
        for entry in evaluations
    ]


def summary_rows(table: Table, mlflow: str) -> dict[str, list[dict[str, Any]]]:
    """The evaluations of a table's trials by second id, from MLflow."""
    from dmm.tracking.mlflow_store import Recorder

    return {id_: curve_rows(summary) for id_, summary in Recorder(mlflow, must_write=False).summaries(table).items()}


def curve_rows(summary: TrialSummary) -> list[dict[str, Any]]:
    """The numbers of a summary's evaluations, by update, then by target."""
    rows = [
        {
            "update": point.update,
            "target": target,
            "asked": summary.asked[target],
            "mean_return": point.mean_return,
            "std_return": float("nan"),
            "score": summary.task.normalised_score(point.mean_return),
            "episodes": summary.trial.returns.evaluation["episodes_per_evaluation"],
            **trial_columns(summary),
        }
        for target, points in summary.curve.items()
        for point in points
    ]
    return sorted(rows, key=lambda row: row["update"])

"""All evaluations of a table as rows: one for each trial, update and target. scores.csv and `load_results` have the same."""

import math
from collections.abc import Iterable, Mapping
from statistics import stdev
from typing import Any

from dmm.base.text_tables import csv_text
from dmm.config import Table, Trial
from dmm.results.episodes import Episodes
from dmm.schema import EvaluationResult, TrialSummary

TRIAL_COLUMNS = ["row", "column", "arch", "seed"]
NUMBER_COLUMNS = [
    "update", "target", "asked", "mean_return", "std_return", "score", "episodes",
    "parameters", "live_parameters", "status", "weights_id", "returns_id", "data_sha256",
]  # fmt: skip


def column_names(table: Table) -> list[str]:
    """The names of the columns of `evaluation_rows`. Each axis of the table's grids has a column."""
    return [*TRIAL_COLUMNS, *table.axes, *NUMBER_COLUMNS]


def evaluation_rows(
    table: Table, summaries: Mapping[str, TrialSummary], episodes: Episodes | None = None
) -> list[dict[str, Any]]:
    """One row for each trial, update and target, in the table's order of rows, columns and seeds.

    Returns are undiscounted, and scores D4RL-normalised. `std_return` is the sample standard deviation over the episodes of
    an evaluation. It is nan if `episodes` does not have them. A trial that was not evaluated yet has no row. A trial that two
    rows of the table share has rows under both.
    """
    rows = []
    for row in table.rows:
        for column in table.columns:
            for trial in table.cell(row, column):
                if (summary := summaries.get(trial.returns_id)) is None:
                    continue
                values = {
                    "row": row.label,
                    "column": column.label,
                    "arch": row.arch,
                    "seed": trial.seed,
                    **{axis: settings_of(trial).get(axis) for axis in table.axes},
                    "parameters": summary.parameters,
                    "live_parameters": summary.live_parameters,
                    "status": summary.status,
                    "weights_id": trial.weights_id,
                    "returns_id": trial.returns_id,
                    "data_sha256": summary.data.sha256,
                }
                for numbers in curve_rows(summary, (episodes or {}).get(trial.returns_id, [])):
                    entry = values | numbers
                    rows.append({name: entry[name] for name in column_names(table)})
    return rows


def settings_of(trial: Trial) -> dict[str, Any]:
    """All settings of a trial by name: fields of Config, Training and Evaluation."""
    return {**vars(trial.training), **vars(trial.evaluation), **vars(trial.config)}


def curve_rows(summary: TrialSummary, evaluations: Iterable[EvaluationResult]) -> list[dict[str, Any]]:
    """The numbers of a trial's evaluations, by update, then by target. `evaluations` has their episodes, or nothing."""
    spread = {(entry.update, entry.target): stdev(entry.returns) for entry in evaluations if len(entry.returns) > 1}
    rows = [
        {
            "update": point.update,
            "target": target,
            "asked": summary.asked[target],
            "mean_return": point.mean_return,
            "std_return": spread.get((point.update, target), math.nan),
            "score": summary.task.normalised_score(point.mean_return),
            "episodes": summary.trial.returns.evaluation["episodes_per_evaluation"],
        }
        for target, points in summary.curve.items()
        for point in points
    ]
    return sorted(rows, key=lambda row: row["update"])


def scores_csv(table: Table, summaries: Mapping[str, TrialSummary]) -> str:
    """scores.csv: `evaluation_rows` without `std_return`, which summaries do not have. Numbers are whole, not rounded.

    It has no time, commit or machine. Raises ValueError if no trial was evaluated yet.
    """
    rows = evaluation_rows(table, summaries)
    if not rows:
        raise ValueError(f"table {table.name} has no evaluation yet; scores.csv would be empty")
    return csv_text([{name: value for name, value in row.items() if name != "std_return"} for row in rows])

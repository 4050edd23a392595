"""Evaluations as DataFrames."""

from pathlib import Path
from typing import TYPE_CHECKING

from dmm.config import Table
from dmm.results.evaluations import column_names, evaluation_rows
from dmm.results.score import summarise
from dmm.tables import find_table
from dmm.trials.storage import load_status

if TYPE_CHECKING:
    import pandas as pd


def load_results(table: str | Path | Table, mlflow: str | None = None) -> "pd.DataFrame":
    """All evaluations of a table: one row for each trial, update and target. scores.csv of a report has the same rows.

    `table` is a name, the path of a file or a Table. Results are read from DMM_HOME or, with `mlflow`, from that tracking
    store. From MLflow `std_return` is nan, because MLflow's summaries have the means only. The columns are

    - row, column, arch, seed, and one column for each axis of the table's grids, with the trial's setting
    - update, target, asked: after how many updates, the target's label, and the return asked for
    - mean_return, std_return, score, episodes: undiscounted returns over episodes, and D4RL's normalised score of the mean
    - parameters, live_parameters (those that training changes), status
    - weights_id, returns_id, data_sha256

    A trial that was not evaluated yet has no row.
    """
    import pandas as pd

    found = table if isinstance(table, Table) else find_table(str(table))
    episodes = {}
    if mlflow:
        from dmm.tracking.mlflow_store import Recorder

        summaries = Recorder(mlflow, must_write=False).summaries(found)
    else:
        results = [result for trial in found.trials() if (result := load_status(trial))]
        summaries = {result.id: summarise(result) for result in results}
        episodes = {result.id: result.evaluations for result in results}
    return pd.DataFrame(evaluation_rows(found, summaries, episodes), columns=column_names(found))

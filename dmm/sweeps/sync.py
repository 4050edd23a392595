"""Sends a table's results to a tracking store again, for example to a new server."""

from dmm.config import Table
from dmm.tracking.mlflow_store import Recorder
from dmm.trials.storage import hold_table, load_status


def sync(table: Table, uri: str | None = None) -> int:
    """Sends all results of a table to a tracking store, which may be empty. Returns the number of results."""
    with hold_table(table):
        recorder, count = Recorder(uri), 0
        for trial in table.trials():
            if found := load_status(trial):
                recorder.push(found, [table.name])
                count += 1
    return count

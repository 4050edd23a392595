"""Sends a table's results to a tracking store again, for example to a new server."""

from dmm.config import Table
from dmm.tracking.content import row_labels
from dmm.tracking.mlflow_store import Recorder
from dmm.trials.storage import hold_table, load_status


def sync(table: Table, uri: str | None = None) -> int:
    """Sends all results of a table to a tracking store, which may be empty. Returns the number of results.

    What is stored already is checked: edited runs and lost artifacts are sent again.
    """
    with hold_table(table):
        recorder, labels, count = Recorder(uri), row_labels(table), 0
        recorder.keep_only(table)
        for trial in table.trials():
            if found := load_status(trial):
                recorder.push(found, {table.name: labels[found.id]})
                recorder.restore(found)
                count += 1
    return count

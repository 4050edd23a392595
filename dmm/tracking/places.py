"""The place of results that `--from` names, a tracking store, a DMM_HOME or a kept report: opened, and told of a report."""

from collections.abc import Mapping
from pathlib import Path

from dmm.config import Table
from dmm.results.kept import KeptResults
from dmm.results.sources import FolderResults, Results, find_results, is_uri
from dmm.schema import TrialSummary


def open_results(place: str = "") -> Results:
    """The results at a place. Without one: those of MLflow at MLFLOW_TRACKING_URI, or in DMM_HOME.

    Raises ValueError if there are no results, and TrackingError if MLflow cannot be used.
    """
    if place and not is_uri(place):
        return find_results(place)
    from dmm.tracking.mlflow_store import Recorder  # its import takes seconds, which a folder does not need

    return Recorder(place or None, must_write=False)


def store_report(results: Results, table: Table, folder: Path, summaries: Mapping[str, TrialSummary]) -> str:
    """Stores a report in the MLflow from which its results were read. Returns how to see the runs, or why it is not stored.

    A report of results from elsewhere, or of a part of a table, is not stored.
    """
    if isinstance(results, FolderResults | KeptResults):
        return "not stored in MLflow, because the results are not from there"
    from dmm.tracking.mlflow_store import Recorder

    assert isinstance(results, Recorder)
    if results.unwritable:
        return f"not stored in MLflow: {results.unwritable}"
    if not table.part:
        results.keep_only(table)
        results.upload(folder, table, summaries)
    return results.view_link(table)

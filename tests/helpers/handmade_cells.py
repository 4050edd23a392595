"""Cells made by hand: a table of rows whose trials end at given scores."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dmm.config import Column, Row, Table
from dmm.results.score import Cell, gather_cells, summarise
from dmm.schema import TrialSummary
from helpers import handmade_results as handmade

Scores = Mapping[str, Sequence[float | None]]  # row label -> a score for each seed. None: the trial failed


def column(label: str) -> Column:
    """A column of Hopper. Its data have the column's name."""
    return Column(label=label, task=handmade.HOPPER, dataset=f"dmm/hopper/{label}-v0")


def table(rows: Sequence[str], columns: Sequence[str] = ("medium",), seeds: int = 3) -> Table:
    """A table of DT at other widths, so that the rows share no trial. A row "cited" has no trials."""
    made = [
        Row(label=label, published={columns[0]: 50.0})
        if label == "cited"
        else Row(label=label, arch="dt", overrides={"width": 16 * (i + 1)})
        for i, label in enumerate(rows)
    ]
    return replace(
        handmade.TABLE, rows=tuple(made), columns=tuple(map(column, columns)), seeds=tuple(range(seeds)), source=""
    )


def summaries_of(table: Table, scores: Mapping[str, Scores]) -> dict[str, TrialSummary]:
    """Summaries of trials that end at a score in each column. Their evaluations before were 20 lower and 10 higher."""
    found = {}
    for column in table.columns:
        for row in table.rows:
            for trial, score in zip(table.cell(row, column), scores[column.label].get(row.label, ()), strict=False):
                last = 0.0 if score is None else score
                made = handmade.result(trial, {1.0: [last - 20, last + 10, last], 0.5: [0.0, 0.0, last / 2]})
                status = "failed" if score is None else "finished"
                found[trial.returns_id] = replace(summarise(made), status=status)
    return found


def cells(scores: Scores, seeds: int = 3) -> list[Cell]:
    """The cells of a table with one column."""
    made = table(list(scores), seeds=seeds)
    return gather_cells(made, summaries_of(made, {"medium": scores}))

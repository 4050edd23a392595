"""A report: the files of a table, from the summaries of its trials.

table.md and table.csv contain no time, date, run id or URI. The same trials give the same bytes, from any store.
cost.csv has the timings, manifest.json the provenance.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dmm.base.paths import check_writable, write_atomic
from dmm.base.text_tables import csv_text
from dmm.config import Table
from dmm.results.markdown import markdown
from dmm.results.plots import learning_curves
from dmm.results.score import (
    Cell,
    gather_cells,
    is_papers_data,
    parameters_per_score,
    status_of,
)
from dmm.schema import ReportSource, TrialSummary, to_json


def write_report(table: Table, summaries: Mapping[str, TrialSummary], folder: Path, source: ReportSource) -> list[Path]:
    """Writes the files of a table from the summaries of its trials by second id. Returns their paths.

    Raises ValueError if the folder is not writable, or if there is no finished trial.
    """
    check_writable(folder, "a report")
    files = report_files(table, summaries, source)
    for name, data in files.items():
        write_atomic(folder / name, data)
    return [folder / name for name in files]


def report_files(table: Table, summaries: Mapping[str, TrialSummary], source: ReportSource) -> dict[str, bytes]:
    """The files of a table by name. Raises ValueError if there is no finished trial."""
    cells = gather_cells(table, summaries)
    return {
        "table.md": markdown(table, cells).encode(),
        "table.csv": csv_text(score_rows(table, cells)).encode(),
        "cost.csv": csv_text(cost_rows(cells)).encode(),
        "curves.png": learning_curves(cells, table.readings[0]),
        "manifest.json": manifest(table, cells, source).encode(),
    }


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """A line of table.csv: a cell under a reading. Scores are D4RL-normalised."""

    column: str
    row: str
    arch: str
    parameters: int | None
    live_parameters: int | None  # those that training changes
    reading: str
    score: str
    std: str
    n: int  # finished trials
    of: int  # trials
    parameters_per_score: str
    published: float | None
    published_data: str  # same: the paper's data. other: the numbers are not comparable
    data: str
    data_sha256: str | None


def score_rows(table: Table, cells: list[Cell]) -> list[ScoreRow]:
    """The lines of table.csv."""
    rows = []
    for cell in cells:
        for reading in table.readings:
            score = cell.score(reading)
            rows.append(
                ScoreRow(
                    column=cell.column.label,
                    row=cell.row.label,
                    arch=cell.row.arch,
                    parameters=cell.parameters,
                    live_parameters=cell.live_parameters,
                    reading=reading.name,
                    score=number(score.value),
                    std=number(score.std),
                    n=score.n,
                    of=score.of,
                    parameters_per_score=number(parameters_per_score(cell.parameters or 0, score.value)),
                    published=cell.row.published.get(cell.column.label),
                    published_data="same" if is_papers_data(cell.column) else "other",
                    data="+".join(cell.column.dataset),
                    data_sha256=cell.finished[0].data.sha256 if cell.finished else None,
                )
            )
    return rows


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """A line of cost.csv: a trial. Times are wall seconds. Trials with the same weights share their training time."""

    id: str  # the second id
    weights_id: str
    row: str
    column: str
    seed: int
    status: str
    updates: int
    train_s: str
    rollout_s: str
    updates_per_s: str
    parameters: int | None
    machine: str | None


def cost_rows(cells: list[Cell]) -> list[CostRow]:
    """The lines of cost.csv."""
    rows = []
    for cell in cells:
        for trial, summary in zip(cell.trials, cell.summaries):
            train = summary.seconds.train if summary else 0.0
            rows.append(
                CostRow(
                    id=trial.returns_id,
                    weights_id=trial.weights_id,
                    row=cell.row.label,
                    column=cell.column.label,
                    seed=trial.seed,
                    status=status_of(summary),
                    updates=summary.update if summary else 0,
                    train_s=f"{train:.2f}",
                    rollout_s=f"{summary.seconds.rollout if summary else 0:.2f}",
                    updates_per_s=f"{summary.update / train:.1f}" if summary and train else "",
                    parameters=summary.parameters if summary else None,
                    machine=summary.provenance.machine if summary else None,
                )
            )
    return rows


def manifest(table: Table, cells: list[Cell], source: ReportSource) -> str:
    """manifest.json: the trials behind a table, and how its numbers are read."""
    trials = []
    for cell in cells:
        for trial, summary in zip(cell.trials, cell.summaries):
            entry = {
                "id": trial.returns_id,
                "weights_id": trial.weights_id,
                "row": cell.row.label,
                "column": cell.column.label,
                "seed": trial.seed,
                "status": status_of(summary),
            }
            if summary:
                entry["run_id"] = summary.run_id
                entry["data"] = to_json(summary.data)
                entry["provenance"] = to_json(summary.provenance)
                entry["rollouts"] = to_json(summary.rollouts)
            trials.append(entry)
    content = {
        "table": table.name,
        "budget": table.budget,
        "data_source": table.data_source,
        "part": table.part,
        "protocol": to_json(table.at_budget(table.protocol)),
        "readings": to_json(table.readings),
        "source": to_json(source),
        "trials": trials,
    }
    return json.dumps(content, indent=1) + "\n"


def number(value: float) -> str:
    """A number in CSV. nan is empty."""
    return "" if math.isnan(value) else f"{value:.4f}"

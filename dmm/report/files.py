"""A report: the files of a table, from the summaries of its trials.

table.md, table.csv, table.tex and scores.csv contain no time, date, run id or URI. The same trials give the same bytes, from
any store. cost.csv has the timings, manifest.json the provenance. report.html has both, at its end.
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from dmm.base.errors import unknown_name
from dmm.base.paths import check_writable, write_atomic
from dmm.base.text_tables import csv_text
from dmm.config import Table
from dmm.report.content import ReportContent
from dmm.report.cost import cost_rows
from dmm.report.html import html
from dmm.report.latex import latex
from dmm.report.markdown import markdown
from dmm.report.plots import FIGURES, draw, png, svg
from dmm.report.sections import sections
from dmm.results.episodes import Episodes
from dmm.results.evaluations import scores_csv
from dmm.results.score import parameters_per_score, status_of
from dmm.schema import ReportSource, TrialSummary, to_json

FORMATS = ("md", "csv", "tex", "html", "png", "svg")
# all files that a report can have, but for manifest.json, which it always has
NAMES = ("table.md", "table.csv", "scores.csv", "cost.csv", "table.tex", "report.html",
         *(f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")))  # fmt: skip


def write_report(
    table: Table,
    summaries: Mapping[str, TrialSummary],
    folder: Path,
    source: ReportSource,
    formats: Collection[str] = FORMATS,
    baseline: str = "",
    episodes: Episodes | None = None,
) -> list[Path]:
    """Writes the files of a table from the summaries of its trials by second id. Returns their paths.

    Files of an earlier report that are not made anew are deleted, because they may have other numbers.
    `episodes` has the evaluations of trials by second id, which report.html shows as far as they are at hand.
    Raises ValueError if the folder is not writable, if there is no finished trial, or for an unknown format or baseline.
    """
    for name in formats:
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
    check_writable(folder, "a report")
    files = report_files(ReportContent(table, summaries, baseline), source, formats, episodes)
    for name, data in files.items():
        write_atomic(folder / name, data)
    for name in NAMES:
        if name not in files:
            (folder / name).unlink(missing_ok=True)
    return [folder / name for name in files]


def report_files(
    content: ReportContent,
    source: ReportSource,
    formats: Collection[str] = FORMATS,
    episodes: Episodes | None = None,
) -> dict[str, bytes]:
    """The files of a report by name."""
    pictures = {"html", "png", "svg"} & set(formats)
    found, figures, files = sections(content), draw(content, episodes) if pictures else {}, {}
    drawn = {name: svg(figure) for name, figure in figures.items()} if {"html", "svg"} & set(formats) else {}
    if "md" in formats:
        files["table.md"] = markdown(content, found, figures if "png" in formats else ())
    if "csv" in formats:
        files["table.csv"] = csv_text(score_rows(content))
        if any(summary.curve for summary in content.summaries.values()):
            files["scores.csv"] = scores_csv(content.table, content.summaries)
        files["cost.csv"] = csv_text(cost_rows(content.cells))
    if "tex" in formats:
        files["table.tex"] = latex(content, found)
    if "html" in formats:
        texts = {name: text.decode() for name, text in drawn.items()}
        files["report.html"] = html(content, found, texts, source, episodes)
    data = {name: text.encode() for name, text in files.items()}
    data |= {f"{name}.png": png(figure) for name, figure in figures.items() if "png" in formats}
    data |= {f"{name}.svg": text for name, text in drawn.items() if "svg" in formats}
    return data | {"manifest.json": manifest(content, source, formats).encode()}


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
    low: str  # of the 95 % interval
    high: str
    interval: str  # how it was made
    std: str
    n: int  # finished trials
    of: int  # trials
    mark: str  # best: of the column. level: it cannot be told apart from the best
    minus_best: str  # mean paired difference
    minus_best_low: str
    minus_best_high: str
    added: str  # what the reading adds to the headline
    added_low: str
    added_high: str
    parameters_per_score: str
    published: float | None
    published_std: float | None
    published_parameters: int | None
    not_comparable: str  # why the published score cannot be compared with this reading
    data: str
    data_sha256: str | None  # where each seed has its own data, their hashes are joined by +


def score_rows(content: ReportContent) -> list[ScoreRow]:
    """The lines of table.csv."""
    rows = []
    for cell in content.cells:
        label, count = cell.column.label, content.parameters(cell)
        for reading in content.table.readings:
            score, number, added = (
                cell.score(reading),
                content.number(cell, reading),
                content.added(cell, reading).interval,
            )
            best = content.comparison(cell.column, reading)
            beside = best.differences.get(cell.row.label) if best else None
            published = content.published(cell, reading)
            rows.append(
                ScoreRow(
                    column=label,
                    row=cell.row.label,
                    arch=cell.row.arch,
                    parameters=count.counted if count else None,
                    live_parameters=count.live if count else None,
                    reading=reading.name,
                    score=number_text(number.value),
                    low=number_text(number.low),
                    high=number_text(number.high),
                    interval=number.method,
                    std=number_text(score.std),
                    n=score.n,
                    of=score.of,
                    mark="best"
                    if content.is_best(cell, reading)
                    else "level"
                    if content.is_level(cell, reading)
                    else "",
                    minus_best=number_text(beside.interval.value if beside else math.nan),
                    minus_best_low=number_text(beside.interval.low if beside else math.nan),
                    minus_best_high=number_text(beside.interval.high if beside else math.nan),
                    added=number_text(added.value),
                    added_low=number_text(added.low),
                    added_high=number_text(added.high),
                    parameters_per_score=number_text(parameters_per_score(count.counted if count else 0, score.value)),
                    published=published.value if published else None,
                    published_std=published.std if published else None,
                    published_parameters=cell.row.published_parameters.get(label),
                    not_comparable=published.why_not if published else "",
                    data="+".join(cell.column.dataset),
                    data_sha256="+".join(data.sha256 for data in cell.data) or None,
                )
            )
    return rows


def manifest(content: ReportContent, source: ReportSource, formats: Collection[str]) -> str:
    """manifest.json: the trials behind a table, how its numbers are read, and which files were made."""
    table, trials = content.table, []
    for cell in content.cells:
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
    entries = {
        "table": table.name,
        "budget": table.budget,
        "data_source": table.data_source,
        "part": table.part,
        "protocol": to_json(table.at_budget(table.protocol)),
        "readings": to_json(table.readings),
        "baseline": content.baseline,
        "formats": list(formats),
        "source": to_json(source),
        "trials": trials,
    }
    return json.dumps(entries, indent=1) + "\n"


def number_text(value: float) -> str:
    """A number in CSV. nan is empty."""
    return "" if math.isnan(value) else f"{value:.4f}"

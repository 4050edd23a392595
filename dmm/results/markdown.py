"""table.md: a table's cells as Markdown, with everything that a reader needs. No time, date, run id or URI."""

import math
from collections.abc import Iterator, Mapping
from statistics import fmean, stdev
from typing import Any

import numpy as np

from dmm.base.text_tables import counted, markdown_list, markdown_table, markdown_text
from dmm.config import Column, Evaluation, Protocol, Table
from dmm.results.score import Cell, Score, failure_reason, is_papers_data, parameters_per_score, status_of
from dmm.results.statistics import aggregate, iqm_of_runs
from dmm.schema import TrialSummary


def markdown(table: Table, cells: list[Cell]) -> str:
    """table.md."""
    headline = table.readings[0]
    parts = [
        f"# {markdown_text(table.title)}",
        markdown_text(f"{describe(table.at_budget(table.protocol))}; seeds {', '.join(map(str, table.seeds))}."),
        *map(markdown_text, face(table)),
        "Scores are D4RL-normalised, mean ± standard deviation (finished seeds); "
        f"the headline reading is **{markdown_text(headline.name)}**: {headline.describe()}.",
    ]
    if len(table.columns) > 1:
        parts += [f"## All columns, {markdown_text(headline.name)}", *overview(table, cells)]
    for column in table.columns:
        parts += section(table, column, [cell for cell in cells if cell.column is column])
    returns = [line for cell in cells for line in asked_and_got(cell)]
    if len({target for _, _, target, _, _ in returns}) > 1:
        parts += [
            "## Return asked for and return got",
            "At the last evaluation, mean ± standard deviation over seeds of the undiscounted return.",
            markdown_table(["architecture", "data", "target", "asked", "got"], returns),
        ]
    lists = {"Readings": readings(table), "Departures from the papers": departures(table, cells)}
    lists["Failed trials"] = [
        f"{name}: {failure_reason(summary.error)}" for name, summary in trials_with(cells, "failed") if summary
    ]
    lists["Unfinished trials"] = [name for name, _ in trials_with(cells, "pending", "running", "stopped")]
    for title, lines in lists.items():
        if lines:
            parts += [f"## {title}", markdown_list(lines)]
    return "\n\n".join(parts) + "\n"


def face(table: Table) -> list[str]:
    """The lines at the top of a table that say how it differs from the whole table: budget, source of data, part."""
    lines = []
    if table.budget:
        lines.append(f"Budget {table.budget}: {table.budgets[table.budget].describe()}.")
    if table.data_source:
        without = f" Columns without such data: {', '.join(table.left_out)}." if table.left_out else ""
        lines.append(f"Data of source {table.data_source}.{without}")
    if table.part:
        lines.append(f"This is a part of the table: {table.part}.")
    return lines


def describe(protocol: Protocol) -> str:
    """A protocol in one line."""
    training, evaluation = protocol.training, protocol.evaluation
    targets = ", ".join(target.label for target in evaluation.targets)
    return (
        f"Protocol {protocol.name}: K={training.context_length}, {training.updates:,} updates of {training.batch_size} "
        f"windows, learning rate {training.learning_rate:g} after {training.warmup:,} updates of warm-up, "
        f"{counted(evaluation.num_evaluations, 'evaluation')} of {counted(evaluation.episodes_per_evaluation, 'episode')} "
        f"a target, targets {targets}"
    )


def section(table: Table, column: Column, cells: list[Cell]) -> list[str]:
    """One column of a table: every row under every reading beside the published numbers, and the data."""
    published = any(column.label in cell.row.published for cell in cells)
    header = ["architecture", "parameters", *(reading.name for reading in table.readings)]
    header += ["published"] * published + ["parameters / score"]
    lines = []
    for cell in cells:
        scores = [cell.score(reading) for reading in table.readings]
        line = [cell.row.label, parameter_text(cell), *map(score_text, scores)]
        line += [published_text(cell)] * published
        lines.append([*line, decimal(parameters_per_score(cell.parameters or 0, scores[0].value))])
    parts = [f"## {markdown_text(column.label)}", markdown_table(header, lines)]
    if published and not is_papers_data(column):
        parts.append(f"\\* published for other data than {markdown_text(', '.join(column.dataset))}: not comparable.")
    data = next((summary.data for cell in cells for summary in cell.finished), None)
    if data:
        normalised = column.task.normalised_score(data.return_mean)
        parts.append(
            f"Data: {markdown_text(', '.join(data.ids))}; sha256 {data.sha256[:12]}; {data.episodes:,} episodes, "
            f"{data.steps:,} steps, mean return {data.return_mean:.1f} (normalised {normalised:.1f})."
        )
    return parts


def overview(table: Table, cells: list[Cell]) -> list[str]:
    """Rows x columns at the headline reading, and the interquartile mean of complete rows. Cited rows have printed numbers."""
    reading, lines = table.readings[0], []
    for row in table.rows:
        of_row = [cell for cell in cells if cell.row is row]
        if row.cited:
            lines.append([f"{row.label} (published)", *map(published_text, of_row), "-"])
            continue
        scores = [cell.score(reading) for cell in of_row]
        total = "-"
        if all(score.n == score.of for score in scores):
            found = aggregate(np.array([score.values for score in scores]).T, iqm_of_runs)
            total = decimal(found.value) + (f" [{found.low:.1f}, {found.high:.1f}]" if found.known else "")
        lines.append([row.label, *map(score_text, scores), total])
    labels = [column.label for column in table.columns]
    text = markdown_table(["architecture", *labels, "IQM [95 % bootstrap interval]"], lines)
    marked = any("*" in published_text(cell) for cell in cells if cell.row.cited)
    return [text, *["\\* published for other data than the column's: not comparable."] * marked]


def asked_and_got(cell: Cell) -> list[list[str]]:
    """One line a target: the return that was asked for, and the return of the last evaluation."""
    lines = []
    for target in cell.finished[0].curve if cell.finished else ():
        got = [summary.curve[target][-1].mean_return for summary in cell.finished]
        spread = f" ± {stdev(got):.1f}" if len(got) > 1 else ""
        asked = f"{cell.finished[0].asked[target]:g}"
        lines.append([cell.row.label, cell.column.label, target, asked, f"{fmean(got):.1f}{spread}"])
    return lines


def readings(table: Table) -> list[str]:
    """The meaning of each number."""
    lines = [f"{reading.name}: {reading.describe()}" for reading in table.readings]
    for task in {column.task.name: column.task for column in table.columns}.values():
        lines.append(
            f"{task.name}: 0 is a return of {task.ref_min_score:g}, 100 is {task.ref_max_score:g} ({task.source})"
        )
    lines += [
        "±: sample standard deviation over seeds (n - 1); a maximum over seeds has none",
        f"parameters / score: parameters per normalised point, at {table.readings[0].name}",
    ]
    return lines + ([f"published: {table.source}"] if table.source else [])


def departures(table: Table, cells: list[Cell]) -> list[str]:
    """Where a table, a row or a cell differs from the papers or from its neighbours."""
    lines = list(table.departures)
    for row in table.rows:
        lines += [f"{row.label}: {text}" for text in (row.note, changes(row.overrides)) if text]
        lines += [f"{row.label} on {label}: {changes(row.per_column[label])}" for label in row.per_column]
    for cell in cells:
        sources = [summary.provenance for summary in cell.finished]
        rollouts = [summary.rollouts for summary in cell.finished]
        for field, values in {
            "device": {source.device for source in sources},
            "workers": {source.workers for source in sources},
            "scan": {source.scan for source in sources},
            "code of dmm": {source.code or "not recorded" for source in sources},
            "rollouts on device": {source.device for source in rollouts},
            "rollouts with scan": {source.scan for source in rollouts},
            "rollouts with code of dmm": {source.code or "not recorded" for source in rollouts},
        }.items():
            if len(values) > 1 or any(", then " in value for value in values):
                lines.append(f"{cell.name} mixes trials with {field} {' and '.join(sorted(values))}")
                if "code" in field:
                    commits = sorted({source.commit for source in (rollouts if "rollouts" in field else sources)})
                    lines[-1] += f"; from commit {' and '.join(commits)}"
    return lines


def changes(overrides: Mapping[str, Any]) -> str:
    """Overrides in words."""

    words = []
    for key, value in overrides.items():
        if key == "targets":
            value = [target.label for target in Evaluation(targets=value).targets]
        words.append(f"{key} {', '.join(map(str, value)) if isinstance(value, tuple | list) else value}")
    return "; ".join(words)


def trials_with(cells: list[Cell], *statuses: str) -> Iterator[tuple[str, TrialSummary | None]]:
    """The names and summaries of the trials with one of these statuses."""
    for cell in cells:
        for trial, summary in zip(cell.trials, cell.summaries):
            if status_of(summary) in statuses:
                yield f"{cell.name}, seed {trial.seed}", summary


def published_text(cell: Cell) -> str:
    """68.4, or 68.4* where it was published for other data."""
    number = cell.row.published.get(cell.column.label)
    return "-" if number is None else f"{number:g}{'' if is_papers_data(cell.column) else '*'}"


def score_text(score: Score) -> str:
    """45.2 ± 1.3 (2), (1 of 2) if trials are missing, or - for a cited row, which has none."""
    if not score.of:
        return "-"
    spread = "" if math.isnan(score.std) else f" ± {score.std:.1f}"
    return f"{decimal(score.value)}{spread} ({score.n if score.n == score.of else f'{score.n} of {score.of}'})"


def parameter_text(cell: Cell) -> str:
    """123,587, or 1,235,075 (645,251 live) where training does not change all"""
    if cell.parameters is None:
        return "-"
    live = f" ({cell.live_parameters:,} live)" if cell.live_parameters != cell.parameters else ""
    return f"{cell.parameters:,}{live}"


def decimal(value: float) -> str:
    """One digit after the point."""
    return "-" if math.isnan(value) else f"{value:.1f}"

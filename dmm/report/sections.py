"""The sections of a report: tables of numbers, from a report's content. All formats show these."""

import math
from string import ascii_lowercase

from dmm.base.text_tables import counted
from dmm.config import Column, Reading
from dmm.report import notes
from dmm.report.content import ReportContent
from dmm.report.document import Bullets, Entry, Part, Picture, Section, Switch, TextTable
from dmm.results.asked import mean_miss
from dmm.results.comparison import Difference
from dmm.results.grids import AxisCurve, axis_curves, pivots
from dmm.results.online_budget import expected_best_curve, reading_point
from dmm.results.power import seeds_needed
from dmm.results.score import Cell, column_data, data_score, parameters_per_score
from dmm.results.statistics import AGGREGATES, Interval

BUDGETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # evaluations, of the table of the online budget
NOTHING = "-"
LEAST_SEEDS = 3  # from whose differences it is said how many seeds would be needed


def sections(content: ReportContent) -> list[Section]:
    """All sections that have something to say, in the order of the page."""
    table = content.table
    found = [Section("Departures from the papers", [Bullets(table.departures)])] * bool(table.departures)
    found += [] if len(table.columns) == 1 else [overview(content), *aggregates(content)]
    found += beside_baseline(content)
    found += [column_section(content, column) for column in table.columns]
    found += [*grids(content), curves(), *budget(content), *asked(content), efficiency(content)]
    lists = {
        "Readings": notes.readings(table),
        "Settings of rows": notes.settings_of_rows(table, content.cells),
        "Failed trials": notes.failed_trials(content.cells),
        "Unfinished trials": notes.unfinished_trials(content.cells),
    }
    return [*filter(None, found), *(Section(title, [Bullets(lines)]) for title, lines in lists.items() if lines)]


class Footnotes:
    """Why published numbers can or cannot be compared: one letter for each reason."""

    def __init__(self) -> None:
        self._letters: dict[str, str] = {}

    def mark(self, reason: str) -> str:
        """The letter of a reason, in brackets."""
        number = len(self._letters)
        letter = ascii_lowercase[number % 26] * (number // 26 + 1)
        return f"({self._letters.setdefault(reason, letter)})"

    def parts(self) -> list[Part]:
        """The list of reasons."""
        return [Bullets([f"({letter}) {reason}" for reason, letter in self._letters.items()])] * bool(self._letters)


def overview(content: ReportContent) -> Section:
    """Rows x columns under each reading, the published number below ours."""
    footnotes = Footnotes()
    tables = {reading.name: overview_table(content, reading, footnotes) for reading in content.table.readings}
    return Section(
        "Scores", [Picture("scores", "score of each row, one dot a seed"), Switch(tables), *footnotes.parts()]
    )


def overview_table(content: ReportContent, reading: Reading, footnotes: Footnotes) -> TextTable:
    """Rows x columns under one reading."""
    lines: list[list[str | Entry]] = []
    for row in content.table.rows:
        cells = content.row(row)
        if not row.cited:
            lines.append([row.label, *(score_entry(content, cell, reading) for cell in cells)])
        if row.published:
            lines.append(
                [f"{row.label} (published)", *(published_text(content, cell, reading, footnotes) for cell in cells)]
            )
    return TextTable(["architecture", *(column.label for column in content.table.columns)], lines, caption=reading.name)


def aggregates(content: ReportContent) -> list[Section]:
    """The complete rows over all columns."""
    found = content.aggregates(content.headline)
    if not found:
        return []
    with_baseline = any(row.improvement for row in found)
    header = ["architecture", *AGGREGATES, "mean rank", *[f"P(better than {content.baseline})"] * with_baseline]
    lines = [
        [row.row.label, *map(Interval.text, row.values.values()), row.rank.text()]
        + [row.improvement.text(2) if row.improvement else NOTHING] * with_baseline
        for row in found
    ]
    text = (
        "Rows with all seeds on all columns. 95 % intervals: stratified bootstrap over seeds. Ranks are among these rows. "
        "A lower optimality gap and a lower rank are better."
    )
    return [Section(f"Over all columns, {content.headline.name}", [text, TextTable(header, lines)])]


def beside_baseline(content: ReportContent) -> list[Section]:
    """Each row minus the baseline."""
    if not content.baseline:
        return []
    lines = []
    for row in content.table.rows:
        found = [content.beside_baseline(cell, content.headline) for cell in content.row(row)]
        if any(found):
            lines.append([row.label, *(entry.interval.text(sign="+") if entry else NOTHING for entry in found)])
    header = ["architecture", *(column.label for column in content.table.columns)]
    text = "Mean paired difference over common seeds [95 % interval], in points of score."
    return [Section(f"Minus {content.baseline}, {content.headline.name}", [text, TextTable(header, lines)])]


def column_section(content: ReportContent, column: Column) -> Section:
    """One column: every row under every reading beside the published numbers, and the data."""
    table, headline, cells, footnotes = content.table, content.headline, content.column(column), Footnotes()
    best = content.comparison(column, headline)
    is_published = any(column.label in cell.row.published for cell in cells)
    with_std = any(column.label in cell.row.published_std for cell in cells)
    is_compared = bool(best and any(not entry.why_unknown for entry in best.differences.values()))
    header = ["architecture", *(reading.name for reading in table.readings)]
    header += [f"minus {best.best.row.label}", "seeds to tell apart"] * is_compared if best else []
    has_own = any(content.beside_row(cell, headline) for cell in cells)
    header += ["minus its own row"] * has_own
    header += ["published" + " ± std" * with_std] * is_published
    lines = []
    for cell in (cell for cell in cells if cell.trials or column.label in cell.row.published):
        line: list[str | Entry] = [cell.row.label, score_entry(content, cell, headline)]
        line += [reading_text(content, cell, reading) for reading in table.readings[1:]]
        if is_compared and best:
            line += difference_texts(best.differences.get(cell.row.label))
        if has_own:
            own = content.beside_row(cell, headline)
            line.append(f"{own.interval.text(sign='+')} ({cell.row.beside})" if own else NOTHING)
        if is_published:
            line.append(published_text(content, cell, None, footnotes))
        lines.append(line)
    parts: list[Part] = [Picture("scores", "score of each row, one dot a seed")] if len(table.columns) == 1 else []
    parts.append(TextTable(header, lines))
    parts += footnotes.parts()
    for data in column_data(cells):
        score = data_score(column.task, data)
        compared = "no score, because episodes go on after a success" if score is None else f"normalised {score:.1f}"
        parts.append(
            f"Data: {', '.join(data.ids)}; sha256 {data.sha256[:12]}; {data.episodes:,} episodes, "
            f"{data.steps:,} steps, mean return {data.return_mean:.1f} ({compared})."
        )
    return Section(column.label, parts)


def difference_texts(found: Difference | None) -> list[str]:
    """A row minus the best one, and how many seeds would tell them apart."""
    if found is None:
        return [NOTHING, NOTHING]
    if found.why_unknown or found.interval.n < LEAST_SEEDS:
        return [found.interval.text(sign="+"), NOTHING]
    seeds = seeds_needed(found.interval.value, found.std)
    return [found.interval.text(sign="+"), f"{seeds:,}" if seeds else "more than 10,000"]


def grids(content: ReportContent) -> list[Section]:
    """A pivot for each pair of axes, and a table for each axis of the families that have one."""
    table, headline, found = content.table, content.headline, []
    for pivot in pivots(table, content.cells, headline):
        lines = [
            [
                axis_text(down),
                *(grid_text(content, pivot.numbers.get((down, across))) for across in pivot.across_values),
            ]
            for down in pivot.down_values
        ]
        header = [f"{pivot.down} \\ {pivot.across}", *map(axis_text, pivot.across_values)]
        title = f"{pivot.family} on {pivot.column.label}: {pivot.down} x {pivot.across}{notes_of(pivot.fixed)}"
        found.append(Section(title, [TextTable(header, lines)]))
    single: dict[tuple[str, str], list[AxisCurve]] = {}
    for curve in axis_curves(table, content.cells, headline):
        if not curve.fixed:
            single.setdefault((curve.axis, curve.column.label), []).append(curve)
    for (axis, column), of_axis in single.items():
        values = list(dict.fromkeys(value for curve in of_axis for value in curve.points))
        lines = [
            [curve.family, *(grid_text(content, curve.points.get(value)) for value in values)] for curve in of_axis
        ]
        header = [axis, *map(axis_text, values)]
        found.append(Section(f"{axis} on {column}, {headline.name}", [TextTable(header, lines)]))
    if found:
        picture = Picture("grid", "score along the axes of the grid")
        found[0] = Section(found[0].title, [picture, *found[0].parts])
    return found


def grid_text(content: ReportContent, number: Interval | None) -> str:
    """A number of a grid. It says how many seeds it has, if some are missing."""
    if number is None:
        return NOTHING
    total = len(content.table.seeds)
    return number.text() + (f" ({number.n} of {total})" if 0 < number.n < total else "")


def curves() -> Section:
    """The learning curves."""
    return Section("Learning curves", [Picture("curves", "score over updates, one panel a column")])


def budget(content: ReportContent) -> list[Section]:
    """The expected best of n evaluations, and what each reading spends."""
    found = {cell.name: (cell, expected_best_curve(cell)) for cell in content.cells if cell.finished}
    most = max((len(curve) for _, curve in found.values()), default=0)
    counts = [n for n in BUDGETS if n <= most]
    if most < 2:
        return []
    lines = [
        [
            cell.row.label,
            cell.column.label,
            *(decimal(curve[n - 1].score) if n <= len(curve) else NOTHING for n in counts),
        ]
        for cell, curve in found.values()
    ]
    spent = []
    for reading in content.table.readings:
        points = {reading_point(cell, reading) for cell, _ in found.values()}
        numbers = sorted({(point.evaluations, point.episodes) for point in points if point})
        texts = [f"{counted(evaluations, 'evaluation')} ({episodes:,} episodes)" for evaluations, episodes in numbers]
        spent.append(f"{reading.name} spends {' or '.join(texts)} on a choice")
    text = (
        "Expected highest score among n evaluations in the environment, of all checkpoints, targets and seeds: the expected "
        "online performance of Kurenkov and Kolesnikov 2022 (arXiv 2110.04156), by the estimator of Tang et al. 2020 (arXiv "
        "2004.13705), which has no bias. Training is offline, and this choice is not."
    )
    bandit = (
        "The second part of the figure budget, where episodes are at hand: a UCB bandit spends single episodes on a choice "
        "among 8 policies, which it takes at random (Jackson et al. 2025, arXiv 2504.11453). Its band has 95 % of the bandits."
    )
    header = ["architecture", "data", *(f"n = {n:,}" for n in counts)]
    picture = Picture("budget", "score against the evaluations that are spent on choosing a policy")
    return [Section("Online budget", [text, picture, bandit, TextTable(header, lines, text_columns=2), Bullets(spent)])]


def asked(content: ReportContent) -> list[Section]:
    """The returns that were asked for and got, where rows were asked for several."""
    lines, misses = [], []
    found = {cell.name: (cell, content.asked(cell)) for cell in content.cells}
    if len({entry.target for _, entries in found.values() for entry in entries}) < 2:
        return []
    for cell, entries in found.values():
        for entry in entries:
            inside = "inside" if entry.inside else "outside"
            lines.append(
                [cell.row.label, cell.column.label, entry.target, f"{entry.asked:g}", entry.got.text(), inside]
            )
        if (miss := mean_miss(cell)) and miss.targets:
            low = "their mean return" if miss.low_is_mean else "their lowest return"
            misses.append(
                [cell.row.label, cell.column.label, ", ".join(miss.targets), miss.interval.text(),
                 f"{miss.low:.0f} ({low}) to {miss.high:.0f}"]
            )  # fmt: skip
    header = ["architecture", "data", "target", "asked", "got", "range of the data's returns"]
    parts: list[Part] = [
        "Undiscounted return at the last evaluation, mean over seeds [95 % interval].",
        Picture("asked", "return got against return asked for, with the diagonal"),
        TextTable(header, lines, text_columns=3),
    ]
    if misses:
        parts.append("Mean absolute miss of the targets inside the range of the data's returns, in units of return:")
        header = ["architecture", "data", "targets", "mean miss", "range"]
        parts.append(TextTable(header, misses, text_columns=3, caption="mean miss"))
    return [Section("Return asked for and return got", parts)]


def efficiency(content: ReportContent) -> Section:
    """Parameters, and parameters per point of score."""
    table = content.table
    printed = any(row.published_parameters for row in table.rows)
    header = ["architecture", "data", "parameters", *["published"] * printed, "parameters / score"]
    header += ["published parameters / published score"] * printed
    lines = []
    for cell in content.cells:
        count = content.parameters(cell)
        published = cell.row.published_parameters.get(cell.column.label)
        if count is None and published is None:
            continue
        line = [cell.row.label, cell.column.label, count.text() if count else NOTHING]
        line += [f"{published:,}" if published else NOTHING] * printed
        score = content.number(cell, content.headline).value
        line.append(decimal(parameters_per_score(count.counted if count else 0, score)))
        of_paper = cell.row.published.get(cell.column.label, math.nan)
        lines.append([*line, *[decimal(parameters_per_score(published or 0, of_paper))] * printed])
    picture = Picture("efficiency", "score against parameters")
    return Section("Parameter efficiency", [picture, TextTable(header, lines, text_columns=2)])


def score_entry(content: ReportContent, cell: Cell, reading: Reading) -> Entry:
    """72.1 [60.3, 83.9] (5), with its marks. (3 of 5) if trials are missing, - for a cited row, which has none."""
    total = len(cell.trials)
    if not total:
        return Entry(NOTHING)
    number = content.number(cell, reading)
    seeds = f"{number.n}" if number.n == total else f"{number.n} of {total}"
    level = " ≈" if content.is_level(cell, reading) else ""
    return Entry(f"{number.text()} ({seeds}){level}", content.is_best(cell, reading), cell)


def reading_text(content: ReportContent, cell: Cell, reading: Reading) -> Entry:
    """80.1 (+8.0 [2.1, 13.9]): the number, and what this reading adds to the headline."""
    if not cell.finished:
        return Entry(NOTHING)
    value = decimal(content.number(cell, reading).value)
    return Entry(
        f"{value} ({content.added(cell, reading).interval.text(sign='+')})", content.is_best(cell, reading), cell
    )


def published_text(content: ReportContent, cell: Cell, reading: Reading | None, footnotes: Footnotes) -> str:
    """68.4, with the letter of a note where it cannot be compared with this reading.

    Without a reading the note also says which reading it can be compared with.
    """
    of = next((r for r in content.table.readings if r.name == cell.row.published_reading), content.headline)
    found = content.published(cell, reading or of)
    if found is None:
        return NOTHING
    std = "" if found.std is None or reading else f" ± {found.std:g}"
    note = (
        f"not comparable: {found.why_not}" if found.why_not else "" if reading else f"comparable with {found.reading}"
    )
    return f"{found.value:g}{std}" + (f" {footnotes.mark(note)}" if note else "")


def decimal(value: float) -> str:
    """One digit after the point."""
    return NOTHING if math.isnan(value) else f"{value:.1f}"


def axis_text(value: object) -> str:
    """A value of an axis."""
    return (
        f"{value:g}"
        if isinstance(value, float)
        else ", ".join(map(str, value))
        if isinstance(value, tuple)
        else str(value)
    )


def notes_of(fixed: dict) -> str:
    """The axes that a pivot does not show."""
    return "".join(f", {axis} {axis_text(value)}" for axis, value in fixed.items())

"""The figures of a report: which there are, what they show, and that equal results give equal bytes."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from helpers import handmade_cells, handmade_results
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from test_layers import SOURCES, imported

from dmm.config import Row, Table, grid
from dmm.report.content import ReportContent
from dmm.report.figures.budget import budget
from dmm.report.figures.curves import curves
from dmm.report.figures.grid import grid as grid_figure
from dmm.report.figures.lines import Line, Lines, Panel, thinned
from dmm.report.figures.scores import order, scores
from dmm.report.figures.style import COLOURS, FEW, INK, stack, style
from dmm.report.plots import draw, png, svg
from dmm.results.score import summarise
from dmm.schema import EvaluationResult

SCORES = {"DT": [40, 45, 50], "DMM": [60, 70, 52], "BC": [30, None, 20], "cited": []}
NASTY = "$\\frac$ _<&>_"


def content(ends: dict, columns: Sequence[str] = ("medium",), seeds: int = 3) -> ReportContent:
    """A report of rows that end at these scores in each column."""
    table = handmade_cells.table(list(ends), columns, seeds)
    return ReportContent(table, handmade_cells.summaries_of(table, dict.fromkeys(columns, ends)))


def content_of_grid(*rows: Row) -> ReportContent:
    """A report of a grid. The number of a row ends at 10 times its place, and the last row has no result."""
    table = replace(handmade_cells.table(["x"]), rows=rows)
    ends = {row.label: [10.0 * i] * 3 for i, row in enumerate(rows[:-1])}
    return ReportContent(table, handmade_cells.summaries_of(table, {"medium": ends}))


def episodes(table: Table) -> dict[str, list[EvaluationResult]]:
    """The episodes behind `content(SCORES)`."""
    found = {}
    for row in table.rows:
        for trial, score in zip(table.cell(row, table.columns[0]), SCORES[row.label], strict=True):
            last = score or 0.0
            made = handmade_results.result(trial, {1.0: [last - 20, last + 10, last], 0.5: [0.0, 0.0, last / 2]})
            found[trial.returns_id] = made.evaluations
    return found


def lines_of(axes: Axes, label: str) -> list[np.ndarray]:
    """The points of the lines of this label."""
    return [np.asarray(line.get_xydata()) for line in axes.lines if line.get_label() == label]


def texts(figure: Figure) -> list[str]:
    """All texts of a figure's SVG."""
    return ["".join(node.itertext()) for node in ET.fromstring(svg(figure)).iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture(scope="module")
def made() -> ReportContent:
    return content(SCORES)


@pytest.fixture(scope="module")
def figures(made) -> dict[str, Figure]:
    return draw(made, episodes(made.table))


def test_a_table_without_axes_has_all_figures_but_the_grid(figures):
    assert list(figures) == ["scores", "curves", "budget", "asked", "efficiency"]


def test_a_row_has_one_dot_a_finished_seed_and_a_cited_row_has_its_published_number(figures):
    (axes,) = figures["scores"].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["DMM", "cited", "DT", "BC"]
    dots = [sorted(points[:, 0].round(6)) for points in lines_of(axes, "seeds")]
    assert dots == [[52, 60, 70], [], [40, 45, 50], [20, 30]]
    assert [points[0, 0] for points in lines_of(axes, "published")] == [50]
    assert "n = 2 to 3 seeds" in figures["scores"].get_suptitle()
    assert "published, not comparable with last" in texts(figures["scores"])


def test_rows_of_several_columns_are_in_the_tables_order():
    made = content(SCORES, ("medium", "expert"))
    assert [row.label for row in order(made)] == list(SCORES)


def test_a_curve_is_the_mean_over_seeds(figures):
    (axes,) = figures["curves"].axes
    (dt,) = lines_of(axes, "DT")
    assert dt[:, 0].tolist() == [10, 20, 30] and dt[:, 1] == pytest.approx([25, 55, 45])
    assert len(axes.collections) == 3  # a band each


def test_the_budget_has_a_second_line_of_panels_where_episodes_are_given(made, figures):
    expected, bandit = figures["budget"].axes
    (line,) = lines_of(expected, "DT")
    assert line[:, 0].tolist() == [*range(1, 19)] and line[-1, 1] == pytest.approx(60)
    (line,) = lines_of(bandit, "DT")
    assert line[-1, 0] == 36
    with style():
        assert len(budget(made, None).axes) == 1


def test_what_was_got_stands_above_what_was_asked_for(figures):
    (axes,) = figures["asked"].axes
    (dt,) = lines_of(axes, "DT")
    assert dt == pytest.approx(np.array([[1800, handmade_results.raw(22.5)], [3600, handmade_results.raw(45)]]))
    low, high = axes.get_ylim()
    assert low < dt[:, 1].min() and dt[:, 1].max() < high


def test_every_row_with_parameters_is_named(figures):
    assert {"DT", "DMM", "BC"} <= set(texts(figures["efficiency"]))


def test_printed_numbers_alone_have_a_figure():
    table = handmade_cells.table(["DT"])
    row = replace(table.rows[0], published={"medium": 68.4}, published_parameters={"medium": 727_695})
    found = draw(ReportContent(replace(table, rows=(row,)), {}))
    assert list(found) == ["scores", "efficiency"]
    (axes,) = found["efficiency"].axes
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[727_695, 68.4]]]
    assert "no trial is finished" in found["efficiency"].get_suptitle()


@pytest.mark.parametrize("ends", [{"DT": [40.0]}, {"DT": [40, None], "DMM": [None, None]}])
def test_one_seed_and_failed_trials_are_drawn(ends):
    found = draw(content(ends, seeds=len(ends["DT"])))
    (axes,) = found["scores"].axes
    assert len(lines_of(axes, "seeds")) == 1 and not found["curves"].axes[0].collections
    assert svg(found["curves"]).startswith(b"<svg")


def test_a_single_evaluation_at_one_target_has_no_budget():
    made = handmade_cells.table(["DT"], seeds=1)
    table = replace(made, protocol=made.protocol.with_overrides(num_evaluations=1, targets=(1.0,)))
    (trial,) = table.trials()
    summary = summarise(handmade_results.result(trial, {1.0: [40.0]}))
    found = draw(ReportContent(table, {trial.returns_id: summary}))
    assert list(found) == ["scores", "curves", "efficiency"]


def test_many_rows_are_small_multiples_with_one_highlighted_over_grey_others():
    labels = [f"row {i}" for i in range(FEW + 1)]
    lines = [Line(label=label, x=[1, 2], y=[0, i], low=[0, 0], high=[1, 1]) for i, label in enumerate(labels)]
    few = Lines(panels=[Panel("a", lines[:-1], lambda axes: None)], labels=labels[:-1], x="x", y="y")
    many = Lines(panels=[Panel("a", lines, lambda axes: None)], labels=labels, x="x", y="y")
    with style():
        (panel,) = stack("few", [few], few.legend()).axes
        assert len({line.get_color() for line in panel.lines}) == len(COLOURS) == FEW
        panels = stack("many", [many], many.legend()).axes
    assert [axes.get_title() for axes in panels] == labels
    assert all(len({line.get_color() for line in axes.lines}) == 2 for axes in panels)
    assert len({axes.get_ylim() for axes in panels}) == 1


def test_a_long_line_is_thinned_and_keeps_its_ends():
    line = Line(label="x", x=range(1, 1001), y=range(1000), low=range(1000), high=range(1000))
    kept = thinned(line, 20)
    assert len(kept) <= 20 and kept[0] == 0 and kept[-1] == 999 and 1 in kept


def test_two_axes_make_a_heat_map_and_one_axis_makes_a_line():
    rows = (
        *grid(Row(label="DMM", arch="metamamba"), width=(16, 32, 128)),
        *grid(Row(label="DT", arch="dt"), width=(16, 32), context_length=(4, 8)),
    )
    with style():
        figure = grid_figure(content_of_grid(*rows))
    heat, curve, _ = sorted(figure.axes, key=lambda axes: ["DT, medium", "medium", ""].index(axes.get_title()))
    assert [text.get_text() for text in heat.texts] == ["30.0", "40.0", "50.0"]
    assert [patch.get_hatch() for patch in heat.patches] == ["////"]
    assert curve.get_xscale() == "log"
    (line,) = lines_of(curve, "DMM")
    assert line.tolist() == [[16, 0], [32, 10], [128, 20]]


def test_a_family_is_one_line_over_parameters_and_its_points_have_the_values_of_the_axis():
    found = content_of_grid(*grid(Row(label="DT", arch="dt"), width=(16, 32, 48)), Row(label="none", arch="bc"))
    figure = draw(found)["efficiency"]
    (line,) = (line for line in figure.axes[0].lines if line.get_marker() == "" and len(line.get_xdata()) == 3)
    assert line.get_ydata().tolist() == [0, 10, 20] and sorted(line.get_xdata()) == line.get_xdata().tolist()
    assert {"16", "32", "48", "DT"} <= set(texts(figure)) and "DT, width 16" not in texts(figure)
    assert "by width" in figure.get_suptitle()


def test_a_wide_interval_does_not_set_the_scale():
    (axes,) = draw(content({"DT": [40, 60], "DMM": [45, 55]}, seeds=2))["curves"].axes  # intervals of +-127 and +-64
    assert axes.get_ylim()[0] > -20 and axes.get_ylim()[1] < 120


def test_targets_far_above_all_returns_are_on_a_log_axis_and_the_diagonal_leaves_the_panel():
    table = handmade_cells.table(["DT"])
    protocol = table.protocol.with_overrides(targets=(1.0, 20.0))
    table = replace(table, protocol=protocol)
    found = {
        result.id: summarise(result)
        for trial in table.trials()
        for result in [handmade_results.result(trial, {1.0: [1, 2, 50], 20.0: [1, 2, 55]})]
    }
    (axes,) = draw(ReportContent(table, found))["asked"].axes
    assert axes.get_xscale() == "log" and axes.get_ylim()[1] < 5000 < axes.get_xlim()[1]


def test_equal_results_give_equal_bytes(made, figures):
    with style():
        again = scores(content(SCORES))
    assert svg(again) == svg(figures["scores"]) and png(again) == png(figures["scores"])
    assert png(figures["scores"])[:8] == b"\x89PNG\r\n\x1a\n"


def test_svg_has_the_pages_colour_and_no_background(figures):
    for figure in figures.values():
        text = svg(figure).decode()
        assert INK not in text and "currentColor" in text and "<metadata" not in text
        assert not re.search(r"fill: (#fff|white)", text)


def test_a_label_stays_text():
    with style():
        figure = curves(content({NASTY: [1, 2, 3], "_hidden": [4, 5, 6]}, (f"{NASTY} data",)))
    shown = texts(figure)
    assert NASTY in shown and " _hidden" in shown and f"{NASTY} data" in shown


def test_a_report_without_figures_does_not_load_matplotlib():
    loaded, found = {"dmm.report.files"}, ["dmm.report.files"]
    for name in found:  # it grows
        new = set(imported(SOURCES.get(name, ""), SOURCES, when_loaded=True)) - loaded
        loaded |= new
        found += new
    assert "dmm.report.plots" in loaded and not any(name.startswith("matplotlib") for name in loaded)

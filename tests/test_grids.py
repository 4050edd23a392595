"""Grids: pivots and curves of cells made by hand."""

import math
from dataclasses import replace

import pytest
from helpers import handmade_results as handmade

from dmm.config import LAST, PAPER_MAX, Row, Table, grid
from dmm.results.grids import axis_curves, family_of, pivots
from dmm.results.score import gather_cells, summarise


def number_of(row: Row) -> float:
    """A made score: 10 times the context length, and the width."""
    return 10 * row.axes.get("context_length", 0) + row.axes.get("width", 0) / 100


def gathered(table: Table, without: str = ""):
    """The cells of a table. Seed 1 is 2 above seed 0. A row may have no trials yet."""
    found = {
        trial.returns_id: summarise(
            handmade.result(trial, {target: [number_of(row) + 2 * trial.seed] for target in (1.0, 0.5)})
        )
        for row in table.rows
        for column in table.columns
        for trial in table.cell(row, column)
        if row.label != without
    }
    return gather_cells(table, found)


DT = Row(label="DT, of the paper", arch="dt")
TWO = replace(
    handmade.TABLE,
    rows=(
        *grid(DT, context_length=(4, 8), width=(64, 32)),
        *grid(Row(label="DMM", arch="metamamba"), context_length=(8, 2), width=(32,)),
        Row(label="BC", arch="bc"),
    ),
)


def test_a_family_is_the_row_that_the_grid_varied():
    assert [family_of(row) for row in TWO.rows] == ["DT, of the paper"] * 4 + ["DMM"] * 2 + ["BC"]
    assert {family_of(row) for row in grid(grid(DT, width=(32,))[0], layers=(1, 2))} == {"DT, of the paper"}


def test_a_pivot_has_both_axes_in_the_order_of_the_table():
    dt, dmm = pivots(TWO, gathered(TWO), LAST)
    assert (dt.family, dt.down, dt.down_values, dt.across, dt.across_values, dt.fixed) == (
        "DT, of the paper", "context_length", (4, 8), "width", (64, 32), {},
    )  # fmt: skip
    values = {point: found.value for point, found in dt.numbers.items()}
    assert values == pytest.approx({(4, 64): 41.64, (4, 32): 41.32, (8, 64): 81.64, (8, 32): 81.32})
    found = dt.numbers[4, 64]
    assert found.n == 2 and found.high - found.value == pytest.approx(12.7062 * 2**0.5 / 2**0.5)
    assert (dmm.family, dmm.down_values, dmm.across_values, dmm.column.label) == ("DMM", (8, 2), (32,), "hopper-medium")


def test_a_third_axis_is_never_averaged():
    table = replace(handmade.TABLE, rows=grid(DT, context_length=(4, 8), width=(32, 64), layers=(1, 2)))
    found = pivots(table, gathered(table), LAST)
    assert [(pivot.down, pivot.across, pivot.fixed) for pivot in found] == [
        ("context_length", "width", {"layers": 1}),
        ("context_length", "width", {"layers": 2}),
        ("context_length", "layers", {"width": 32}),
        ("context_length", "layers", {"width": 64}),
        ("width", "layers", {"context_length": 4}),
        ("width", "layers", {"context_length": 8}),
    ]
    assert all(len(pivot.numbers) == 4 for pivot in found)


def test_a_curve_runs_along_one_axis_for_each_value_of_the_others():
    found = axis_curves(TWO, gathered(TWO), LAST)
    assert [(curve.family, curve.axis, curve.fixed) for curve in found] == [
        ("DT, of the paper", "context_length", {"width": 64}),
        ("DT, of the paper", "context_length", {"width": 32}),
        ("DT, of the paper", "width", {"context_length": 4}),
        ("DT, of the paper", "width", {"context_length": 8}),
        ("DMM", "context_length", {"width": 32}),
        ("DMM", "width", {"context_length": 8}),
        ("DMM", "width", {"context_length": 2}),
    ]
    assert {value: round(point.value, 2) for value, point in found[1].points.items()} == {4: 41.32, 8: 81.32}


def test_one_axis_has_a_curve_and_no_pivot():
    table = replace(handmade.TABLE, rows=grid(DT, width=(32, 64)))
    cells = gathered(table)
    assert pivots(table, cells, LAST) == [] and len(axis_curves(table, cells, LAST)) == 1
    assert not axis_curves(table, cells, PAPER_MAX)[0].points[32].known
    assert axis_curves(handmade.TABLE, gathered(handmade.TABLE), LAST) == []


def test_points_that_are_not_run_yet_are_nan_and_points_without_a_row_are_left_out():
    label = "DT, of the paper, context_length 4, width 32"
    dt, _ = pivots(TWO, gathered(TWO, without=label), LAST)
    assert math.isnan(dt.numbers[4, 32].value) and dt.numbers[4, 32].n == 0 and dt.numbers[4, 64].n == 2
    part = replace(TWO, rows=tuple(row for row in TWO.rows if row.label != label))
    dt, _ = pivots(part, gathered(part), LAST)
    assert (4, 32) not in dt.numbers and len(dt.numbers) == 3

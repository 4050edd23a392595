"""Rows beside rows and readings beside readings, all paired by seed: cells made by hand."""

import math
from dataclasses import replace

import pytest
from helpers import handmade_cells as cells_by_hand
from helpers import handmade_results as handmade
from scipy import stats

from dmm.config import BEST, LAST, PAPER_MAX, Reading
from dmm.results.aggregates import aggregate_rows, complete_rows, score_matrix
from dmm.results.asked import data_range, mean_miss, target_returns
from dmm.results.comparison import (
    cell_interval,
    compare_column,
    compare_with,
    difference,
    paired_difference,
)
from dmm.results.score import gather_cells, summarise

A, B, C = [40.0, 60.0, 80.0], [39.0, 58.0, 78.0], [10.0, 90.0, 50.0]


def test_a_cell_has_the_interval_over_its_seeds():
    (cell,) = cells_by_hand.cells({"a": A})
    found = cell_interval(cell, LAST)
    expected = stats.ttest_1samp(A, 0).confidence_interval(0.95)
    assert found.value == pytest.approx(60) and (found.low, found.high) == pytest.approx(tuple(expected))
    assert cell.seed_scores(LAST) == pytest.approx({0: 40, 1: 60, 2: 80})


def test_a_maximum_over_seeds_has_a_number_and_no_interval():
    (cell,) = cells_by_hand.cells({"a": A})
    found = cell_interval(cell, PAPER_MAX)
    assert found.value == pytest.approx(90) and found.n == 3 and not found.known


def test_paired_differences_are_those_of_the_paired_t_test():
    one, other = {0: 3.0, 1: 5.0, 2: 4.0, 7: 9.0}, {7: 7.0, 2: 4.5, 1: 3.0, 0: 2.0}
    found = paired_difference(one, other)
    test = stats.ttest_rel([3.0, 5.0, 4.0, 9.0], [2.0, 3.0, 4.5, 7.0])
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert found.interval.value == pytest.approx(1.125) and found.std == pytest.approx(1.1814539)
    assert found.told_apart is bool(test.pvalue < 0.05)


@pytest.mark.parametrize("shift", [0.5, 1.0, 1.5, 2.0, 2.5])
def test_rows_are_told_apart_where_the_paired_t_test_says_so(shift):
    one, other = [4.0, 6.0, 9.0, 5.0, 7.0], [3.0 + shift, 6.0, 8.0, 4.0 - shift, 5.0]
    found = paired_difference(dict(enumerate(one)), dict(enumerate(other)))
    assert found.told_apart is bool(stats.ttest_rel(one, other).pvalue < 0.05)


def test_only_common_seeds_count():
    found = paired_difference({0: 1.0, 1: 2.0, 2: 99.0}, {1: 1.0, 2: 98.0, 3: 5.0})
    assert (found.interval.value, found.interval.n) == (1.0, 2)
    one = paired_difference({0: 1.0, 1: 5.0}, {1: 3.0, 2: 3.0})
    assert (one.interval.value, one.interval.n, one.told_apart) == (2.0, 1, False)
    assert one.why_unknown == "one common finished seed" and math.isnan(one.std)
    nothing = paired_difference({0: 1.0}, {1: 1.0})
    assert nothing.why_unknown == "no common finished seed" and math.isnan(nothing.interval.value)


def test_equal_rows_are_not_told_apart_and_equal_differences_are():
    scores = {0: 0.1, 1: 70.3, 2: 45.0}
    assert not paired_difference(scores, scores).told_apart
    shifted = {seed: score + 8 for seed, score in {0: 1.0, 1: 2.0}.items()}
    assert paired_difference(shifted, {0: 1.0, 1: 2.0}).told_apart


def test_the_best_row_and_those_that_cannot_be_told_from_it():
    cells = cells_by_hand.cells({"far": [20.0, 41.0, 61.0], "a": A, "near": B, "noisy": C, "cited": []})
    found = compare_column(cells, LAST)
    assert found.best.row.label == "a" and list(found.differences) == ["far", "near", "noisy"]
    # near is 1, 2 and 2 lower: t = -5, p = 0.038. The intervals over seeds of the two rows overlap nearly wholly
    assert found.differences["near"].interval.value == pytest.approx(-5 / 3) and found.differences["near"].told_apart
    assert found.differences["far"].told_apart and found.not_told_apart == ["noisy"]


def test_of_equal_rows_the_first_is_the_best():
    found = compare_column(cells_by_hand.cells({"a": A, "b": A}), LAST)
    assert found.best.row.label == "a" and found.not_told_apart == ["b"]


def test_a_row_that_lacks_a_seed_is_never_the_best():
    cells = cells_by_hand.cells({"lucky": [95.0, 96.0, None], "a": A, "alone": [99.0, None, None]})
    found = compare_column(cells, LAST)
    assert found.best.row.label == "a"
    assert found.differences["lucky"].interval.n == 2 and found.not_told_apart == ["lucky"]
    assert found.differences["alone"].why_unknown == "one common finished seed"
    assert compare_column([cell for cell in cells if cell.row.label != "a"], LAST) is None


def test_one_seed_tells_nothing_apart():
    found = compare_column(cells_by_hand.cells({"a": [50.0], "b": [1.0]}, seeds=1), LAST)
    assert found.best.row.label == "a" and not found.not_told_apart
    assert found.differences["b"].why_unknown == "one common finished seed"


def test_a_maximum_over_seeds_has_a_best_row_and_nothing_to_tell_it_apart():
    found = compare_column(cells_by_hand.cells({"a": A, "b": B}), PAPER_MAX)
    assert found.best.row.label == "a" and not found.not_told_apart
    other = found.differences["b"]
    assert other.interval.value == pytest.approx(-2) and not other.interval.known
    assert other.why_unknown == "'max over everything' is a maximum over seeds"


def test_a_base_row_can_be_any():
    cells = cells_by_hand.cells({"a": A, "b": B, "cited": []})
    found = compare_with(cells, cells[1], LAST)
    assert list(found) == ["a"] and found["a"].interval.value == pytest.approx(5 / 3)


def test_readings_of_the_same_trials_add_to_the_headline():
    (cell,) = cells_by_hand.cells({"a": A})  # the best evaluation of each trial is 10 above the last
    mean = Reading(name="all targets", target="mean")
    last, best, highest, targets = (difference(cell, reading, cell, LAST) for reading in (LAST, BEST, PAPER_MAX, mean))
    assert last.interval.value == 0 and not last.told_apart
    assert best.interval.value == pytest.approx(10) == best.interval.low and best.told_apart
    assert highest.interval.value == pytest.approx(30) and highest.why_unknown
    assert targets.interval.value == pytest.approx(-15)
    assert difference(cell, LAST, cell, BEST).interval.value == pytest.approx(-10)


def test_a_reading_that_the_runs_cannot_give_is_an_error():
    one, other = cells_by_hand.cells({"a": A, "b": B})
    with pytest.raises(ValueError, match="'far' wants target x2; the trials were asked for x1, x0.5"):
        difference(one, Reading(name="far", target=2.0), other, LAST)


def two_columns(failed: bool = False):
    table = cells_by_hand.table(["a", "b", "c", "cited"], ["medium", "expert"])
    scores = {
        "medium": {"a": A, "b": B, "c": C},
        "expert": {"a": [100.0, 110.0, 120.0], "b": [90.0, 109.0, 119.0], "c": [0.0, 1.0, None if failed else 2.0]},
    }
    return table, gather_cells(table, cells_by_hand.summaries_of(table, scores))


def test_aggregates_over_columns():
    table, cells = two_columns()
    a, b, c = aggregate_rows(table, cells, LAST, baseline="b")
    assert a.row.label == "a" and score_matrix(cells, a.row, LAST).shape == (3, 2)
    assert a.values["mean"].value == pytest.approx(85) and a.values["median"].value == pytest.approx(85)
    assert a.values["IQM"].value == pytest.approx((60 + 80 + 100 + 110) / 4)
    assert a.values["optimality gap"].value == pytest.approx(100 - (40 + 60 + 80 + 300) / 6)
    assert [found.rank.value for found in (a, b, c)] == [1.0, 2.0, 3.0]
    assert b.improvement.value == 0.5 and c.improvement.value < 0.5
    wins = 6 / 9, 6 / 9  # of the pairs of seeds: 40, 60, 80 beside 39, 58, 78, and 100, 110, 120 beside 90, 109, 119
    assert a.improvement.value == pytest.approx(sum(wins) / 2)
    assert all(found.known and found.n == 3 for found in a.values.values())


def test_only_complete_rows_are_aggregated():
    table, cells = two_columns(failed=True)
    assert [row.label for row in complete_rows(table, cells)] == ["a", "b"]
    found = aggregate_rows(table, cells, LAST, baseline="c")
    assert [entry.row.label for entry in found] == ["a", "b"] and found[0].improvement is None
    assert [entry.rank.value for entry in found] == [1.0, 2.0]
    only = [cell for cell in cells if cell.row.label == "c"]
    assert aggregate_rows(replace(table, rows=(only[0].row,)), only, LAST) == []


@pytest.mark.parametrize("baseline", ["aa", "cited"])
def test_a_baseline_that_is_no_row_with_trials_is_an_error(baseline):
    table, cells = two_columns()
    with pytest.raises(ValueError, match=f"unknown baseline {baseline!r}; table handmade has a, b, c"):
        aggregate_rows(table, cells, LAST, baseline)


def test_a_maximum_over_seeds_is_not_aggregated():
    table, cells = two_columns()
    with pytest.raises(
        ValueError, match="'max over everything' is a maximum over seeds; aggregates need a score for each"
    ):
        aggregate_rows(table, cells, PAPER_MAX)


def asked_cell(low: float | None):
    """A cell of two seeds that were asked for 3600 and 1800. The data's mean is 1642, and their highest return 3200."""
    table = cells_by_hand.table(["a"], seeds=2)
    found = {}
    for trial, got in zip(table.trials(), [50.0, 60.0], strict=True):
        summary = summarise(handmade.result(trial, {1.0: [got], 0.5: [got]}))
        found[trial.returns_id] = replace(summary, data=replace(summary.data, return_min=low))
    return gather_cells(table, found)[0]


def test_the_miss_counts_targets_inside_the_datas_range():
    cell = asked_cell(low=10.0)
    misses = [abs(1800 - handmade.raw(50)), abs(1800 - handmade.raw(60))]
    found = mean_miss(cell)
    assert found.targets == ("x0.5",) and (found.low, found.high, found.low_is_mean) == (10.0, 3200.0, False)
    assert found.interval.value == pytest.approx(sum(misses) / 2) and found.interval.n == 2
    high, low = target_returns([cell])[0]
    assert (high.target, high.asked, high.inside) == ("x1", 3600.0, False) and low.inside
    assert high.got.value == pytest.approx(handmade.raw(55)) and high.got.known


def test_the_miss_says_where_its_range_begins():
    assert data_range(asked_cell(low=None)) == (1642.0, 3200.0, True)
    assert mean_miss(asked_cell(low=None)).targets == ("x0.5",)
    outside = mean_miss(asked_cell(low=1900.0))
    assert outside.targets == () and math.isnan(outside.interval.value) and outside.low == 1900.0


def test_a_cell_without_finished_trials_has_no_miss():
    cell = replace(asked_cell(low=None), summaries=[None, None])
    assert data_range(cell) is None and mean_miss(cell) is None and target_returns([cell])[0] == []
    assert math.isnan(cell_interval(cell, LAST).value)

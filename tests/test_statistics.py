"""Statistics of arrays against scipy, against numbers by hand, and against simulated data."""

import math

import numpy as np
import pytest
from scipy import stats

from dmm.results.power import paired_power, seeds_needed
from dmm.results.statistics import (
    AGGREGATES,
    aggregate,
    iqm_of_runs,
    mean_interval,
    mean_of_runs,
    mean_ranks,
    optimality_gap,
    probability_of_improvement,
)


def bounds(interval) -> tuple[float, float]:
    return interval.low, interval.high


def test_few_seeds_have_the_interval_of_students_t():
    found = mean_interval([10.0, 20.0, 60.0])
    assert (found.value, found.n, found.method) == (30.0, 3, "Student's t")
    # s = sqrt((400 + 100 + 900) / 2) = 26.4575, and t(0.975, 2) = 4.3027
    assert bounds(found) == pytest.approx((30 - 4.3026527 * 26.457513 / 3**0.5, 30 + 4.3026527 * 26.457513 / 3**0.5))
    expected = stats.ttest_1samp([10.0, 20.0, 60.0], 0).confidence_interval(0.95)
    assert bounds(found) == pytest.approx(tuple(expected))


def test_nine_seeds_have_students_t_and_ten_have_the_bootstrap():
    values = np.random.default_rng(0).normal(50, 10, 10).tolist()
    assert mean_interval(values[:9]).method == "Student's t"
    found = mean_interval(values)
    assert found.method == "BCa bootstrap" and found.low < found.value < found.high
    assert found == mean_interval(values)  # seeded
    half = stats.sem(values) * stats.t.ppf(0.975, 9)
    assert (found.high - found.low) / (2 * half) == pytest.approx(0.85, abs=0.1)


def test_the_bootstrap_of_a_long_tail_reaches_further_into_the_tail():
    found = mean_interval((-np.random.default_rng(0).exponential(10, 30)).tolist())
    assert found.value - found.low > 1.1 * (found.high - found.value)


@pytest.mark.parametrize(("values", "n"), [([], 0), ([7.0], 1)])
def test_one_seed_has_no_interval(values, n):
    found = mean_interval(values)
    assert found.n == n and not found.known and not found.excludes_zero
    assert math.isnan(found.low) and math.isnan(found.high)
    assert math.isnan(found.value) if n == 0 else found.value == 7.0


@pytest.mark.parametrize("seeds", [2, 9, 10, 12])
def test_equal_seeds_have_an_interval_of_no_width(seeds):
    assert bounds(mean_interval([0.1] * seeds)) == pytest.approx((0.1, 0.1))


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_refused(wrong):
    with pytest.raises(ValueError, match=f"a score is {wrong}; statistics need finite scores"):
        mean_interval([1.0, wrong, 2.0])
    matrix = np.array([[1.0, 2.0], [wrong, 3.0]])
    for call in (lambda: aggregate(matrix, iqm_of_runs), lambda: mean_ranks(matrix[None])):
        with pytest.raises(ValueError, match="a score is"):
            call()
    with pytest.raises(ValueError, match="a score is"):
        probability_of_improvement(np.ones((2, 2)), matrix)


@pytest.mark.parametrize(("seeds", "at_least", "at_most"), [(3, 0.93, 0.97), (12, 0.89, 0.96)])
def test_intervals_of_simulated_seeds_cover_their_mean(seeds, at_least, at_most):
    draws = np.random.default_rng(1).normal(50, 20, (400 if seeds < 10 else 250, seeds))
    covered = np.mean([found.low <= 50 <= found.high for found in map(mean_interval, draws.tolist())])
    assert at_least <= covered <= at_most


def test_the_stratified_bootstrap_of_three_seeds_is_a_little_narrow():
    draws = np.random.default_rng(2).normal(50, 20, (250, 3, 9))
    covered = np.mean([found.low <= 50 <= found.high for found in (aggregate(d, mean_of_runs) for d in draws)])
    assert 0.83 <= covered <= 0.94


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean", 57.5),
        ("IQM", (20 + 40 + 60 + 80) / 4),  # of 8 runs without the two lowest and the two highest
        ("median", (50 + 20) / 2),  # of the columns' means: 20, 50, 10, 150
        ("optimality gap", 100 - (10 + 30 + 20 + 80 + 0 + 20 + 100 + 100) / 8),  # what is above 100 counts as 100
    ],
)
def test_aggregates_by_hand(name, expected):
    scores = np.array([[10.0, 20.0, 0.0, 140.0], [30.0, 80.0, 20.0, 160.0]])
    if name == "IQM":
        scores = np.array([[0.0, 20.0, 60.0, 500.0], [10.0, 40.0, 80.0, 400.0]])
    found = aggregate(scores, AGGREGATES[name])
    assert found.value == pytest.approx(expected) and found.n == 2 and found.method == "stratified bootstrap"
    assert found.low <= found.value <= found.high


def test_the_gap_of_an_expert_is_0_and_that_of_a_random_policy_is_100():
    assert optimality_gap(np.full((2, 3), 100.0)) == 0 and optimality_gap(np.zeros((2, 3))) == 100
    assert optimality_gap(np.full((2, 3), 120.0)) == 0


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([[3.0], [3.0], [3.0]], (3.0, 3.0)),
        ([[0.0], [10.0]], (0.0, 10.0)),  # both draws alike: a quarter of the resamples each
        ([[0.0, 100.0], [0.0, 100.0]], (50.0, 50.0)),  # columns apart: no resample has two of one column
    ],
)
def test_the_bootstrap_resamples_the_seeds_of_each_column(scores, expected):
    assert bounds(aggregate(np.array(scores), mean_of_runs)) == pytest.approx(expected)


def test_aggregates_of_one_seed_have_no_interval():
    found = aggregate(np.array([[1.0, 3.0]]), mean_of_runs)
    assert found.value == 2.0 and not found.known


def test_statistics_of_a_batch_are_those_of_its_members():
    batch = np.random.default_rng(0).normal(50, 40, (3, 5, 4))
    for statistic in AGGREGATES.values():
        assert statistic(batch) == pytest.approx([float(statistic(scores)) for scores in batch])


def test_ranks_by_hand():
    first, second, third = mean_ranks(np.array([[[5.0, 1.0]] * 3, [[5.0, 2.0]] * 3, [[0.0, 3.0]] * 3]))
    # the first two are equal in the first column: ranks 1.5, 1.5, 3. In the second column 3, 2, 1
    assert (first.value, second.value, third.value) == (2.25, 1.75, 2.0)
    assert bounds(first) == (2.25, 2.25)


def test_ranks_draw_the_same_seeds_for_all_rows():
    row = np.array([[0.0], [50.0], [100.0]])
    better, worse = mean_ranks(np.stack([row + 1, row]))  # better with every seed
    assert bounds(better) == (1.0, 1.0) and bounds(worse) == (2.0, 2.0)
    assert [rank.known for rank in mean_ranks(np.zeros((2, 1, 3)))] == [False, False]


@pytest.mark.parametrize(
    ("scores", "baseline", "expected"),
    [
        ([[3.0], [4.0]], [[1.0], [2.0]], 1.0),
        ([[1.0], [3.0]], [[2.0], [3.0]], (0 + 0 + 1 + 0.5) / 4),
        ([[5.0, 0.0], [5.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]], 0.5),  # better in one of two columns
    ],
)
def test_probability_of_improvement_by_hand(scores, baseline, expected):
    found = probability_of_improvement(np.array(scores), np.array(baseline))
    assert found.value == expected and found.low <= expected <= found.high


def test_probability_of_improvement_is_mann_whitneys():
    x, y = np.random.default_rng(0).normal(size=(7, 1)), np.random.default_rng(1).normal(0.5, size=(5, 1))
    found = probability_of_improvement(x, y)
    assert found.value == pytest.approx(stats.mannwhitneyu(x.ravel(), y.ravel()).statistic / 35)
    assert found.n == 5 and 0 <= found.low < found.value < found.high <= 1
    assert probability_of_improvement(x, x).value == 0.5
    assert not probability_of_improvement(x, y[:1]).known


def test_probability_of_improvement_has_the_interval_of_a_plain_bootstrap():
    x, y = np.random.default_rng(3).normal(0.3, size=(6, 4)), np.random.default_rng(4).normal(size=(6, 4))
    rng, found = np.random.default_rng(5), probability_of_improvement(x, y)
    columns, plain = np.arange(4), []
    for _ in range(2000):
        one, other = (scores[rng.integers(6, size=(6, 4)), columns] for scores in (x, y))
        plain.append((one[:, None] > other).mean())
    assert bounds(found) == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])), abs=0.02)


@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_needed_are_those_of_the_published_tables(effect, seeds):
    # G*Power 3.1, means of matched pairs, two-sided, alpha 0.05, power 0.8
    assert seeds_needed(effect * 7, 7.0) == seeds_needed(-effect * 7, 7.0) == seeds


def test_seeds_needed_at_the_edges():
    assert seeds_needed(0.0, 1.0) is None and seeds_needed(0.01, 1.0) is None
    assert seeds_needed(5.0, 0.0) == 2 and seeds_needed(1e6, 1.0) == 2
    with pytest.raises(ValueError, match="must be finite"):
        seeds_needed(math.nan, 1.0)
    with pytest.raises(ValueError, match="0 or more"):
        seeds_needed(1.0, -1.0)
    with pytest.raises(ValueError, match="two or more seeds; there is 1"):
        paired_power(1.0, 1)


def test_the_power_is_the_share_of_simulated_experiments():
    draws = np.random.default_rng(6).normal(1.2, 1.0, (600, 6))
    found = np.mean([mean_interval(row).excludes_zero for row in draws.tolist()])
    assert found == pytest.approx(paired_power(1.2, 6), abs=0.05)

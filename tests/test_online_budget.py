"""The online budget: the expected best of n evaluations, the bandit, and the episodes that a reading spends."""

import math
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from helpers import handmade_cells as cells_by_hand
from helpers import handmade_results as handmade

from dmm.base.paths import home
from dmm.config import BEST, LAST, PAPER_MAX, Reading
from dmm.results.episodes import arm_scores, check_episodes, episodes_here
from dmm.results.online_budget import (
    bandit_curve,
    evaluation_scores,
    expected_best,
    expected_best_curve,
    reading_point,
)
from dmm.results.score import gather_cells, summarise


def test_the_expected_best_of_three_numbers_by_hand():
    scores = np.array([4.0, 1.0, 10.0])
    # pairs: 1 and 4, 1 and 10, 4 and 10 have 4, 10, 10
    assert expected_best(scores) == pytest.approx([5.0, 8.0, 10.0])
    # with replacement, two of three: 1 with 1/9, 4 with 3/9, 10 with 5/9. Three of three: 1/27, 7/27, 19/27
    assert expected_best(scores, replacement=True) == pytest.approx([5.0, (1 + 12 + 50) / 9, (1 + 28 + 190) / 27])


def test_the_expected_best_is_the_mean_over_all_choices():
    scores = np.array([3.0, 3.0, -8.0, 12.5, 0.0, 7.0])  # with a tie
    for n in range(1, 7):
        plain = np.mean([max(chosen) for chosen in combinations(scores, n)])
        assert expected_best(scores)[n - 1] == pytest.approx(plain)
        again = np.mean([max(chosen) for chosen in product(scores, repeat=n)])
        assert expected_best(scores, replacement=True)[n - 1] == pytest.approx(again)


def test_the_expected_best_of_many_evaluations_rises_to_the_highest():
    scores = np.random.default_rng(0).normal(50, 20, 400)
    best = expected_best(scores)
    assert best[0] == pytest.approx(scores.mean()) and best[-1] == pytest.approx(scores.max())
    assert (np.diff(best) >= -1e-9).all() and (expected_best(scores, replacement=True) <= best + 1e-9).all()


@pytest.mark.parametrize(
    ("scores", "said"), [([], "one or more evaluations; there is none"), ([1.0, math.nan], "a score is nan")]
)
def test_the_expected_best_wants_finite_scores(scores, said):
    with pytest.raises(ValueError, match=said):
        expected_best(np.array(scores))


def cell():
    """Two seeds with two targets and three evaluations of two episodes."""
    return cells_by_hand.cells({"a": [40.0, 60.0]}, seeds=2)[0]


def test_all_checkpoints_targets_and_seeds_of_a_cell_are_policies():
    scores = evaluation_scores(cell())
    assert sorted(scores) == pytest.approx([0, 0, 0, 0, 20, 20, 30, 40, 40, 50, 60, 70])
    curve = expected_best_curve(cell())
    assert [(point.evaluations, point.episodes) for point in curve[:2]] == [(1, 2), (2, 4)]
    assert curve[0].score == pytest.approx(scores.mean()) and (curve[-1].episodes, len(curve)) == (24, 12)
    assert expected_best_curve(replace(cell(), summaries=[None, None])) == []


@pytest.mark.parametrize(
    ("reading", "evaluations", "score"),
    [
        (LAST, 1, 50.0),
        (BEST, 3, 60.0),
        (Reading(name="targets", target="max"), 2, 50.0),
        (Reading(name="mean", target="mean", checkpoint="average", average_last=2), 4, None),
        (Reading(name="seeds", seeds="max"), 2, 60.0),
        (PAPER_MAX, 12, 70.0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_reading_spends_the_evaluations_that_it_looks_at(reading, evaluations, score):
    point = reading_point(cell(), reading)
    assert (point.evaluations, point.episodes) == (evaluations, 2 * evaluations)
    assert score is None or point.score == pytest.approx(score)


def test_the_rule_of_decision_metamamba_spends_200_evaluations_of_100_episodes():
    protocol = handmade.PROTOCOL.with_overrides(
        num_evaluations=10, episodes_per_evaluation=100, targets=(1.0, 2.0, 3.0, 4.0), updates=30
    )
    table = replace(cells_by_hand.table(["a"], seeds=5), protocol=protocol)
    found = {}
    for trial in table.trials():
        made = summarise(handmade.result(trial, {target: [1.0] for target in (1.0, 2.0, 3.0, 4.0)}))
        found[trial.returns_id] = made
    point = reading_point(gather_cells(table, found)[0], PAPER_MAX)
    assert (point.evaluations, point.episodes) == (200, 20_000)


def test_the_rule_of_the_highest_of_all_is_the_end_of_the_curve():
    end, rule = expected_best_curve(cell())[-1], reading_point(cell(), PAPER_MAX)
    assert (end.evaluations, end.episodes) == (rule.evaluations, rule.episodes)
    assert end.score == pytest.approx(rule.score)
    assert reading_point(replace(cell(), summaries=[None, None]), PAPER_MAX) is None


def test_a_bandit_without_noise_finds_the_best_arm_after_one_pull_of_each():
    arms = np.repeat([[10.0], [50.0], [30.0], [-5.0]], 6, axis=1)
    curve = bandit_curve(arms, episodes=40)
    assert curve.score[0] == pytest.approx(arms.mean(), abs=4) and curve.arms == 4
    assert (curve.score[3:] == 50).all() and (curve.low[3:] == 50).all() and (curve.high[3:] == 50).all()
    assert len(curve.score) == 40 and (np.diff(curve.score[:4]) > 0).all()


def test_after_two_pulls_the_bandit_has_the_better_of_two_arms():
    arms = np.repeat(np.array([[1.0], [4.0], [10.0]]), 2, axis=1)
    curve = bandit_curve(arms, episodes=3)
    assert curve.score == pytest.approx(expected_best(np.array([1.0, 4.0, 10.0])), abs=0.6)


def test_a_bandit_with_noise_comes_near_the_best_arm_and_is_seeded():
    rng = np.random.default_rng(0)
    arms = rng.normal(rng.uniform(20, 60, (12, 1)), 15, (12, 30))
    curve, again = bandit_curve(arms, 300), bandit_curve(arms, 300)
    assert (curve.score == again.score).all() and (curve.low <= curve.high).all()
    best = arms.mean(1).max()
    assert curve.score[-1] > best - 3 and curve.score[-1] > curve.score[12] and (curve.high <= best).all()


def test_a_bandit_prefers_no_arm_that_it_has_not_tried():
    curve = bandit_curve(np.full((5, 4), -40.0), 5)
    assert (curve.score == -40).all()


def test_a_bandit_of_some_arms_ends_at_the_expected_best_of_so_many():
    scores = np.arange(10.0)
    curve = bandit_curve(np.repeat(scores[:, None], 3, axis=1), episodes=30, subsample=4)
    assert curve.arms == 4 and curve.score[-1] == pytest.approx(expected_best(scores)[3], abs=0.5)
    assert curve.low[-1] < curve.score[-1] < curve.high[-1]


@pytest.mark.parametrize(
    ("arms", "episodes", "subsample"),
    [(np.ones((3, 2)), 5, 4), (np.ones((3, 2)), 5, 0), (np.ones((3, 2)), 0, None), (np.ones((0, 0)), 5, None)],
)
def test_a_bandit_that_cannot_choose_is_an_error(arms, episodes, subsample):
    with pytest.raises(ValueError, match="cannot choose among"):
        bandit_curve(arms, episodes, subsample)


def test_episodes_are_read_from_the_files_of_trials_and_only_when_asked():
    results = handmade.results()
    for result in results[:3]:
        handmade.write(result, home() / "trials")
    summaries = {result.id: summarise(result) for result in results}
    found = episodes_here(summaries, handmade.TABLE.trials())
    assert found == {result.id: result.evaluations for result in results[:3]}
    dt, _ = gather_cells(handmade.TABLE, summaries)
    arms = arm_scores(dt, found)
    assert arms.shape == (2 * 2 * 3, 2)
    # episodes are 5 below and 5 above the mean, in units of return
    assert arms[0] == pytest.approx([5 - 500 / 3254.572305, 5 + 500 / 3254.572305])
    assert bandit_curve(arms, 20).arms == 12
    assert arm_scores(dt, {}).shape == (0, 0)


def test_episodes_of_other_runs_are_refused():
    first, second, *_ = handmade.results()
    with pytest.raises(ValueError, match=f"the episodes of trial {first.id} do not have the means of its summary"):
        check_episodes(summarise(first), second.evaluations)
    with pytest.raises(ValueError, match="do not have the means"):
        check_episodes(summarise(first), first.evaluations[:-1])

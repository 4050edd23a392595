"""A cell's number under each Reading, and statistics over seeds: rows made by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from helpers import handmade_results as handmade

from dmm.config import BEST, LAST, PAPER_MAX, Reading
from dmm.results.score import (
    data_score,
    finished,
    gather_cells,
    over_seeds,
    parameters_per_score,
    summarise,
    trial_score,
)
from dmm.results.statistics import iqm
from dmm.schema import Seconds, TrialSummary, from_json, to_json
from dmm.tasks import find_task

TRIALS = handmade.TABLE.trials()
SEED_0 = {1.0: [10.0, 40.0, 30.0], 0.5: [20.0, 5.0, 60.0]}  # scores of three evaluations, by target
SEED_1 = {1.0: [0.0, 10.0, 20.0], 0.5: [2.0, 4.0, 6.0]}
BELOW = {1.0: [-3.0, -2.0, -1.0], 0.5: [-9.0, -9.0, -9.0]}


def cell_score(summaries, reading, task):
    """The number of trials that are not in a cell."""
    return over_seeds(
        tuple(trial_score(found, reading, task) for found in finished(summaries)), reading, len(summaries)
    )


def summary(scores: dict, **changes) -> TrialSummary:
    return summarise(handmade.result(TRIALS[0], scores, **changes))


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        (LAST, 30.0),
        (BEST, 40.0),
        (PAPER_MAX, 60.0),
        (Reading(name="w", checkpoint="average", average_last=2), 35.0),
        (Reading(name="low", target=0.5), 60.0),
        (Reading(name="all", target="mean"), 45.0),
        (Reading(name="best of all", checkpoint="best", target="mean"), 50.0),
        (Reading(name="window of all", checkpoint="average", average_last=2, target="max"), 35.0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_one_trial(reading, expected):
    assert trial_score(summary(SEED_0), reading, handmade.HOPPER) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reading", "value", "std"),
    [
        (LAST, 25.0, math.sqrt(50)),  # 30 and 20: deviations of 5, squared and summed 50, by n - 1 = 1
        (BEST, 30.0, math.sqrt(200)),
        (PAPER_MAX, 60.0, None),
        (Reading(name="low", target=0.5), 33.0, math.sqrt(2 * 27**2)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_two_seeds(reading, value, std):
    score = cell_score([summary(SEED_0), summary(SEED_1)], reading, handmade.HOPPER)
    assert (score.n, score.of) == (2, 2)
    assert score.value == pytest.approx(value)
    assert math.isnan(score.std) if std is None else score.std == pytest.approx(std)


def test_the_floor_counts_for_each_seed_before_their_mean():
    summaries = [summary(SEED_1), summary(BELOW)]
    assert cell_score(summaries, LAST, handmade.HOPPER).value == pytest.approx((20 - 1) / 2)
    assert cell_score(summaries, Reading(name="f", floor=0.0), handmade.HOPPER).value == pytest.approx((20 + 0) / 2)
    assert cell_score([summary(BELOW)], PAPER_MAX, handmade.HOPPER).value == 0


def test_only_finished_trials_count():
    trials = [summary(SEED_0), summary(SEED_1, status="running"), summary(SEED_1, status="failed", error="x"), None]
    score = cell_score(trials, LAST, handmade.HOPPER)
    assert (score.value, score.n, score.of) == (pytest.approx(30.0), 1, 4) and math.isnan(score.std)
    nothing = cell_score(trials[1:], LAST, handmade.HOPPER)
    assert (nothing.n, nothing.of) == (0, 3) and math.isnan(nothing.value) and math.isnan(nothing.std)


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        (Reading(name="far", target=2.0), "'far' wants target x2; the trials were asked for x1, x0.5"),
        (Reading(name="long", checkpoint="average", average_last=4), "'long' wants 4 evaluations; the trials have 3"),
    ],
)
def test_a_reading_of_what_was_not_evaluated_is_an_error(reading, said):
    with pytest.raises(ValueError, match=said):
        cell_score([summary(SEED_0)], reading, handmade.HOPPER)


def test_a_summary_is_small_and_survives_json():
    found = summary(SEED_0, error="e" * 9000, status="failed")
    assert from_json(TrialSummary, json.loads(json.dumps(to_json(found)))) == found
    assert not hasattr(found, "loss") and not hasattr(found, "evaluations") and len(found.error) == 2000
    assert found.asked == {"x1": 3600.0, "x0.5": 1800.0}
    assert found.curve["x0.5"] == [(10, handmade.raw(20.0)), (20, handmade.raw(5.0)), (30, handmade.raw(60.0))]
    assert found.seconds == Seconds(train=12.0, rollout=4.5) and found.parameters == 700000


def test_gather_refuses_two_data_hashes_and_names_them():
    results = {found.id: summarise(found) for found in handmade.results()}
    found = results[TRIALS[1].returns_id]
    results[TRIALS[1].returns_id] = replace(found, data=replace(found.data, sha256="0ddba11" * 8))
    with pytest.raises(ValueError, match=r"0ddba110ddba \(DMM seed 0\), 5ca1ab1e5ca1"):
        gather_cells(handmade.TABLE, results)


def test_gather_wants_a_finished_trial():
    with pytest.raises(ValueError, match="handmade has no finished trial among 4 yet$"):
        gather_cells(handmade.TABLE, {})
    failed = summary(SEED_0, status="failed", error="FloatingPointError: the loss is nan")
    with pytest.raises(ValueError, match="failed: FloatingPointError: the loss is nan"):
        gather_cells(handmade.TABLE, {TRIALS[0].returns_id: failed})


@pytest.mark.parametrize(
    ("parameters", "score", "printed"),
    [(727695, 68.4, 10638.8), (1858307, 89.7, 20716.9), (537478, 79.8, 6735.3), (110467, 96.5, 1144.7)],
)
def test_parameters_per_score_is_the_papers_ratio(parameters, score, printed):
    assert round(parameters_per_score(parameters, score), 1) == printed


def test_parameters_per_score_wants_a_positive_score():
    assert math.isnan(parameters_per_score(1000, 0.0)) and math.isnan(parameters_per_score(1000, -1.0))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([1, 2, 3, 4], 2.5),
        ([0, 10, 20, 1000], 15.0),
        ([5, 5, 5, 5, 5, 5, 5, -1000], 5.0),
        ([8, 1, 7, 2, 6, 3, 5, 4], 4.5),
    ],
)
def test_iqm(row, expected):
    assert iqm(np.array(row, float)) == pytest.approx(expected)


def test_data_that_go_on_after_a_success_have_no_score():
    data = handmade.result(TRIALS[0], SEED_0).training.data
    assert data_score(handmade.HOPPER, data) == pytest.approx(51.1, abs=0.1)
    maze = find_task("antmaze-umaze-robotics")
    assert data_score(maze, replace(data, return_mean=0.5, return_max=1.0)) == 50
    assert data_score(maze, replace(data, return_mean=152.0, return_max=423.0)) is None

"""The online budget: the score that a number of episodes in the environment buys, when they are spent on choosing a policy.

A policy is a checkpoint at a target with a seed. Learning is offline, but choosing the best of many policies is not. A paper
that prints the best of 4 targets, 10 checkpoints and 5 seeds has spent 200 evaluations of 100 episodes.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dmm.config import Reading
from dmm.results.score import Cell
from dmm.results.statistics import LEVEL, check_finite

REPEATS = 200  # of the bandit


@dataclass(frozen=True)
class BudgetPoint:
    """A score, and what was spent online to choose its policy."""

    evaluations: int
    episodes: int
    score: float


@dataclass(frozen=True, eq=False)
class BanditCurve:
    """The score of the policy that the bandit would choose after each episode. Entry i is after i + 1 episodes."""

    score: Float[np.ndarray, " episodes"]  # mean over repeats
    low: Float[np.ndarray, " episodes"]  # the central 95 % of repeats
    high: Float[np.ndarray, " episodes"]
    arms: int  # policies that each repeat chooses from


def expected_best(scores: Float[np.ndarray, " N"], replacement: bool = False) -> Float[np.ndarray, " N"]:
    """The expected highest score among n of N evaluations, for n = 1 to N, in the unit of the scores.

    With x(1) <= ... <= x(N) it is the sum over i of x(i) P(the highest is x(i)). P is C(i - 1, n - 1) / C(N, n) for n different
    evaluations. This estimate has no bias (Tang et al. 2020, arXiv 2004.13705), and at n = N it is the highest score. With
    replacement, P is (i / N)^n - ((i - 1) / N)^n. This is the expected online performance (EOP) of Kurenkov and Kolesnikov
    2022, arXiv 2110.04156, after Dodge et al. 2019. It is lower.

    An evaluation's score is itself a mean over episodes, so the highest one is partly luck. `bandit_curve` has less of it.
    Raises ValueError without a score, or if a score is not finite.
    """
    check_finite(scores)
    count = len(scores)
    if not count:
        raise ValueError("the expected best needs one or more evaluations; there is none")
    ordered, ranks = np.sort(scores), np.arange(1, count + 1)
    if replacement:
        return np.array([math.fsum(ordered * ((ranks / count) ** n - ((ranks - 1) / count) ** n)) for n in ranks])
    best, chances = [], np.full(count, 1 / count)
    for n in ranks:
        best.append(math.fsum(ordered * chances))  # rounded once. The order of BLAS's sums depends on the processor
        if n < count:  # C(i - 1, n) / C(N, n + 1) from C(i - 1, n - 1) / C(N, n)
            chances = chances * (ranks - n).clip(0) * (n + 1) / n / (count - n)
    return np.array(best)


def evaluation_scores(cell: Cell) -> Float[np.ndarray, " N"]:
    """The score of every evaluation of a cell: all checkpoints, targets and seeds of its finished trials."""
    task = cell.column.task
    return np.array(
        [
            task.normalised_score(point.mean_return)
            for found in cell.finished
            for curve in found.curve.values()
            for point in curve
        ]
    )


def expected_best_curve(cell: Cell, replacement: bool = False) -> list[BudgetPoint]:
    """`expected_best` of the evaluations of a cell, from 1 evaluation to all, in points. Empty without a finished trial."""
    if not cell.finished:
        return []
    best = expected_best(evaluation_scores(cell), replacement)
    episodes = cell.trials[0].evaluation.episodes_per_evaluation
    return [BudgetPoint(n, n * episodes, float(score)) for n, score in enumerate(best, 1)]


def reading_point(cell: Cell, reading: Reading) -> BudgetPoint | None:
    """The number of a cell under a reading, and the evaluations that the reading looks at to choose one policy.

    The last evaluation is 1, the best is one for each checkpoint, and a mean of the last five is 5. One target is 1, and the
    best or the mean of all is one for each target. A maximum over seeds multiplies by the finished seeds. A mean over seeds
    repeats the choice, and does not choose. Decision MetaMamba's rule has 10 x 4 x 5 = 200. None without a finished trial.
    Raises ValueError if the trials were not evaluated as the reading wants.
    """
    if not cell.finished:
        return None
    evaluation = cell.trials[0].evaluation
    checkpoints = {"last": 1, "best": evaluation.num_evaluations, "average": reading.average_last}[reading.checkpoint]
    targets = len(evaluation.targets) if reading.target in ("max", "mean") else 1
    seeds = len(cell.finished) if reading.seeds == "max" else 1
    evaluations = checkpoints * targets * seeds
    return BudgetPoint(evaluations, evaluations * evaluation.episodes_per_evaluation, cell.score(reading).value)


def bandit_curve(
    arms: Float[np.ndarray, "arms stored"], episodes: int, subsample: int | None = None, exploration: float = 2.0
) -> BanditCurve:
    """The score of the policy that a UCB bandit holds for the best, after each of so many episodes.

    `arms` has the scores of the stored episodes of each policy: dmm/results/episodes.py. One pull of an arm draws one of them,
    with replacement. After t pulls the bandit takes the arm with the highest mean + sqrt(exploration ln(t) / pulls of the arm),
    and first takes each arm once, in random order. Its choice is the arm with the highest mean so far, and the choice's
    score is the mean of all stored episodes of that arm. This is the protocol of Jackson et al. 2025, arXiv 2504.11453, in
    points of score, with its exploration of 2. There each repeat takes 8 arms at random: `subsample=8`. Here all arms are
    taken, if nothing is given.

    The low and high values are the central 95 % of 200 repeats: the luck of one bandit. The paper draws the interval of the
    mean over repeats, which is narrower. Seeded: the same arms give the same curve.
    Raises ValueError if a score is not finite, or if there are no arms, or if a number is below 1 or above the number of arms.
    """
    check_finite(arms)
    most, stored = arms.shape
    size = most if subsample is None else subsample
    if not stored or not 1 <= size <= most or episodes < 1:
        raise ValueError(
            f"a bandit of {size} arms and {episodes} episodes cannot choose among {most} policies of {stored} episodes: "
            "it takes one or more of each, and at most all policies"
        )
    rng = np.random.default_rng(0)
    order = rng.permuted(np.tile(np.arange(most), (REPEATS, 1)), axis=1)[
        :, :size
    ]  # argmax takes the first of equal arms
    scores, repeats = arms.mean(1)[order], np.arange(REPEATS)
    pulls, sums = np.zeros(order.shape), np.zeros(order.shape)
    means = np.full(order.shape, -np.inf)  # an arm without a pull is never the best
    quantiles = np.empty((3, episodes))
    for t in range(1, episodes + 1):
        with np.errstate(divide="ignore", invalid="ignore"):
            bounds = np.where(pulls > 0, means + np.sqrt(exploration * math.log(t) / pulls), np.inf)
        arm = bounds.argmax(1)
        sums[repeats, arm] += arms[order[repeats, arm], rng.integers(stored, size=REPEATS)]
        pulls[repeats, arm] += 1
        means[repeats, arm] = sums[repeats, arm] / pulls[repeats, arm]
        chosen = scores[repeats, means.argmax(1)]
        quantiles[:, t - 1] = chosen.mean(), *np.quantile(chosen, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return BanditCurve(*quantiles, arms=size)

"""How many seeds tell two rows apart: the power of the paired t-test."""

import math

from dmm.results.statistics import LEVEL

POWER = 0.8  # the share of repetitions in which two rows are told apart
MOST = 10_000  # seeds. Nobody trains more


def paired_power(effect: float, seeds: int) -> float:
    """The probability that the 95 % interval of a mean difference excludes 0, on the side of the true difference.

    The effect is the true mean difference over the standard deviation of the differences of seeds. The statistic of the
    two-sided paired t-test follows the noncentral t distribution with n - 1 degrees of freedom and noncentrality
    effect * sqrt(n) (Cohen 1988). Raises ValueError for fewer than two seeds.
    """
    from scipy import stats

    if seeds < 2:
        raise ValueError(f"a paired t-test needs two or more seeds; there is {seeds}")
    edge = stats.t.ppf((1 + LEVEL) / 2, seeds - 1)
    return float(1 - stats.nct.cdf(edge, seeds - 1, abs(effect) * math.sqrt(seeds)))


def seeds_needed(difference: float, std: float) -> int | None:
    """The smallest number of seeds whose interval excludes 0 in 80 of 100 repetitions, for a true mean difference.

    `std` is the sample standard deviation of the paired differences, in the unit of the difference. It is an estimate: from
    three seeds, its 95 % interval reaches from half of it to six times it. None if more than 10,000 seeds are needed, or if
    the difference is 0. Raises ValueError if a number is not finite, or if the standard deviation is negative.
    """
    if not math.isfinite(difference) or not math.isfinite(std) or std < 0:
        raise ValueError(
            f"difference {difference} and standard deviation {std} must be finite, and the latter 0 or more"
        )
    if difference == 0:
        return None
    if std == 0:
        return 2
    effect = difference / std
    low, high = 1, 2  # low is too few
    while paired_power(effect, high) < POWER:
        if high >= MOST:
            return None
        low, high = high, min(2 * high, MOST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if paired_power(effect, middle) < POWER else (low, middle)
    return high

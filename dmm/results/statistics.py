"""Statistics over seeds and tasks: the interquartile mean and bootstrap intervals."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float


def iqm(scores: Float[np.ndarray, "*batch n"]) -> Float[np.ndarray, "*batch"]:
    """The interquartile mean over the last axis: the mean without the lowest and the highest quarter."""
    from scipy import stats  # its import takes a second, and `dmm status` does not need it

    return np.asarray(stats.trim_mean(scores, 0.25, axis=-1))


def bootstrap_interval(
    scores: Float[np.ndarray, "seeds tasks"],
    statistic: Callable,
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = 2000,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic of all scores, in their unit. Each task's seeds are resampled separately.

    Raises ValueError for fewer than two seeds.
    """
    from scipy import stats

    if len(scores) < 2:
        raise ValueError(f"a bootstrap over seeds needs two or more; there is {len(scores)}")
    found = stats.bootstrap(
        tuple(scores.T),
        lambda *tasks, axis: statistic(np.concatenate(tasks, axis=-1)),
        n_resamples=resamples,
        confidence_level=level,
        method="percentile",
        rng=rng,
    ).confidence_interval
    return float(found.low), float(found.high)

"""Seeds. Each random choice has a generator of its own, whose seed is derived from the trial's."""

import numpy as np


def derive_seed(*parts: int) -> int:
    """A seed from a tuple of integers, for example (trial seed, evaluation, episode)."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])

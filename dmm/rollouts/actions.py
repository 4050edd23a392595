"""From a model's prediction to an action. A box takes the prediction itself. A discrete action is chosen by logits."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int64

from dmm.batch import Spaces


class ActionChoice:
    """Chooses the actions of running episodes. Each episode draws from a generator of its own.

    So a draw depends on the episode's seed and step only, and not on the episodes beside it.
    """

    def __init__(self, spaces: Spaces, actions: str, seeds: Sequence[int]) -> None:
        self.spaces, self.generators = spaces, None
        if actions == "sampled":
            self.generators = [np.random.default_rng((seed, 2)) for seed in seeds]

    def __call__(self, predicted: Float[np.ndarray, "B outputs"]) -> Float[np.ndarray, "B A"] | Int64[np.ndarray, " B"]:
        """The actions as models see them: in [-1, 1], or numbers of discrete actions."""
        if not self.spaces.discrete:
            return predicted
        if self.generators is None:
            return predicted.argmax(1)
        return sample(predicted, np.array([generator.random() for generator in self.generators]))

    def in_units(self, actions: np.ndarray) -> np.ndarray:
        """Chosen actions in the environment's units. Numbers of discrete actions stay as they are."""
        return actions if self.spaces.discrete else self.spaces.to_box(actions)

    def drop_finished(self, running: Bool[np.ndarray, " B"]) -> None:
        """Drops the generators of episodes that are not running."""
        if self.generators is not None:
            self.generators = [generator for generator, runs in zip(self.generators, running, strict=True) if runs]


def sample(logits: Float[np.ndarray, "B V"], uniform: Float[np.ndarray, " B"]) -> Int64[np.ndarray, " B"]:
    """One action of each row's softmax, by the inverse of its distribution function at a uniform number in [0, 1)."""
    weights = np.exp(logits.astype(float) - logits.max(1, keepdims=True))
    totals = weights.cumsum(1)
    return (totals <= uniform[:, None] * totals[:, -1:]).sum(1)

"""Behaviour cloning (BC): an imitation of the policy that made the data. No return is asked for.

Paper: none of its own; the baseline of Chen et al. 2021, arXiv 2106.01345. They also fit it to the episodes of highest
    return (%BC: Protocol.top_fraction).
Official: the network is that of the TD3+BC actor in corl-team/CORL (eeeeef2).
Tokens: s
Mixers: none
Differs: kzl/decision-transformer clones with an MLP over all K states of a window. This model reads only the current state.
    It predicts an action for every state of a window, so a batch has up to K times as many states. context_length=1 is plain
    cloning.
Quirk: none.
Note: every other architecture should score higher than this baseline.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dmm.batch import Batch, Spaces
from dmm.layers import check_at_least_one
from dmm.models import DecisionModel


class BehaviourCloning(DecisionModel):
    """An MLP from a state to an action."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 256
        layers: int = 2  # hidden layers

        def __post_init__(self) -> None:
            check_at_least_one(self, "width", "layers")

    def __init__(self, config: Config, spaces: Spaces, context_length: int) -> None:
        super().__init__(config, spaces, context_length)
        inputs = [spaces.state_dim, *[config.width] * (config.layers - 1)]
        hidden = [layer for size in inputs for layer in (nn.Linear(size, config.width), nn.ReLU())]
        self.mlp = nn.Sequential(*hidden, nn.Linear(config.width, spaces.action_dim))

    def sees(self) -> dict[str, int]:
        return {"states": 0}

    def forward(self, batch: Batch) -> Float[Tensor, "B K A"]:
        return torch.tanh(self.mlp(batch.states))

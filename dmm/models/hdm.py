"""Hierarchical Decision Mamba (HDM).

Paper: Correia and Alexandre 2024, Hierarchical Decision Mamba, arXiv 2405.07943.
Official: meowatthemoon/HierarchicalDecisionMamba (42b1f0f).
Tokens: high (previous goal, s), low (goal, s, previous a)
Mixers: Mamba-1
Differs: actions are scaled from the environment's box to [-1, 1], so there is no factor for their range. One AdamW trains both
    levels. That is equivalent, because AdamW treats each parameter on its own. The gradients of the levels are clipped
    separately (`gradient_clip_groups`).
Quirk: goals are normalised states and pass a tanh. So no goal can be beyond one standard deviation (`goal_tanh`). The low
    level learns from the labels of dmm/data/goals.py, and acts on the goals of the high level. The goal before the first step
    is a raw zero in training and a normalised zero in rollouts (Protocol.pad_state, rollout_pad_state). The previous action
    is placed after the state of its step, as in decision_mamba_correia. Trunk and initialisation are also those of that
    model.
Note: `mlp` came into the repository after the paper. No return is asked for, so targets have no effect. There are no
    positions, no dropout and no mask.
"""

from dataclasses import dataclass

from torch import nn

from dmm.batch import Spaces
from dmm.layers import (
    HierarchicalModel,
    Level,
    MambaBlock,
    Trunk,
    check_at_least_one,
    scale_residual_projections,
    zero_biases,
)
from dmm.models import DecisionModel


class HierarchicalDecisionMamba(HierarchicalModel, DecisionModel):
    """A level that sets goals and a level that acts on them. `forward` returns actions and goals."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 128  # of each level; so is `layers`
        layers: int = 6
        mlp: bool = False  # a gated MLP in each block
        goal_tanh: bool = True

        def __post_init__(self) -> None:
            check_at_least_one(self, "width", "layers")

    needs = frozenset({"previous_actions", "goals", "previous_goals"})

    def __init__(self, config: Config, spaces: Spaces, context_length: int) -> None:
        super().__init__(config, spaces, context_length)
        self.high = MambaLevel(config, ("previous_goals", "states"), spaces, spaces.state_dim, config.goal_tanh)
        fields = ("goals", "states", "previous_actions")
        self.low = MambaLevel(config, fields, spaces, spaces.action_dim, tanh=True)
        zero_biases(self)
        scale_residual_projections(self, branches=config.layers)


class MambaLevel(Level):
    """Stock Mamba blocks. The tokens have neither positions nor a mask."""

    def __init__(
        self,
        config: HierarchicalDecisionMamba.Config,
        fields: tuple[str, ...],
        spaces: Spaces,
        output: int,
        tanh: bool,
    ) -> None:
        super().__init__(fields, spaces, config.width, tanh)
        self.embed_norm = nn.LayerNorm(config.width)
        self.blocks = Trunk(MambaBlock(config.width, config.mlp) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, eps=1e-5)
        self.head = nn.Linear(config.width, output)

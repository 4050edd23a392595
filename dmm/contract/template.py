"""A GRU over states, returns-to-go and previous actions. One step of an episode is one token.

A file is an architecture: it has one DecisionModel. `dmm check` says what the contract asks of it.
"""

from dataclasses import dataclass

import torch
from torch import nn

from dmm.batch import Batch, Spaces
from dmm.layers import Dropout, action_embedding, check_at_least_one, state_embedding
from dmm.models import DecisionModel


class TemplatePolicy(DecisionModel):
    needs = frozenset({"previous_actions"})  # the optional fields of Batch that the model reads

    @dataclass(frozen=True, kw_only=True)
    class Config:  # a table can override each field. All of them are part of a trial's id
        width: int = 128
        layers: int = 1
        dropout: float = 0.1

        def __post_init__(self) -> None:
            check_at_least_one(self, "width", "layers")

    def __init__(self, config: Config, spaces: Spaces, context_length: int) -> None:
        super().__init__(config, spaces, context_length)
        self.embed_states = state_embedding(spaces, config.width)
        self.embed_returns = nn.Linear(1, config.width)
        self.embed_actions = action_embedding(spaces, config.width)
        self.dropout = Dropout(config.dropout)  # unlike torch's, its masks do not depend on the number of workers
        self.gru = nn.GRU(config.width, config.width, config.layers, batch_first=True)
        self.head = nn.Linear(config.width, spaces.action_dim)

    def sees(self) -> dict[str, int]:
        """The entries that an action reads: field of Batch -> steps back to its latest entry. `dmm check` tests it."""
        return {"states": 0, "returns_to_go": 0, "previous_actions": 0}

    def forward(self, batch: Batch) -> torch.Tensor:
        """Predicts the action of every step [B K A], in [-1, 1]. Step k may read what is known before its action."""
        x = self.embed_states(batch.states) + self.embed_actions(batch.previous_actions)
        x = x + self.embed_returns(batch.returns_to_go.unsqueeze(2))  # B K H, H is the width
        x, _ = self.gru(self.dropout(x * batch.mask.unsqueeze(2)))  # padded steps are zeros
        return torch.tanh(self.head(x))

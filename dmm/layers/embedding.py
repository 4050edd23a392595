"""The two ends of a trunk: embeddings make tokens of a batch, and ActionHead reads actions off state tokens.

They are made for `Spaces`. So a model passes `spaces` on and does not look inside.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from dmm.batch import Batch, RecurrentState, Spaces
from dmm.layers.dropout import Dropout

TIME_STEPS = 1000  # entries of the learned time table; later steps share the last entry


def state_embedding(spaces: Spaces, width: int) -> nn.Module:
    """A module that embeds states [... S] into [... H]. Raises ValueError for frames."""
    return nn.Linear(spaces.state_dim, width)


def action_embedding(spaces: Spaces, width: int) -> nn.Module:
    """A module that embeds actions [... A] into [... H]. Raises ValueError for discrete actions."""
    return nn.Linear(spaces.action_dim, width)


class TokenEmbedding(nn.Module):
    """Embeds returns-to-go, states and actions, and interleaves them as R_1 s_1 a_1 R_2 s_2 a_2 ... R_K s_K.

    The last action is left out, because no prediction of a causal trunk reads it. A window of one step keeps it, so that
    every parameter has a gradient.
    """

    last_action = False  # True: the last action of a window is a token too

    def __init__(
        self,
        spaces: Spaces,
        width: int,
        dropout: float,
        time_table: bool = False,
        action_tokens: bool = True,  # False: R_1 s_1 R_2 ...; the embedding of actions is unused, as published
    ) -> None:
        super().__init__()
        self.returns_to_go = nn.Linear(1, width)
        self.states = state_embedding(spaces, width)
        self.actions = action_embedding(spaces, width)
        self.time = nn.Embedding(TIME_STEPS, width) if time_table else None
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)
        self.action_tokens = action_tokens

    def forward(self, batch: Batch, state: RecurrentState | None = None) -> Float[Tensor, "B T H"]:
        """The tokens of a batch.

        With a RecurrentState the batch has one step, and the tokens are the new ones: the previous action (except at the
        first step), the return-to-go and the state.
        """
        tokens = [self.returns_to_go(rearrange(batch.returns_to_go, "b k -> b k 1")), self.states(batch.states)]
        if self.action_tokens and state is None:
            tokens.append(self.actions(batch.actions))
        tokens = torch.stack(tokens, 2)  # B K m H, m tokens per step
        if self.time is not None:
            tokens = tokens + rearrange(self.time(batch.steps.clamp(max=TIME_STEPS - 1)), "b k h -> b k 1 h")
        tokens = rearrange(tokens, "b k m h -> b (k m) h")
        if self.action_tokens and state is None and batch.mask.shape[1] > 1 and not self.last_action:
            tokens = tokens[:, :-1]
        if state is not None:
            state.token_offset = 2 if state and self.action_tokens else 0
            if state.token_offset:
                action = self.actions(batch.previous_actions)  # B 1 H
                if self.time is not None:
                    action = action + self.time((batch.steps - 1).clamp(max=TIME_STEPS - 1))
                tokens = torch.cat([action, tokens], 1)
        return self.dropout(self.norm(tokens))

    def state_tokens(self, state: RecurrentState | None = None) -> slice:
        """The places of the state tokens in the sequence that `forward` returns for the same RecurrentState."""
        return slice(1, None, 3 if self.action_tokens else 2) if state is None else slice(-1, None)


class ActionHead(nn.Module):
    """Maps each state token to an action in [-1, 1]."""

    def __init__(self, width: int, spaces: Spaces) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, spaces.action_dim)

    def forward(self, x: Float[Tensor, "B K H"]) -> Float[Tensor, "B K A"]:
        """The actions of state tokens."""
        return torch.tanh(self.linear(self.norm(x)))

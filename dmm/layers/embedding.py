"""The two ends of a trunk: embeddings make tokens of a batch, and ActionHead reads actions off state tokens.

They are made for `Spaces`. So a model passes `spaces` on and does not look inside.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from dmm.base.fields import later
from dmm.batch import Batch, RecurrentState, Spaces
from dmm.kernels.conv import convolve_stacks
from dmm.layers.dropout import Dropout
from dmm.layers.initialisation import initialise

TIME_STEPS = 1000  # entries of the learned time table; later steps share the last entry


def state_embedding(spaces: Spaces, width: int, pixel_mean: float = 0.0) -> nn.Module:
    """A module that embeds states into [B K H]: vectors [B K S], or frames [B K+C-1 height width] of stacks of C.

    Raises ValueError if `pixel_mean` is given and states are vectors.
    """
    if spaces.has_frames:
        return PixelEncoder(spaces.states, width, pixel_mean)
    if pixel_mean:
        raise ValueError(f"pixel_mean={pixel_mean:g} needs frames; the states are vectors of {spaces.state_dim}")
    return nn.Linear(spaces.state_dim, width)


def action_embedding(spaces: Spaces, width: int) -> nn.Module:
    """A module that embeds actions into [... H]: those of a box [... A], or numbers of discrete ones [...]."""
    return nn.Embedding(spaces.actions, width) if spaces.discrete else nn.Linear(spaces.action_dim, width)


def word_table(spaces: Spaces, width: int) -> nn.Embedding:
    """GPT-2's table of words, which nothing reads: a row for each discrete action, or one row."""
    return nn.Embedding(spaces.actions if spaces.discrete else 1, width)


class PixelEncoder(nn.Module):
    """The three convolutions of Mnih et al. 2015 (Nature 518) over stacks of C frames, and a linear map to the width.

    Consecutive stacks share frames. The first convolution reads each frame once, so stacks are never made.
    """

    def __init__(self, stack: tuple[int, ...], width: int, pixel_mean: float = 0.0) -> None:
        super().__init__()
        frames, *size = stack
        self.pixel_mean = pixel_mean
        self.first = nn.Conv2d(frames, 32, 8, stride=4)
        self.second = nn.Conv2d(32, 64, 4, stride=2)
        self.third = nn.Conv2d(64, 64, 3)
        for conv in (self.first, self.second, self.third):
            size = [(side - kernel) // stride + 1 for side, kernel, stride in zip(size, conv.kernel_size, conv.stride)]
        if min(size) < 1:
            raise ValueError(
                f"frames of {stack[1]} x {stack[2]} are too small for the convolutions; 36 x 36 is the least"
            )
        self.linear = nn.Linear(64 * size[0] * size[1], width)

    def forward(self, frames: UInt8[Tensor, "B frames height width"]) -> Float[Tensor, "B K H"]:
        """The embeddings of K = frames - C + 1 stacks, the oldest first. Pixels are divided by 255, less `pixel_mean`."""
        weight, bias = self.first.weight, self.first.bias
        if self.pixel_mean and bias is not None:  # of a constant, a convolution without pads is the sum of its weights
            bias = bias - self.pixel_mean * weight.sum((1, 2, 3))
        x = convolve_stacks(frames, weight / 255, bias, self.first.stride[0]).relu_()
        x = self.third(self.second(x).relu_()).relu_()
        return self.linear(rearrange(x, "(b k) c h w -> b k (c h w)", b=len(frames)))


@dataclass(frozen=True, kw_only=True)
class TokenSettings:
    """The fields of a Config that say how tokens are made and how the ends of a model start. A Config inherits them."""

    # step: a table of the steps of an episode. window: two tables that start at zero, of the places in a window and of the
    # steps of an episode. The Atari scripts have these
    positions: Literal["step", "window", "none"] = later("step")
    global_steps: int = later(
        0
    )  # entries of the second table of "window"; later steps share the last. 0: no second table
    # published: all tokens of a window have the entry of its first step in training, and that of the step that acts in
    # rollouts. own: each token has the entry of its own step
    global_step: Literal["published", "own"] = later("published")
    token_norm: bool = later(True)  # a LayerNorm of all tokens
    squash: bool = later(False)  # tanh of the three embeddings
    # subtracted from pixels between 0 and 1. It is 0, as published. A grey background hides what moves before it, so training
    # has a long plateau. Pong's background is 0.34
    pixel_mean: float = later(0.0)
    # the parts that start at N(0, 0.02): the trunk; also head and action embedding; also the other Linears of embeddings
    init: Literal["trunk", "head", "all"] = later("trunk")

    def __post_init__(self) -> None:
        """Raises ValueError for fields that have no effect."""
        if self.global_steps < 0:
            raise ValueError(f"global_steps is {self.global_steps}; it must be at least 0")
        if self.global_steps and self.positions != "window":
            raise ValueError(f"global_steps={self.global_steps} needs positions='window'; they are {self.positions!r}")
        if not 0 <= self.pixel_mean <= 1:
            raise ValueError(f"pixel_mean is {self.pixel_mean}; pixels are from 0 to 1")
        if self.global_step != "published" and not self.global_steps:
            raise ValueError(f"global_step={self.global_step!r} needs global_steps; there are none")


# The Atari scripts of kzl/decision-transformer, and of DC and Ota after them. Their second table has an entry for every step
# of the longest episode of the data. These are more than most games last
ATARI: Mapping[str, Any] = {
    "layers": 6, "width": 128, "positions": "window", "global_steps": 4096, "token_norm": False, "squash": True,
    "init": "head",
}  # fmt: skip


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
        settings: TokenSettings = TokenSettings(positions="none"),
        context_length: int = 0,  # K. Only positions="window" reads it
        action_tokens: bool = True,  # False: R_1 s_1 R_2 ...; the embedding of actions is unused, as published
    ) -> None:
        super().__init__()
        self.returns_to_go = nn.Linear(1, width)
        self.states = state_embedding(spaces, width, settings.pixel_mean)
        self.actions = action_embedding(spaces, width)
        self.time = nn.Embedding(TIME_STEPS, width) if settings.positions == "step" else None
        self.places = self.global_steps = None
        if settings.positions == "window":
            self.places = nn.Embedding((3 if action_tokens else 2) * context_length + 1, width)
            nn.init.zeros_(self.places.weight)
        if settings.global_steps:
            self.global_steps = nn.Embedding(settings.global_steps, width)
            nn.init.zeros_(self.global_steps.weight)
        self.norm = nn.LayerNorm(width) if settings.token_norm else nn.Identity()
        self.dropout = Dropout(dropout)
        self.settings, self.action_tokens = settings, action_tokens

    def forward(self, batch: Batch, state: RecurrentState | None = None) -> Float[Tensor, "B T H"]:
        """The tokens of a batch.

        With a RecurrentState the batch has one step, and the tokens are the new ones: the previous action (except at the
        first step), the return-to-go and the state. Places in a window have no recurrent form.
        """
        states = self.states(batch.states) if batch.state_embeddings is None else batch.state_embeddings
        tokens = [self.returns_to_go(rearrange(batch.returns_to_go, "b k -> b k 1")), states]
        if self.action_tokens and state is None:
            tokens.append(self.actions(batch.actions))
        tokens = self.squashed(torch.stack(tokens, 2))  # B K m H, m tokens per step
        if self.time is not None:
            tokens = tokens + rearrange(self.time(batch.steps.clamp(max=TIME_STEPS - 1)), "b k h -> b k 1 h")
        if self.global_steps is not None:
            tokens = tokens + rearrange(self.global_steps(self.global_entries(batch)), "b k h -> b k 1 h")
        tokens = rearrange(tokens, "b k m h -> b (k m) h")
        if self.places is not None:
            tokens = tokens + self.places.weight[: tokens.shape[1]]
        if self.action_tokens and state is None and batch.mask.shape[1] > 1 and not self.last_action:
            tokens = tokens[:, :-1]
        if state is not None:
            assert self.places is None, "places in a window have no recurrent form"
            state.token_offset = 2 if state and self.action_tokens else 0
            if state.token_offset:
                action = self.squashed(self.actions(batch.previous_actions))  # B 1 H
                if self.time is not None:
                    action = action + self.time((batch.steps - 1).clamp(max=TIME_STEPS - 1))
                tokens = torch.cat([action, tokens], 1)
        return self.dropout(self.norm(tokens))

    def squashed(self, x: Tensor) -> Tensor:
        """The embeddings, squashed if the Config says so."""
        return torch.tanh(x) if self.settings.squash else x

    def global_entries(self, batch: Batch) -> Int64[Tensor, "B read"]:
        """The entry of each step [B K], or the one that all steps of a window share [B 1]."""
        steps = batch.steps
        if self.settings.global_step == "published":
            steps = steps.gather(1, rearrange(batch.mask.int().argmax(1), "b -> b 1"))
        return steps.clamp(max=self.settings.global_steps - 1).long()

    def when_acting(self, batch: Batch) -> Batch:
        """The batch with the steps that tokens have in rollouts. With `published` that of the last real step is all steps'."""
        if self.global_steps is None or self.settings.global_step != "published":
            return batch
        last = batch.steps.gather(1, rearrange(batch.last_step, "b -> b 1"))
        return replace(batch, steps=last.expand_as(batch.steps))

    def state_tokens(self, state: RecurrentState | None = None) -> slice:
        """The places of the state tokens in the sequence that `forward` returns for the same RecurrentState."""
        return slice(1, None, 3 if self.action_tokens else 2) if state is None else slice(-1, None)


class ActionHead(nn.Module):
    """Maps each state token to an action in [-1, 1], or to logits of discrete actions."""

    def __init__(self, width: int, spaces: Spaces) -> None:
        super().__init__()
        self.norm, self.discrete = nn.LayerNorm(width), spaces.discrete
        self.linear = nn.Linear(width, spaces.actions, bias=not spaces.discrete)

    def forward(self, x: Float[Tensor, "B K H"]) -> Float[Tensor, "B K A"]:
        """The actions or logits of state tokens."""
        x = self.linear(self.norm(x))
        return x if self.discrete else torch.tanh(x)


def initialise_ends(embed: TokenEmbedding, head: ActionHead, init: str) -> None:
    """Draws weights beside the trunk from N(0, 0.02), as TokenSettings.init says."""
    parts = {
        "trunk": (),
        "head": (head, embed.actions),
        "all": (head, embed.actions, embed.states, embed.returns_to_go),
    }
    for part in parts[init]:
        initialise(part)

"""Elastic Decision Transformer.

Paper: Wu, Wang and Hamaya 2023, Elastic Decision Transformer, arXiv 2307.02484.
Official: kristery/Elastic-DT (28a1336). Its class is based on an adaptation of a multi-game decision transformer.
Tokens: (s, R, a)
Mixers: softmax attention
Differs: float32 throughout, where the official code trains under float16 autocast. The next state of an episode's last step
    is that step's own state (Batch.next_states), where the official code reads the next observation of the dataset.
Quirk: no token may attend to a return token, except to that of the window's first step. A later return reaches only the
    action of its own step, by the residual stream. Rewards have an embedding and a head that are unused. They are counted.
    Dropout in attention acts on the output of the heads, not on the weights. Tokens have no dropout. Between its two passes
    the search feeds back the expectile returns, here and by default in the official function (preset "EDT, expectile"). The
    official evaluation script scripts/eval_edt.py always draws returns from the bins instead (preset "EDT, sampled"). It
    tilts their logits by 10 + 15, and on HalfCheetah by 10 + 1. So on HalfCheetah a table sets `inverse_temperature` to 11.
    Returns become bins with one bin width, and drawn bins become returns with another. So a drawn return is read as the bin
    below its own, unless that is the lowest.
Note: the official windows are padded on the right, so their first slot is the first real step. Here "first" means the first
    real step for padding on either side. No real step sees padding, so the side moves no number. The range of returns is
    that of D4RL's reference scores over the return scale. A table sets it per task.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from dmm.batch import Batch, RecurrentState, Spaces
from dmm.layers import (
    MLP,
    Attention,
    Trunk,
    action_embedding,
    attention_bias,
    check_at_least_one,
    check_divides,
    masked_mse,
    state_embedding,
)
from dmm.models import DecisionModel, acting

RARE = 0.15  # this share of the bins, the least likely ones, is never drawn: `top_percentile` in the official utils.py
TIME_STEPS = 4096  # entries of the time table; later steps share the last entry


class ElasticDecisionTransformer(DecisionModel):
    """A post-norm transformer that also predicts returns and next states. It acts on the history with the best return."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 512
        layers: int = 4
        heads: int = 4
        dropout: float = 0.1  # of the heads' output, and of the outputs of attention and MLP
        bins: int = 60  # of returns: return tokens hold a bin, and one head classifies bins
        return_low: float = -0.020272305  # return over the return scale of the first bin; the defaults are Hopper's
        return_high: float = 3.2343  # of the last bin
        expectile: float = 0.99
        state_weight: float = 1.0  # weights of the losses relative to that of actions
        expectile_weight: float = 0.5
        bin_weight: float = 0.001
        stride: int = acting(2)  # steps between the starts of the histories that are tried
        # 0: expectile returns are fed back. Else draws from bins tilted by this value
        inverse_temperature: float = acting(0.0)

        def __post_init__(self) -> None:
            check_at_least_one(self, "width", "layers", "heads", "stride")
            check_divides(self, "heads", "width")
            if self.bins < 2 or self.return_low >= self.return_high:
                raise ValueError(
                    f"{self.bins} bins of returns from {self.return_low} to {self.return_high}; there must be at least 2 bins, "
                    "with return_low below return_high"
                )
            if not 0 < self.expectile < 1:
                raise ValueError(f"expectile is {self.expectile}; it must be between 0 and 1")

    needs = frozenset({"next_states", "uniform_samples"})
    presets = {"EDT, expectile": {}, "EDT, sampled": {"inverse_temperature": 25.0}}

    def __init__(self, config: Config, spaces: Spaces, context_length: int) -> None:
        super().__init__(config, spaces, context_length)
        width = config.width
        self.embed_states = state_embedding(spaces, width)
        self.embed_returns = nn.Linear(1, width)
        self.embed_actions = action_embedding(spaces, width)
        self.embed_rewards = nn.Linear(1, width)
        self.embed_steps = nn.Embedding(TIME_STEPS, width)
        self.embed_norm = nn.LayerNorm(width)
        self.blocks = Trunk(Block(config) for _ in range(config.layers))
        self.bin_head = nn.Linear(width, config.bins)
        self.return_head = nn.Linear(width, 1)
        self.action_head = nn.Linear(width, spaces.action_dim)
        self.state_head = nn.Linear(width + spaces.action_dim, spaces.state_dim)
        self.reward_head = nn.Linear(width, 1)

    def unused_parameters(self) -> tuple[str, ...]:
        return "embed_rewards", "reward_head"

    def bins(self, returns: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """The bin of each return, 0 to bins - 1. Returns beyond the range are clipped to its ends."""
        low, high = self.config.return_low, self.config.return_high
        return (returns.clamp(low, high) - low) // ((high - low) / (self.config.bins - 1))

    def forward(
        self, batch: Batch, state: RecurrentState | None = None
    ) -> tuple[Float[Tensor, "B K A"], Float[Tensor, "B K S"], Float[Tensor, "B K bins"], Float[Tensor, "B K"]]:
        """Actions, next states, logits of the bin of the return, and the expectile of the return."""
        half = self.config.bins / 2
        returns = (self.bins(batch.returns_to_go) - half) / half  # B K, in [-1, 1)
        tokens = [
            self.embed_states(batch.states),
            self.embed_returns(rearrange(returns, "b k -> b k 1")),
            self.embed_actions(batch.actions),
        ]
        x = torch.stack(tokens, 2) + rearrange(
            self.embed_steps(batch.steps.clamp(max=TIME_STEPS - 1)), "b k h -> b k 1 h"
        )
        x = self.embed_norm(rearrange(x, "b k m h -> b (k m) h"))  # B T H, T = 3 K
        first = batch.mask & (batch.mask.cumsum(1) == 1)
        seen = torch.stack([batch.mask, first, batch.mask], 2)  # B K 3
        bias = attention_bias(rearrange(seen, "b k m -> b (k m)"), x)
        states, returns, _ = rearrange(self.blocks(x, bias), "b (k m) h -> m b k h", m=3)  # B K H each
        actions = torch.tanh(self.action_head(returns))
        next_states = self.state_head(torch.cat([returns, actions], -1))
        return actions, next_states, self.bin_head(states), rearrange(self.return_head(states), "b k 1 -> b k")

    def loss(self, pred, batch: Batch) -> Float[Tensor, ""]:
        """Squared error of actions and next states, expectile loss of returns and cross-entropy of their bins."""
        actions, next_states, logits, returns = pred
        assert batch.next_states is not None, "EDT needs next states"
        config = self.config
        error = batch.returns_to_go - returns
        weight = torch.where(error > 0, config.expectile, 1 - config.expectile)
        unlikely = F.cross_entropy(logits.mT, self.bins(batch.returns_to_go).long(), reduction="none")  # B K
        each = config.expectile_weight * weight * error**2 + config.bin_weight * unlikely
        return (
            masked_mse(actions, batch.actions, batch)
            + config.state_weight * masked_mse(next_states, batch.next_states, batch)
            + (each * batch.mask).sum() / batch.mask.sum()
        )

    def act(self, batch: Batch) -> Float[Tensor, "B A"]:
        """Elastic inference: the action of the history with the highest predicted return.

        The histories leave out the first 0, stride, 2 stride, ... real steps. The model reads each history twice: first with
        the returns asked for, then with the predicted expectile returns, or with draws. The score of a history is the
        expectile return that the second pass predicts at the present step. Of equal scores the longest history wins.
        """
        count, row = batch.mask.sum(1), torch.arange(len(batch.mask), device=batch.mask.device)
        best, action = torch.full_like(batch.returns_to_go[:, 0], -torch.inf), torch.zeros_like(batch.actions[:, 0])
        for skipped in range(0, int(count.max()), self.config.stride):
            window = self.history(batch, skipped)
            _, _, logits, returns = self(window)
            if window.uniform_samples is not None:
                returns = self.sample_returns(logits, window.uniform_samples)
            actions, *_, returns = self(replace(window, returns_to_go=returns))
            predicted = returns[row, window.last_step].where(count > skipped, -torch.inf)
            better = predicted > best
            best = torch.where(better, predicted, best)
            action = torch.where(better[:, None], actions[row, window.last_step], action)
        return action

    def history(self, batch: Batch, skipped: int) -> Batch:
        """The real steps of each row without the first `skipped`, padded on the right."""
        real = batch.mask.sum(1, keepdim=True)
        place = torch.arange(skipped, int(real.max()), device=batch.mask.device)
        slots = batch.last_step[:, None] + 1 - real + place  # B K - skipped, or fewer
        slots = slots.clamp(max=batch.mask.shape[1] - 1)
        row = torch.arange(len(slots), device=slots.device)[:, None]
        names = (
            "states",
            "actions",
            "returns_to_go",
            "steps",
            *(["uniform_samples"] if self.config.inverse_temperature else []),
        )
        return Batch(**{name: getattr(batch, name)[row, slots] for name in names}, mask=place < real)

    def sample_returns(
        self, logits: Float[Tensor, "B K bins"], uniform_samples: Float[Tensor, "B K"]
    ) -> Float[Tensor, "B K"]:
        """Returns drawn from the bins by uniform numbers. Likely bins and high returns are favoured."""
        low, high, bins = self.config.return_low, self.config.return_high, self.config.bins
        logits = logits + self.config.inverse_temperature * torch.linspace(0, 1, bins, device=logits.device)
        rare = logits < torch.quantile(logits, RARE, dim=-1, keepdim=True)
        below = torch.softmax(logits.masked_fill(rare, -torch.inf), -1).cumsum(-1)
        chosen = (below / below[..., -1:] <= uniform_samples[..., None]).sum(-1)
        return low + chosen * ((high - low) / bins)


class Block(nn.Module):
    """Self-attention, then an MLP. Each is beside a residual and before a LayerNorm."""

    def __init__(self, config: ElasticDecisionTransformer.Config) -> None:
        super().__init__()
        self.attention = Attention(config.width, config.heads, config.dropout, dropped="values")
        self.attention_norm = nn.LayerNorm(config.width)
        self.mlp = MLP(config.width, config.dropout)
        self.mlp_norm = nn.LayerNorm(config.width)

    def forward(self, x: Float[Tensor, "B T H"], bias: Float[Tensor, "B 1 T T"]) -> Float[Tensor, "B T H"]:
        x = self.attention_norm(x + self.attention(x, bias))
        return self.mlp_norm(x + self.mlp(x))

"""Elastic Decision Transformer.

Paper: Wu, Wang and Hamaya 2023, Elastic Decision Transformer, arXiv 2307.02484.
Official: kristery/Elastic-DT (28a1336), whose class stands on an adaptation of a multi-game decision transformer.
Tokens: (s, R, a)
Mixers: softmax attention
Differs: float32 throughout, where the official code trains under float16 autocast. An episode's last step is followed by its
    own state (Batch.next_states), where the official code reads the dataset's next observation.
Quirk: no token may look at a return token, but for that of the window's first step: a later return reaches the action of its
    own step alone, along the residual stream. Rewards have an embedding and a head that nothing reads; they are counted.
    Attention drops what the heads give, not weights; tokens are not dropped. Between its two passes the official search feeds
    back the expectile returns, as here, but the official evaluation script always has it draw returns from the bins instead,
    their logits tilted by 10 + 15 (HalfCheetah: 10 + 1): `inverse_temperature`. A drawn bin becomes a return by another width
    than the one by which returns become bins, so that all but the lowest are read as the bin below.
Note: the official windows begin with a real step (padding on the right), so its first slot is the first real step; that is what
    "first" means here, on whichever side the pads are. No real step sees one, so the side moves no number. The range of
    returns is that of D4RL's reference scores over the return scale: a table sets it per task.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from dmm.batch import Batch, RecurrentState
from dmm.layers import MLP, Attention, Trunk, attention_bias, check_at_least_one, check_divides, masked_mse
from dmm.models import DecisionModel

RARE = 0.15  # share of the bins, the least likely, that are never drawn
TIME_STEPS = 4096  # entries of the time table; later steps share the last one


class ElasticDecisionTransformer(DecisionModel):
    """Post-norm transformer that also predicts returns and next states, and acts on the history of the best return."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 512
        layers: int = 4
        heads: int = 4
        dropout: float = 0.1  # of attention's values and of both residual branches
        bins: int = 60  # of returns: what tokens are made of, and the classes of one head
        return_low: float = -0.020272305  # returns, over the scale, of the first bin and the last; these are Hopper's
        return_high: float = 3.2343
        expectile: float = 0.99
        state_weight: float = 1.0  # of the losses beside that of actions
        expectile_weight: float = 0.5
        bin_weight: float = 0.001
        stride: int = 2  # between the starts of the histories that are tried
        inverse_temperature: float = (
            0.0  # fed back between the passes: expectile returns if 0, else returns drawn from the bins tilted by it
        )

        def __post_init__(self) -> None:
            check_at_least_one(self, "width", "layers", "heads", "stride")
            check_divides(self, "heads", "width")
            if self.bins < 2 or self.return_low >= self.return_high:
                raise ValueError(
                    f"{self.bins} bins of returns from {self.return_low} to {self.return_high}: it takes at least 2, and "
                    "return_low below return_high"
                )
            if not 0 < self.expectile < 1:
                raise ValueError(f"expectile is {self.expectile}; it must be between 0 and 1")

    needs = frozenset({"next_states", "uniform_samples"})

    def __init__(self, config: Config, state_dim: int, action_dim: int, context_length: int) -> None:
        super().__init__(config, state_dim, action_dim, context_length)
        width = config.width
        self.embed_states = nn.Linear(state_dim, width)
        self.embed_returns = nn.Linear(1, width)
        self.embed_actions = nn.Linear(action_dim, width)
        self.embed_rewards = nn.Linear(1, width)
        self.embed_steps = nn.Embedding(TIME_STEPS, width)
        self.embed_norm = nn.LayerNorm(width)
        self.blocks = Trunk(Block(config) for _ in range(config.layers))
        self.bin_head = nn.Linear(width, config.bins)
        self.return_head = nn.Linear(width, 1)
        self.action_head = nn.Linear(width, action_dim)
        self.state_head = nn.Linear(width + action_dim, state_dim)
        self.reward_head = nn.Linear(width, 1)

    def unused_parameters(self) -> tuple[str, ...]:
        return "embed_rewards", "reward_head"

    def bins(self, returns: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """The bin of each return, 0 to bins - 1; those beyond the range count as its ends."""
        low, high = self.config.return_low, self.config.return_high
        return (returns.clamp(low, high) - low) // ((high - low) / (self.config.bins - 1))

    def forward(
        self, batch: Batch, state: RecurrentState | None = None
    ) -> tuple[Float[Tensor, "B K A"], Float[Tensor, "B K S"], Float[Tensor, "B K bins"], Float[Tensor, "B K"]]:
        """Actions, next states, logits of the return's bin and the expectile of the return."""
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
        assert batch.next_states is not None, "EDT learns from next states"
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
        """The action of that history, of those that leave out 0, stride, 2 stride ... steps, which promises the most.

        Each is read twice: with the returns asked for, then with the expectile returns that came out, or with draws. What
        expectile comes out at the present step then is its promise; of equals, the longest history has it.
        """
        count, lane = batch.mask.sum(1), torch.arange(len(batch.mask), device=batch.mask.device)
        promise, action = torch.full_like(batch.returns_to_go[:, 0], -torch.inf), torch.zeros_like(batch.actions[:, 0])
        for skipped in range(0, int(count.max()), self.config.stride):
            window = self.history(batch, skipped)
            _, _, logits, returns = self(window)
            if window.uniform_samples is not None:
                returns = self.drawn(logits, window.uniform_samples)
            actions, *_, returns = self(replace(window, returns_to_go=returns))
            promised = returns[lane, window.now].where(count > skipped, -torch.inf)
            better = promised > promise
            promise = torch.where(better, promised, promise)
            action = torch.where(better[:, None], actions[lane, window.now], action)
        return action

    def history(self, batch: Batch, skipped: int) -> Batch:
        """The real steps of each row but for the earliest few, pads on the right."""
        real = batch.mask.sum(1, keepdim=True)
        place = torch.arange(skipped, int(real.max()), device=batch.mask.device)
        slots = (batch.now[:, None] + 1 - real + place).clamp(max=batch.mask.shape[1] - 1)  # B K - skipped, or fewer
        lane = torch.arange(len(slots), device=slots.device)[:, None]
        names = (
            "states",
            "actions",
            "returns_to_go",
            "steps",
            *(["uniform_samples"] if self.config.inverse_temperature else []),
        )
        return Batch(**{name: getattr(batch, name)[lane, slots] for name in names}, mask=place < real)

    def drawn(self, logits: Float[Tensor, "B K bins"], uniform_samples: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """Returns drawn from the bins by uniform numbers: the more likely and the higher of them."""
        low, high, bins = self.config.return_low, self.config.return_high, self.config.bins
        logits = logits + self.config.inverse_temperature * torch.linspace(0, 1, bins, device=logits.device)
        rare = logits < torch.quantile(logits, RARE, dim=-1, keepdim=True)
        below = torch.softmax(logits.masked_fill(rare, -torch.inf), -1).cumsum(-1)
        chosen = (below / below[..., -1:] <= uniform_samples[..., None]).sum(-1)
        return low + chosen * ((high - low) / bins)


class Block(nn.Module):
    """Self-attention, then an MLP, each beside a residual and before a LayerNorm."""

    def __init__(self, config: ElasticDecisionTransformer.Config) -> None:
        super().__init__()
        self.attention = Attention(config.width, config.heads, config.dropout, dropped="values")
        self.attention_norm = nn.LayerNorm(config.width)
        self.mlp = MLP(config.width, config.dropout)
        self.mlp_norm = nn.LayerNorm(config.width)

    def forward(self, x: Float[Tensor, "B T H"], bias: Float[Tensor, "B 1 T T"]) -> Float[Tensor, "B T H"]:
        x = self.attention_norm(x + self.attention(x, bias))
        return self.mlp_norm(x + self.mlp(x))

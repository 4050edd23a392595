"""Decision ConvFormer.

Paper: Kim et al. 2024, Decision ConvFormer: Local Filtering in MetaFormer is Sufficient for Decision Making,
    arXiv 2310.03022.
Official: beanie00/Decision-ConvFormer (3db9b9e), the gym folder. The presets "Atari" are its atari folder.
Tokens: (R, s, a), or (R, s) with action_tokens=False
Mixers: one short depthwise convolution per modality. The hybrid has softmax attention in its last layer
Differs: the official mixer runs the filter of each modality over the whole sequence and discards two thirds of the output.
    Here a filter runs only at the positions of its modality. The numbers are the same. The last action of a window is left
    out, as in dt.
Quirk: the head reads state tokens, so the last block's filters of returns and actions get no gradient (`dead_entries`). They
    are weight[0] and weight[2] of one parameter, so `unused_parameters` does not name them. There is no mask: padded steps
    run through the filters. Without action tokens the embedding of actions still exists, but is unused. On Atari the places
    of tokens are as in dt, and a table of actions is unused (`unused_table`). The copy of the hybrid in Ota's repository has
    both mixers in each layer (`idle_mixers`): 1,692,064 parameters on Breakout, not 1,357,600.
Note: `projection` is conv_proj, which the paper uses on Qbert, Seaquest, Frostbite and Assault. The paper's
    width is 256 on hopper-medium and hopper-medium-replay, else 128.
"""

from dataclasses import dataclass
from typing import Literal

from einops import repeat
from jaxtyping import Float
from torch import Tensor, nn

from dmm.base.fields import later
from dmm.batch import Batch, RecurrentState, Spaces
from dmm.layers import (
    ATARI,
    MLP,
    ActionHead,
    Attention,
    ConvMixer,
    Dropout,
    TokenEmbedding,
    TokenSettings,
    Trunk,
    attention_bias,
    check_at_least_one,
    check_divides,
    initialise,
    initialise_ends,
    trim,
    word_table,
)
from dmm.models import DecisionModel


class DecisionConvFormer(DecisionModel):
    """Transformer blocks with three short causal filters in the place of attention."""

    recurrent = True

    @dataclass(frozen=True, kw_only=True)
    class Config(TokenSettings):
        width: int = 128
        layers: int = 3
        kernel_size: int = 6  # in tokens: two steps
        action_tokens: bool = True
        dropout: float = 0.1  # of tokens, MLPs, projections and attention
        projection: bool = later(False)  # a Linear after each convolution. The scripts call it conv_proj
        last: Literal["conv", "attention"] = later("conv")  # mixer of the last layer. attention: the hybrid
        heads: int = later(1)  # of the hybrid
        idle_mixers: bool = later(False)  # each layer of the hybrid has both mixers and reads one, as in Ota's copy
        unused_table: bool = later(False)

        def __post_init__(self) -> None:
            super().__post_init__()
            check_at_least_one(self, "width", "layers", "kernel_size", "heads")
            check_divides(self, "heads", "width")
            if self.last == "conv" and (self.heads > 1 or self.idle_mixers):
                raise ValueError("heads and idle_mixers need last='attention'; without it no layer has attention")

    presets = {
        "DC": {},
        "DC, Atari": {**ATARI, "unused_table": True},
        "DC with projection, Atari": {**ATARI, "unused_table": True, "projection": True},
        "DC hybrid, Atari": {**ATARI, "unused_table": True, "last": "attention", "heads": 8},
    }

    def __init__(self, config: Config, spaces: Spaces, context_length: int) -> None:
        super().__init__(config, spaces, context_length)
        self.embed = TokenEmbedding(
            spaces, config.width, config.dropout, config, context_length, action_tokens=config.action_tokens
        )
        hybrid, last = config.last == "attention", config.layers - 1
        self.blocks = Trunk(Block(config, hybrid and depth == last) for depth in range(config.layers))
        self.head = ActionHead(config.width, spaces)
        if config.idle_mixers:
            others = [mixer(config, depth != last) for depth in range(config.layers)]
            self.idle = nn.ModuleList(nn.Sequential(nn.LayerNorm(config.width), other) for other in others)
        if config.unused_table:
            self.word_table = word_table(spaces, config.width)
        initialise(self.blocks)
        initialise_ends(self.embed, self.head, config.init)

    def unused_parameters(self) -> tuple[str, ...]:
        config = self.config
        unused = {
            "embed.actions": not config.action_tokens,
            "idle": config.idle_mixers,
            "word_table": config.unused_table,
        }
        return tuple(name for name, is_unused in unused.items() if is_unused)

    def dead_entries(self) -> dict[str, int]:
        if self.config.last == "attention":
            return {}
        last = f"blocks.{len(self.blocks) - 1}.mixer"
        return {name: self.get_parameter(name)[1:].numel() for name in (f"{last}.weight", f"{last}.bias")}

    def sees(self) -> dict[str, int]:
        return {"states": 0, "returns_to_go": 0} | ({"actions": 1} if self.config.action_tokens else {})

    def forward(self, batch: Batch, state: RecurrentState | None = None) -> Float[Tensor, "B K A"]:
        x = self.embed(batch, state)  # B T H, T = 3 K - 1, or 2 K without action tokens
        bias, tokens = None, 3 if self.config.action_tokens else 2
        if state is not None:
            state.attention_span = tokens * self.context_length - 1
        elif self.config.last == "attention":
            bias = attention_bias(repeat(batch.mask, "b k -> b (k m)", m=tokens), x)
        return self.head(self.blocks(x, bias, state, read=self.embed.state_tokens(state)))

    def act(self, batch: Batch) -> Float[Tensor, "B A"]:
        return super().act(self.embed.when_acting(batch))


class Block(nn.Module):
    """A mixer of tokens, then an MLP. Each is behind a LayerNorm and beside a residual."""

    trims = True

    def __init__(self, config: DecisionConvFormer.Config, attends: bool) -> None:
        super().__init__()
        self.mixer_norm = nn.LayerNorm(config.width)
        self.mixer = mixer(config, attends)
        if config.projection and not attends:
            self.out = nn.Linear(config.width, config.width)
            self.dropout = Dropout(config.dropout)
        self.mlp_norm = nn.LayerNorm(config.width)
        self.mlp = MLP(config.width, config.dropout)

    def forward(
        self, x: Float[Tensor, "B T H"], bias: Float[Tensor, "B 1 T T"] | None, state: RecurrentState | None = None
    ) -> Float[Tensor, "B read H"]:
        normed = self.mixer_norm(x)
        if isinstance(self.mixer, Attention):
            mixed = self.mixer(normed, bias, state)
        else:
            mixed = trim(self.mixer(normed, state))
            mixed = self.dropout(self.out(mixed)) if hasattr(self, "out") else mixed
        x = trim(x) + mixed
        return x + self.mlp(self.mlp_norm(x))


def mixer(config: DecisionConvFormer.Config, attends: bool) -> Attention | ConvMixer:
    """Self-attention, or a filter for each kind of token."""
    if attends:
        return Attention(config.width, config.heads, config.dropout)
    return ConvMixer(config.width, config.kernel_size, filters=3 if config.action_tokens else 2)

"""Self-attention as the token mixer and an SSM in the place of the MLP (SA + SSM).

Paper: Kim, Song, Kim 2024, Decision MetaMamba, arXiv 2408.10517v1, Appendix A.
Official: none is known.
Tokens: (R, s, a)
Mixers: softmax attention, then Mamba-1
Differs: this is a reconstruction. The text says that the Decision Transformer keeps its attention and has the SSM of Mamba
    instead of its MLP. It does not say whether time steps are embedded, whether the SSM has its convolution, or how long the
    context is. Here time steps are embedded (`time_table`) and the SSM has no convolution (`conv`). Width and dropout are
    those of DT. The last action of a window is left out, as in dt.
Quirk: as in decision_mamba, the initialisation of the trunk also changes the SSM's step size (`dt_init`).
Note: attention is masked as in dt. The SSM has no mask, so padded steps run through it.
"""

from dataclasses import dataclass
from typing import Literal

from einops import repeat
from jaxtyping import Float
from torch import Tensor, nn

from dmm.batch import Batch, RecurrentState, Spaces
from dmm.layers import (
    ActionHead,
    Attention,
    ConvMixer,
    SelectiveSSM,
    TokenEmbedding,
    TokenSettings,
    Trunk,
    attention_bias,
    check_at_least_one,
    check_divides,
    initialise,
)
from dmm.models import DecisionModel


class AttentionSSM(DecisionModel):
    """A Decision Transformer with SSMs in the place of its MLPs."""

    recurrent = True

    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 128
        layers: int = 3
        heads: int = 1
        conv: bool = False  # the stock convolution inside each SSM
        time_table: bool = True
        dt_init: Literal["published", "stock"] = "published"
        dropout: float = 0.1  # of tokens, attention weights and the output of attention

        def __post_init__(self) -> None:
            check_at_least_one(self, "width", "layers", "heads")
            check_divides(self, "heads", "width")

    presets = {"SA + SSM": {}, "SA + SSM with convolution": {"conv": True}}

    def __init__(self, config: Config, spaces: Spaces, context_length: int) -> None:
        super().__init__(config, spaces, context_length)
        settings = TokenSettings(positions="step" if config.time_table else "none")
        self.embed = TokenEmbedding(spaces, config.width, config.dropout, settings)
        self.blocks = Trunk(Block(config) for _ in range(config.layers))
        self.head = ActionHead(config.width, spaces)
        initialise(self.blocks, config.dt_init)

    def forward(self, batch: Batch, state: RecurrentState | None = None) -> Float[Tensor, "B K A"]:
        x = self.embed(batch, state)  # B T H, T = 3 K - 1
        if state is None:
            bias = attention_bias(repeat(batch.mask, "b k -> b (k m)", m=3), x)
        else:
            bias = None
            state.attention_span = 3 * self.context_length - 1  # tokens of a window of K steps, up to its last state
        return self.head(self.blocks(x, bias, state, read=self.embed.state_tokens(state)))


class Block(nn.Module):
    """Self-attention, then an SSM. Each is behind a LayerNorm and beside a residual."""

    def __init__(self, config: AttentionSSM.Config) -> None:
        super().__init__()
        mixer = ConvMixer(2 * config.width, kernel_size=4, filters=1) if config.conv else None
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config.width, config.heads, config.dropout)
        self.ssm_norm = nn.LayerNorm(config.width)
        self.ssm = SelectiveSSM(config.width, expand=2, mixer=mixer)

    def forward(
        self, x: Float[Tensor, "B T H"], bias: Float[Tensor, "B 1 T T"] | None, state: RecurrentState | None = None
    ) -> Float[Tensor, "B T H"]:
        x = x + self.attention(self.attention_norm(x), bias, state)
        return x + self.ssm(self.ssm_norm(x), state)

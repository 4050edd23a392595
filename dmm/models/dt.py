"""Decision Transformer.

Paper: Chen et al. 2021, Decision Transformer: Reinforcement Learning via Sequence Modeling, arXiv 2106.01345.
Official: kzl/decision-transformer (e2d82e6), the gym folder. The preset "DT, Atari" is its atari folder.
Tokens: (R, s, a)
Mixers: softmax attention
Differs: attention uses torch's scaled_dot_product_attention. A padded step cannot see later steps, which the official mask
    allows. No real step reads a padded one, so the numbers are the same. The last action of a window is left out, because no
    prediction reads it. That changes the masks of dropout and no other number.
Quirk: the official model has a state head, a return head and a word table that are unused. They are counted in the 727,695
    parameters that papers print for hopper: `unused_heads`, `unused_table`. On Atari all tokens of a window have the entry of
    its first step in a table of steps, but in rollouts that of the current step (`global_step`).
Note: the re-releases in the DC and Ota repositories have activation gelu and no unused heads.
"""

from dataclasses import dataclass
from typing import Literal

from einops import repeat
from jaxtyping import Float
from torch import Tensor, nn

from dmm.batch import Batch, RecurrentState, Spaces
from dmm.layers import (
    ATARI,
    ActionHead,
    TokenEmbedding,
    TokenSettings,
    TransformerBlock,
    Trunk,
    attention_bias,
    check_at_least_one,
    check_divides,
    initialise,
    initialise_ends,
    word_table,
)
from dmm.models import DecisionModel


class DecisionTransformer(DecisionModel):
    """GPT-2 blocks over returns-to-go, states and actions."""

    recurrent = True

    @dataclass(frozen=True, kw_only=True)
    class Config(TokenSettings):
        width: int = 128
        layers: int = 3
        heads: int = 1
        activation: Literal["relu", "gelu"] = "relu"
        dropout: float = 0.1  # of tokens, attention weights, and the outputs of attention and MLP
        unused_heads: bool = True
        unused_table: bool = True

        def __post_init__(self) -> None:
            super().__post_init__()
            check_at_least_one(self, "width", "layers", "heads")
            check_divides(self, "heads", "width")

    presets = {
        "DT": {},
        "DT, Atari": {**ATARI, "heads": 8, "activation": "gelu", "unused_heads": False},
    }

    def __init__(self, config: Config, spaces: Spaces, context_length: int) -> None:
        super().__init__(config, spaces, context_length)
        self.embed = TokenEmbedding(spaces, config.width, config.dropout, config, context_length)
        self.blocks = Trunk(
            TransformerBlock(config.width, config.heads, config.dropout, config.activation)
            for _ in range(config.layers)
        )
        self.head = ActionHead(config.width, spaces)
        if config.unused_heads:
            self.state_head = nn.Linear(config.width, spaces.state_dim)
            self.return_head = nn.Linear(config.width, 1)
        if config.unused_table:
            self.word_table = word_table(spaces, config.width)
        initialise(self.blocks)
        initialise_ends(self.embed, self.head, config.init)

    def unused_parameters(self) -> tuple[str, ...]:
        return tuple(name for name in ("state_head", "return_head", "word_table") if hasattr(self, name))

    def forward(self, batch: Batch, state: RecurrentState | None = None) -> Float[Tensor, "B K A"]:
        x = self.embed(batch, state)  # B T H, T = 3 K - 1
        if state is None:
            bias = attention_bias(repeat(batch.mask, "b k -> b (k m)", m=3), x)
        else:
            bias = None
            state.attention_span = 3 * self.context_length - 1  # tokens of a window of K steps, up to its last state
        return self.head(self.blocks(x, bias, state, read=self.embed.state_tokens(state)))

    def act(self, batch: Batch) -> Float[Tensor, "B A"]:
        return super().act(self.embed.when_acting(batch))

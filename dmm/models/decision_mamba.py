"""Decision Mamba (DMamba).

Paper: Ota 2024, Decision Mamba: Reinforcement Learning via Sequence Modeling with Selective State Spaces,
    arXiv 2403.19925.
Official: Toshihiro-Ota/decision-mamba (35f9944), the gym folder. The preset "DMamba, Atari" is its atari folder.
Tokens: (R, s, a)
Mixers: Mamba-1
Differs: RC and RC x2 are in the paper but not in the repository. Here they drop the MLP and its norm and change nothing
    else. The last action of a window is left out, as in dt.
Quirk: the initialisation of the trunk also changes the SSM's step size, although mamba-ssm marks its bias as not to be
    initialised again. So dt starts near softplus(0) = 0.69 in all channels, not log-uniform in [0.001, 0.1].
    `dt_init="stock"` keeps the initialisation of mamba-ssm. On Atari the places of tokens are as in dt, and a table of actions
    is unused (`unused_table`).
Note: the paper's width is 256 on hopper-medium and hopper-medium-replay, else 128. There is no mask: padded steps run
    through the SSM.
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from dmm.base.fields import later
from dmm.batch import Batch, RecurrentState, Spaces
from dmm.layers import (
    ATARI,
    MLP,
    ActionHead,
    ConvMixer,
    SelectiveSSM,
    TokenEmbedding,
    TokenSettings,
    Trunk,
    check_at_least_one,
    initialise,
    initialise_ends,
    trim,
    word_table,
)
from dmm.models import DecisionModel


class DecisionMamba(DecisionModel):
    """Stock Mamba blocks in the place of attention."""

    recurrent = True

    @dataclass(frozen=True, kw_only=True)
    class Config(TokenSettings):
        width: int = 128
        layers: int = 3
        mlp: bool = True
        dt_init: Literal["published", "stock"] = "published"
        dropout: float = 0.1  # of tokens and MLPs
        unused_table: bool = later(False)

        def __post_init__(self) -> None:
            super().__post_init__()
            check_at_least_one(self, "width", "layers")

    presets = {
        "DMamba": {},
        "DMamba RC": {"mlp": False},
        "DMamba RC x2": {"mlp": False, "layers": 6},
        "DMamba, Atari": {**ATARI, "unused_table": True},
    }

    def __init__(self, config: Config, spaces: Spaces, context_length: int) -> None:
        super().__init__(config, spaces, context_length)
        self.embed = TokenEmbedding(spaces, config.width, config.dropout, config, context_length)
        self.blocks = Trunk(Block(config) for _ in range(config.layers))
        self.head = ActionHead(config.width, spaces)
        if config.unused_table:
            self.word_table = word_table(spaces, config.width)
        initialise(self.blocks, config.dt_init)
        initialise_ends(self.embed, self.head, config.init)

    def unused_parameters(self) -> tuple[str, ...]:
        return ("word_table",) if self.config.unused_table else ()

    def forward(self, batch: Batch, state: RecurrentState | None = None) -> Float[Tensor, "B K A"]:
        x = self.embed(batch, state)  # B T H, T = 3 K - 1
        return self.head(self.blocks(x, state, read=self.embed.state_tokens(state)))

    def act(self, batch: Batch) -> Float[Tensor, "B A"]:
        return super().act(self.embed.when_acting(batch))


class Block(nn.Module):
    """Mamba and, if wanted, an MLP. Each is behind a LayerNorm and beside a residual."""

    trims = True

    def __init__(self, config: DecisionMamba.Config) -> None:
        super().__init__()
        self.ssm_norm = nn.LayerNorm(config.width)
        self.ssm = SelectiveSSM(config.width, expand=2, mixer=ConvMixer(2 * config.width, kernel_size=4, filters=1))
        if config.mlp:
            self.mlp_norm = nn.LayerNorm(config.width)
            self.mlp = MLP(config.width, config.dropout)

    def forward(self, x: Float[Tensor, "B T H"], state: RecurrentState | None = None) -> Float[Tensor, "B read H"]:
        x = trim(x) + self.ssm(self.ssm_norm(x), state)
        return x + self.mlp(self.mlp_norm(x)) if hasattr(self, "mlp") else x

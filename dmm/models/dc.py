"""Decision ConvFormer.

Paper: Kim et al. 2024, Decision ConvFormer: Local Filtering in MetaFormer is Sufficient for Decision Making,
    arXiv 2310.03022.
Official: beanie00/Decision-ConvFormer (3db9b9e), the gym folder.
Tokens: (R, s, a), or (R, s) with action_tokens=False
Mixers: one short depthwise convolution per modality
Differs: the official mixer runs the filter of each modality over the whole sequence and discards two thirds of the output.
    Here a filter runs only at the positions of its modality. The numbers are the same. The last action of a window is left
    out, as in dt.
Quirk: the head reads state tokens, so the last block's filters of returns and actions get no gradient (`dead_entries`). They
    are weight[0] and weight[2] of one parameter, so `unused_parameters` does not name them. There is no mask: padded steps
    run through the filters. Without action tokens the embedding of actions still exists, but is unused.
Note: the paper's width is 256 on hopper-medium and hopper-medium-replay, else 128.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from dmm.batch import Batch, RecurrentState, Spaces
from dmm.layers import MLP, ActionHead, ConvMixer, TokenEmbedding, Trunk, check_at_least_one, initialise, trim
from dmm.models import DecisionModel


class DecisionConvFormer(DecisionModel):
    """Transformer blocks with three short causal filters in the place of attention."""

    recurrent = True

    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 128
        layers: int = 3
        kernel_size: int = 6  # in tokens: two steps
        action_tokens: bool = True
        dropout: float = 0.1  # of tokens and MLPs

        def __post_init__(self) -> None:
            check_at_least_one(self, "width", "layers", "kernel_size")

    def __init__(self, config: Config, spaces: Spaces, context_length: int) -> None:
        super().__init__(config, spaces, context_length)
        self.embed = TokenEmbedding(
            spaces, config.width, config.dropout, time_table=True, action_tokens=config.action_tokens
        )
        self.blocks = Trunk(Block(config) for _ in range(config.layers))
        self.head = ActionHead(config.width, spaces)
        initialise(self.blocks)

    def unused_parameters(self) -> tuple[str, ...]:
        return () if self.config.action_tokens else ("embed.actions",)

    def dead_entries(self) -> dict[str, int]:
        last = f"blocks.{len(self.blocks) - 1}.mixer"
        return {name: self.get_parameter(name)[1:].numel() for name in (f"{last}.weight", f"{last}.bias")}

    def sees(self) -> dict[str, int]:
        return {"states": 0, "returns_to_go": 0} | ({"actions": 1} if self.config.action_tokens else {})

    def forward(self, batch: Batch, state: RecurrentState | None = None) -> Float[Tensor, "B K A"]:
        x = self.embed(batch, state)  # B T H, T = 3 K - 1, or 2 K without action tokens
        return self.head(self.blocks(x, state, read=self.embed.state_tokens(state)))


class Block(nn.Module):
    """A convolution, then an MLP. Each is behind a LayerNorm and beside a residual."""

    trims = True

    def __init__(self, config: DecisionConvFormer.Config) -> None:
        super().__init__()
        self.mixer_norm = nn.LayerNorm(config.width)
        self.mixer = ConvMixer(config.width, config.kernel_size, filters=3 if config.action_tokens else 2)
        self.mlp_norm = nn.LayerNorm(config.width)
        self.mlp = MLP(config.width, config.dropout)

    def forward(self, x: Float[Tensor, "B T H"], state: RecurrentState | None = None) -> Float[Tensor, "B read H"]:
        x = trim(x + self.mixer(self.mixer_norm(x), state))
        return x + self.mlp(self.mlp_norm(x))

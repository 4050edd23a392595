"""Decision MetaMamba (DMM), both generations.

Paper: Kim, Song, Kim. v1: arXiv 2408.10517v1 (2024), multi-modal token mixers before the SSM (DMM-C, DMM-L) and also
    inside it (DMM-DC, DMM-DL). v2: arXiv 2602.19805, one Dense Sequence Mixer (DSM), a narrower SSM and shared norms. The
    defaults are v2 as run on locomotion.
Official: too-z/decision-metamamba; v1 at 3d0f554, v2 at 90ad44d.
Tokens: (R, s, a)
Mixers: a short convolution or linear map of tokens, then Mamba-1 or Mamba-2 without its convolution
Differs: a filter of tokens runs only at the positions of its modality. The numbers are the same. v2 follows its code. Its
    text is public, but only its abstract and introduction were read. The official Mamba-2 scan runs in chunks of 256
    tokens. Here a sequence is one chunk. The numbers are the same. The last action of a window is left out, as in dt.
Quirk: in the text of v1 each modality has its own linear map (presets "as meant"). The released code slices the axis of
    channels, where the convolution has its tokens. So its maps alternate over channels (`linear_over`): channel c comes from
    map c mod 3 at every token. That is one dense mixer, and two thirds of the maps' rows are dead (`dead_entries`). The
    presets "as published" are this code, whose numbers the paper presumably prints. The single mixers of v1 have no residual
    around the SSM, because that line is commented out. The double mixers have it (`residual`). On AntMaze and Kitchen v2
    keeps one mixer in a plain list. All layers share it. It is not trained and not saved, it has PyTorch's initialisation,
    and the official count leaves it out (`mixer_sharing="frozen-shared"`). Here it is saved and counted. The official count
    has only the parameters that require a gradient. v2 has one pair of LayerNorms for all layers (`shared_norms`). The
    initialisation of the trunk also changes the SSM's step size (`dt_init`, see decision_mamba). The step size of Mamba-2
    is a bare parameter, so it keeps the initialisation of mamba-ssm. v2 always creates the convolution of Mamba-2, and
    calls it only where causal_conv1d is installed: 167,399 parameters on hopper, 162,599 without it. Here it exists where
    it runs (`ssm_conv`). Dropout acts only once, on the tokens.
Note: the presets "Atari" of v1 are its atari folder: no positions, and all Linears start alike. v2 has no code for Atari.
    "DMM v2, Atari" is ours: v2's layers between v1's embeddings and head. v1 compares SiLU with GELU and has no code for it.
    `activation` is that of the SSM's main branch. Its gate has SiLU.
    There is no time table and no mask: padded steps run through the model. In April 2025 the authors took v1 off the list
    opendilab/awesome-decision-transformer (PR #25).
"""

from dataclasses import dataclass
from itertools import cycle
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from dmm.base.fields import later
from dmm.batch import Batch, RecurrentState, Spaces
from dmm.kernels.conv import causal_shifts, dense
from dmm.kernels.ssd import dual, resume
from dmm.layers import (
    ATARI,
    ActionHead,
    ConvMixer,
    SelectiveSSM,
    TokenEmbedding,
    TokenSettings,
    check_at_least_one,
    initialise,
    initialise_ends,
    stock_dt_bias,
    trim,
    trimmed_to,
)
from dmm.models import DecisionModel

V1 = {"expand": 2, "shared_norms": False}
# v1 has the Atari scripts' embeddings without positions, and draws all Linears alike
FRAMES = {**ATARI, "positions": "none", "global_steps": 0, "init": "all"}
SINGLE_LINEAR = {**V1, "mixer": "linear", "width": 128, "residual": False}
DOUBLE_LINEAR = {**V1, "mixer": "linear", "width": 64, "double": True}
HEAD, STATE = 16, 128  # P and N of Mamba-2: channels of a head, and size of its state


class DecisionMetaMamba(DecisionModel):
    """Layers of a short token mixer and of an SSM without its convolution."""

    recurrent = True

    @dataclass(frozen=True, kw_only=True)
    class Config(TokenSettings):
        width: int = 64
        layers: int = 3
        mixer: Literal["conv", "linear", "dense"] = (
            "dense"  # conv, linear: one filter per modality; dense: one for all (DSM)
        )
        kernel_size: int = 6  # in tokens: two steps
        linear_over: Literal["tokens", "channels"] = "tokens"  # axis of the three maps of mixer="linear"
        mixer_sharing: Literal["per-layer", "shared", "frozen-shared"] = "per-layer"
        double: bool = False  # a second mixer of the same kind inside each SSM
        expand: int = 1  # inner width of the SSM over `width`
        residual: bool = True  # around the SSM
        shared_norms: bool = True
        activation: Literal["silu", "gelu"] = "silu"
        dt_init: Literal["published", "stock"] = "published"
        dropout: float = 0.1
        ssm: Literal["mamba1", "mamba2"] = "mamba1"
        ssm_conv: bool = False  # the stock convolution inside each SSM

        positions: Literal["step", "window", "none"] = later("none")

        def __post_init__(self) -> None:
            super().__post_init__()
            check_at_least_one(self, "width", "layers", "kernel_size", "expand")
            if self.linear_over == "channels" and self.mixer != "linear":
                raise ValueError(
                    f"linear_over='channels' needs mixer='linear'; it has no effect on mixer={self.mixer!r}"
                )
            if self.double and self.mixer_sharing != "per-layer":
                raise ValueError(
                    f"mixer_sharing={self.mixer_sharing!r} needs double=False: a second mixer is inside each SSM"
                )
            if self.layers == 1 and self.mixer_sharing == "shared":
                raise ValueError("mixer_sharing='shared' has no effect on one layer; leave it at 'per-layer'")
            if self.ssm_conv and self.double:
                raise ValueError(
                    "ssm_conv=True needs double=False: the second mixer takes the place of the convolution"
                )
            if self.ssm == "mamba2":
                if self.double:
                    raise ValueError("ssm='mamba2' needs double=False: a second mixer exists only in Mamba-1")
                if self.dt_init != "published":
                    raise ValueError(
                        "dt_init has no effect on ssm='mamba2', whose step size keeps the stock initialisation"
                    )
                if self.expand * self.width % HEAD:
                    raise ValueError(f"ssm='mamba2' has heads of {HEAD}: {HEAD} must divide expand * width, "
                                     f"which is {self.expand * self.width}")  # fmt: skip

    presets = {
        "DMM-C": {**V1, "mixer": "conv", "width": 128, "residual": False},
        "DMM-L, as published": {**SINGLE_LINEAR, "linear_over": "channels"},
        "DMM-L, as meant": SINGLE_LINEAR,
        "DMM-DC": {**V1, "mixer": "conv", "width": 64, "double": True},
        "DMM-DL, as published": {**DOUBLE_LINEAR, "linear_over": "channels"},
        "DMM-DL, as meant": DOUBLE_LINEAR,
        "DMM-C, Atari": {**V1, **FRAMES, "mixer": "conv", "residual": False},
        "DMM-L, Atari": {**SINGLE_LINEAR, **FRAMES, "linear_over": "channels"},
        "DMM-DC, Atari": {**V1, **FRAMES, "mixer": "conv", "double": True},
        "DMM-DL, Atari": {**DOUBLE_LINEAR, **FRAMES, "linear_over": "channels"},
        "DMM v2": {},
        "DMM v2, Atari": FRAMES,
        "DMM v2 Mamba-2": {"ssm": "mamba2"},
    }

    def __init__(self, config: Config, spaces: Spaces, context_length: int) -> None:
        super().__init__(config, spaces, context_length)
        width, layers = config.width, range(config.layers)
        self.embed = TokenEmbedding(spaces, width, config.dropout, config, context_length)
        # a module that layers share is in its list once, so that a checkpoint has it once
        norms = layers[:1] if config.shared_norms else layers
        mixers = layers if config.mixer_sharing == "per-layer" else layers[:1]
        self.mixer_norms = nn.ModuleList(nn.LayerNorm(width) for _ in norms)
        self.ssm_norms = nn.ModuleList(nn.LayerNorm(width) for _ in norms)
        self.mixers = nn.ModuleList(token_mixer(config, width) for _ in mixers)
        self.ssms = nn.ModuleList(state_space(config) for _ in layers)
        self.head = ActionHead(width, spaces)
        initialise(self.ssms, config.dt_init)
        initialise_ends(self.embed, self.head, config.init)
        if config.mixer_sharing == "frozen-shared":
            self.mixers.requires_grad_(False)
        else:
            initialise(self.mixers)

    def unused_parameters(self) -> tuple[str, ...]:
        return ("mixers",) if self.config.mixer_sharing == "frozen-shared" else ()

    def dead_entries(self) -> dict[str, int]:
        return {
            f"{name}.filters.{i}.weight": weight.numel() - weight[i :: len(mixer.filters)].numel()
            for name, mixer in self.named_modules()
            if isinstance(mixer, LinearMixer) and mixer.over == "channels"
            for i, weight in enumerate(mixer.parameters())
        }

    def forward(self, batch: Batch, state: RecurrentState | None = None) -> Float[Tensor, "B K A"]:
        x = self.embed(batch, state)  # B T H, T = 3 K - 1
        lists = cycle(self.mixer_norms), cycle(self.mixers), cycle(self.ssm_norms)
        for depth, (ssm, mixer_norm, mixer, ssm_norm) in enumerate(zip(self.ssms, *lists)):
            if state is not None:
                state.layer_index = depth
            x = x + mixer(mixer_norm(x), state)
            read = self.embed.state_tokens(state) if depth == len(self.ssms) - 1 else slice(None)
            with trimmed_to(read, x.shape[1]):
                y = ssm(ssm_norm(x), state)
                x = trim(x) + y if self.config.residual else y
        return self.head(x)

    def act(self, batch: Batch) -> Float[Tensor, "B A"]:
        return super().act(self.embed.when_acting(batch))


def token_mixer(config: DecisionMetaMamba.Config, width: int) -> nn.Module:
    """A token mixer of the kind that the Config names."""
    if config.mixer == "conv":
        return ConvMixer(width, config.kernel_size, filters=3)
    return LinearMixer(width, config.kernel_size, 3 if config.mixer == "linear" else 1, config.linear_over)


def state_space(config: DecisionMetaMamba.Config) -> nn.Module:
    """An SSM of the kind that the Config names."""
    inner = config.expand * config.width
    if config.ssm == "mamba2":
        return HeadedSSM(config.width, inner, config.ssm_conv, config.activation)
    if config.double:
        mixer = token_mixer(config, inner)
    else:
        mixer = ConvMixer(inner, kernel_size=4, filters=1) if config.ssm_conv else None
    return SelectiveSSM(config.width, config.expand, mixer, config.activation)


class LinearMixer(nn.Module):
    """A linear map of the last `kernel_size` tokens, oldest first.

    Over tokens: token t takes filter t mod `filters`. Over channels: channel c takes filter c mod `filters`, at all tokens.
    """

    def __init__(
        self, width: int, kernel_size: int, filters: int, over: Literal["tokens", "channels"] = "tokens"
    ) -> None:
        super().__init__()
        self.kernel_size, self.over = kernel_size, over
        self.filters = nn.ModuleList(nn.Linear(kernel_size * width, width, bias=False) for _ in range(filters))

    def forward(self, x: Float[Tensor, "B T H"], state: RecurrentState | None = None) -> Float[Tensor, "B T H"]:
        weight = self.common_map()
        if state is None and weight is not None:
            return dense(x, weight)
        if state is None:
            shifts, _ = causal_shifts(x, self.kernel_size)
        else:
            key = self, state.layer_index
            shifts, state[key] = causal_shifts(x, self.kernel_size, state.get(key))
        windows = torch.cat(shifts, dim=-1)  # B T kernel_size*H
        if weight is not None:
            return F.linear(windows, weight)
        if state is not None:
            tokens = enumerate(windows.unbind(1), state.token_offset)
            return torch.stack([self.filters[place % len(self.filters)](token) for place, token in tokens], 1)
        mixed = torch.empty_like(x)
        for start, mix in enumerate(self.filters):
            mixed[:, start :: len(self.filters)] = mix(windows[:, start :: len(self.filters)])
        return mixed

    def common_map(self) -> Float[Tensor, "H window"] | None:
        """The weight that all tokens share, or None where they have different ones."""
        weights = tuple(self.filters.parameters())
        if len(weights) == 1:
            return weights[0]
        if self.over == "tokens":
            return None
        width = len(weights[0])
        channels = torch.arange(width, device=weights[0].device)
        return torch.cat(weights).index_select(0, channels + channels % len(weights) * width)


class HeadedSSM(nn.Module):
    """The Mamba-2 block. The channels of a head share one decay, all heads share B and C, and the gate comes before a norm."""

    def __init__(self, width: int, inner: int, conv: bool, activation: str) -> None:
        super().__init__()
        heads, mixed = inner // HEAD, inner + 2 * STATE
        self.sizes, self.mixed_sizes = [inner, mixed, heads], [inner, STATE, STATE]
        self.in_proj = nn.Linear(width, sum(self.sizes), bias=False)
        self.mixer = ConvMixer(mixed, kernel_size=4, filters=1) if conv else None
        self.dt_bias = nn.Parameter(stock_dt_bias(heads))
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = nn.RMSNorm(inner, eps=1e-5)
        self.out_proj = nn.Linear(inner, width, bias=False)
        self.activation = getattr(F, activation)

    def forward(self, x: Float[Tensor, "B T H"], state: RecurrentState | None = None) -> Float[Tensor, "B read H"]:
        z, x, dt = self.in_proj(x).split(self.sizes, dim=-1)  # B T D, B T D + 2 N, B T heads
        x = x if self.mixer is None else self.mixer(x, state)
        x, B, C = self.activation(x).split(self.mixed_sizes, dim=-1)
        x = rearrange(x, "b t (heads p) -> b t heads p", p=HEAD)
        values = x, dt + self.dt_bias, -self.A_log.exp(), B, C, self.D
        if state is None:
            y = dual(*values)
        else:
            y, state[self] = resume(*values, state.get(self))
        y = trim(rearrange(y, "b t heads p -> b t (heads p)"))
        return self.out_proj(self.norm(y * F.silu(trim(z))))

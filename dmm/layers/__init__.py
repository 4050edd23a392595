"""What two or more architectures share: the frame of a trunk (tokens in, actions out), its initialisation, layers."""

from dmm.layers.attention import Attention, TransformerBlock, attention_bias
from dmm.layers.blocks import MLP, ConvMixer, Dropout, GatedMLP
from dmm.layers.checks import check_at_least_one
from dmm.layers.embedding import TIME_STEPS, ActionHead, TokenEmbedding
from dmm.layers.hierarchy import act_towards_goals
from dmm.layers.initialisation import initialise, scale_residual_projections, zero_biases
from dmm.layers.mamba import MambaBlock, SelectiveSSM, stock_dt_bias
from dmm.layers.trimming import TokenSubset, select_tokens

__all__ = [
    "ActionHead",
    "Attention",
    "ConvMixer",
    "Dropout",
    "GatedMLP",
    "MLP",
    "MambaBlock",
    "SelectiveSSM",
    "TIME_STEPS",
    "TokenEmbedding",
    "TokenSubset",
    "TransformerBlock",
    "act_towards_goals",
    "attention_bias",
    "check_at_least_one",
    "initialise",
    "scale_residual_projections",
    "select_tokens",
    "stock_dt_bias",
    "zero_biases",
]

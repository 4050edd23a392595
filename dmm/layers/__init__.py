"""What two or more architectures share: tokens in, actions out, blocks between them, initialisation, losses, checks."""

from dmm.layers.attention import Attention, TransformerBlock, attention_bias
from dmm.layers.blocks import MLP, ConvMixer, Dropout, GatedMLP
from dmm.layers.checks import check_at_least_one, check_divides
from dmm.layers.embedding import TIME_STEPS, ActionHead, TokenEmbedding
from dmm.layers.hierarchy import HierarchicalModel, Level
from dmm.layers.initialisation import initialise, scale_residual_projections, zero_biases
from dmm.layers.losses import masked_mse
from dmm.layers.mamba import MambaBlock, SelectiveSSM, stock_dt_bias
from dmm.layers.trimming import Trunk, trim, trimmed_to

__all__ = [
    "MLP",
    "TIME_STEPS",
    "ActionHead",
    "Attention",
    "ConvMixer",
    "Dropout",
    "GatedMLP",
    "HierarchicalModel",
    "Level",
    "MambaBlock",
    "SelectiveSSM",
    "TokenEmbedding",
    "TransformerBlock",
    "Trunk",
    "attention_bias",
    "check_at_least_one",
    "check_divides",
    "initialise",
    "masked_mse",
    "scale_residual_projections",
    "stock_dt_bias",
    "trim",
    "trimmed_to",
    "zero_biases",
]

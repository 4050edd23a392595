"""Layers that two or more architectures share. Users' models import them from here.

embedding.py       tokens from a batch, and actions from tokens, for every kind of Spaces
attention.py       self-attention with its mask, and the transformer block
mamba.py           the selective SSM and the Mamba block
blocks.py          MLPs, the causal convolution of tokens
dropout.py         dropout that is the same on any number of workers
hierarchy.py       models of two levels: one sets goals, the other acts on them
trimming.py        Trunk: blocks in a row, where the last one computes only the tokens that are read
initialisation.py  initial weights of a trunk. They also replace the SSM's step size that mamba.py draws
losses.py          losses over real steps
checks.py          checks of a Config
"""

from dmm.layers.attention import Attention, TransformerBlock, attention_bias
from dmm.layers.blocks import MLP, ConvMixer, GatedMLP
from dmm.layers.checks import check_at_least_one, check_divides
from dmm.layers.dropout import Dropout
from dmm.layers.embedding import (
    ATARI,
    TIME_STEPS,
    ActionHead,
    PixelEncoder,
    TokenEmbedding,
    TokenSettings,
    action_embedding,
    initialise_ends,
    state_embedding,
    word_table,
)
from dmm.layers.hierarchy import HierarchicalModel, Level
from dmm.layers.initialisation import initialise, scale_residual_projections, zero_biases
from dmm.layers.losses import masked_cross_entropy, masked_mse
from dmm.layers.mamba import MambaBlock, SelectiveSSM, stock_dt_bias
from dmm.layers.trimming import Trunk, trim, trimmed_to

__all__ = [
    "ATARI",
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
    "PixelEncoder",
    "SelectiveSSM",
    "TokenEmbedding",
    "TokenSettings",
    "TransformerBlock",
    "Trunk",
    "action_embedding",
    "attention_bias",
    "check_at_least_one",
    "check_divides",
    "initialise",
    "initialise_ends",
    "masked_cross_entropy",
    "masked_mse",
    "scale_residual_projections",
    "state_embedding",
    "stock_dt_bias",
    "trim",
    "trimmed_to",
    "word_table",
    "zero_biases",
]

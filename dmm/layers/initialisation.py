"""How weights start. These functions overwrite what PyTorch's modules have drawn."""

import math

from torch import nn


def initialise(trunk: nn.Module, dt_init: str = "published") -> None:
    """Draws every weight of a Linear and of an Embedding in a trunk from N(0, 0.02), and zeroes biases.

    With dt_init="stock" the projection to the SSM's step size keeps the initialisation of mamba-ssm.
    """
    for name, module in trunk.named_modules():
        if isinstance(module, nn.Linear) and not (dt_init == "stock" and name.endswith("dt_proj")):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)


def scale_residual_projections(model: nn.Module, branches: int) -> None:
    """Scales the output projection of every residual branch by 1 / sqrt(branches), as GPT-2 and mamba-ssm do.

    `branches` is the number of residual branches. Output projections are found by name: `out`, `out_proj` and `down`.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name.endswith((".out", ".out_proj", ".down")):
            module.weight.data /= math.sqrt(branches)


def zero_biases(model: nn.Module) -> None:
    """Zeroes the bias of every Linear, except the bias of an SSM's step size, as mamba-ssm does."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module.bias is not None and not name.endswith("dt_proj"):
            nn.init.zeros_(module.bias)

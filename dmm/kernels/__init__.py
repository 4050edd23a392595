"""The selective scan of Mamba-1: one function in front of mamba-ssm's CUDA kernel and, for all else, a PyTorch loop.

`scan.reference` is the truth that every path is tested against. The kernel is imported when it is first wanted.
"""

import importlib
from collections.abc import Callable
from functools import cache

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from dmm.kernels.scan import fast


@cache
def cuda_kernel() -> tuple[Callable | None, str]:
    """mamba-ssm's kernel, or None and why it cannot be had."""
    try:
        importlib.import_module("selective_scan_cuda")
        return importlib.import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn, ""
    except ImportError as error:
        return None, str(error)


def active(device: torch.device | str) -> str:
    """Says which path tensors on a device take, and why."""
    if torch.device(device).type != "cuda":
        return f"PyTorch loop with a hand-written gradient (mamba-ssm's kernel needs CUDA; the device is {device})"
    kernel, reason = cuda_kernel()
    if kernel is None:
        return f"PyTorch loop with a hand-written gradient (mamba-ssm's CUDA kernel is not there: {reason})"
    return "mamba-ssm's CUDA kernel"


def selective_scan(
    x: Float[Tensor, "B T D"],
    z: Float[Tensor, "B T D"],
    dt: Float[Tensor, "B T D"],
    A: Float[Tensor, "D N"],
    B: Float[Tensor, "B T N"],
    C: Float[Tensor, "B T N"],
    D: Float[Tensor, " D"],
) -> Float[Tensor, "B T D"]:
    """Runs x through the SSM and the gate z; `scan.reference` says what that means."""
    kernel = cuda_kernel()[0] if x.is_cuda and x.dtype != torch.float64 else None
    return fast(x, z, dt, A, B, C, D) if kernel is None else channels_first(kernel, x, z, dt, A, B, C, D)


def channels_first(kernel: Callable, x, z, dt, A, B, C, D) -> Float[Tensor, "B T D"]:
    """Calls mamba-ssm's function, which wants time as the last axis and does the softplus itself."""
    x, z, dt, B, C = (rearrange(value, "b t d -> b d t") for value in (x, z, dt, B, C))
    return rearrange(kernel(x, dt, A, B, C, D, z=z, delta_softplus=True), "b d t -> b t d")

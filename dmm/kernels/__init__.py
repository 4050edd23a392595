"""The selective scan of Mamba-1: one function in front of mamba-ssm's CUDA kernel, a C++ kernel and a PyTorch loop.

scan.py, scan.cpp          the selective scan: a loop to read, a faster loop with its gradient, C++
ssd.py                     the scan of Mamba-2
s4.py                      the S4 layer
conv.py                    convolutions and linear maps of the last few tokens
sampling.py, sampling.cpp  windows from a table, and the masks of dropout
build.py                   builds the C++ files at their first use

Every path is tested against `scan.reference`. A kernel is imported or built at its first use. DMM_SCAN=torch selects the
PyTorch loop. The paths differ in the last bits, so a result records which path made it.
"""

import importlib
import os
from collections.abc import Callable
from functools import cache

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from dmm.kernels import build as compiled
from dmm.kernels import scan
from dmm.kernels.build import CompiledScan, library
from dmm.kernels.scan import fast


@cache
def cuda_kernel() -> tuple[Callable | None, str]:
    """The kernel of mamba-ssm, or None and the reason why it is missing."""
    try:
        importlib.import_module("selective_scan_cuda")
        return importlib.import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn, ""
    except ImportError as error:
        return None, str(error)


def choice(device: torch.device | str) -> tuple[str, str]:
    """The path of float32 tensors on a device, and the reason why it is not a faster one ("" if it is the fastest).

    Raises ValueError if DMM_SCAN has an unknown value.
    """
    setting, kind = os.environ.get("DMM_SCAN", ""), torch.device(device).type
    if setting not in ("", "torch"):
        raise ValueError(f"DMM_SCAN={setting} is not known; it is torch, for the PyTorch loop, or not set")
    if setting:
        return "PyTorch", "DMM_SCAN=torch"
    if kind not in ("cpu", "cuda"):
        return "PyTorch", f"no kernel for {kind}"
    name, (kernel, reason) = ("C++", library()) if kind == "cpu" else ("mamba-ssm", cuda_kernel())
    return ("PyTorch", f"no {name} kernel: {reason}") if kernel is None else (name, "")


def path(device: torch.device | str) -> str:
    """The name of the path that tensors on a device take: "C++", "mamba-ssm" or "PyTorch"."""
    return choice(device)[0]


def active(device: torch.device | str) -> str:
    """A sentence: the path that tensors on a device take, and the reason."""
    name, reason = choice(device)
    return f"PyTorch loop with a hand-written gradient ({reason})" if reason else f"{name} kernel"


def selective_scan(
    x: Float[Tensor, "B T D"],
    z: Float[Tensor, "B T D"],
    dt: Float[Tensor, "B T D"],
    A: Float[Tensor, "D N"],
    B: Float[Tensor, "B T N"],
    C: Float[Tensor, "B T N"],
    D: Float[Tensor, " D"],
) -> Float[Tensor, "B T D"]:
    """Runs x through the SSM and the gate z, on the fastest path. The equations are those of `scan.reference`."""
    values, name = (x, z, dt, A, B, C, D), path(x.device)
    if torch.is_autocast_enabled(x.device.type):
        values = tuple(value.float() for value in values)
    if name == "C++" and all(value.dtype == torch.float32 for value in values):
        return CompiledScan.apply(*values)
    kernel = cuda_kernel()[0] if name == "mamba-ssm" and x.dtype != torch.float64 else None
    return fast(*values) if kernel is None else channels_first(kernel, *values)


def resume(*values, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`selective_scan` from the state h [B D N] after earlier tokens. Returns y and the new state."""
    simple = not torch.is_grad_enabled() and all(value.dtype == torch.float32 for value in values)
    if simple and path(values[0].device) == "C++":
        return compiled.resume(*values, h=h)
    return scan.resume(*values, h=h)


def channels_first(kernel: Callable, x, z, dt, A, B, C, D) -> Float[Tensor, "B T D"]:
    """Calls the function of mamba-ssm, which has time as its last axis and applies the softplus itself."""
    x, z, dt, B, C = (rearrange(value, "b t d -> b d t") for value in (x, z, dt, B, C))
    return rearrange(kernel(x, dt, A, B, C, D, z=z, delta_softplus=True), "b d t -> b t d")

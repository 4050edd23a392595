"""Sampling of a batch: windows of a table, and masks of dropout. C++ does it where it gives the same bits as PyTorch.

PyTorch draws a mask number by number, which takes a tenth of an update of DT. Intel's processors draw in another way, by
MKL. There, and where there is no compiler, PyTorch does the work.
"""

import ctypes
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dmm.kernels.build import library


class WindowArguments(ctypes.Structure):
    """The struct Windows of sampling.cpp."""

    _fields_ = [(name, ctypes.c_int64) for name in ("batch", "K", "columns", "left")] + [
        (name, ctypes.c_void_p) for name in ("start", "end", "table", "shift", "divisor", "pad", "found", "mask")
    ]


def gather_windows(
    table: Float[Tensor, "rows columns"],
    start: Int64[Tensor, " B"],
    end: Int64[Tensor, " B"],
    length: int,
    left: bool,
    constants: tuple[Float[Tensor, " columns"], Float[Tensor, " columns"], Float[Tensor, " columns"]],
) -> tuple[Float[Tensor, "B K columns"], Bool[Tensor, "B K"]] | None:
    """The windows of a table and the masks of their real rows, or None without C++.

    A window has the rows from `start` up to `end`, and at most K = `length` of them. It is padded on the left or the right.
    The constants are shift, divisor and pad. A row becomes (row - shift) / divisor. A padded row is a row of zeros that is
    mapped alike, plus pad.
    """
    kernel = library()[0] if table.device.type == "cpu" else None
    if kernel is None:
        return None
    found = table.new_empty(len(start), length, table.shape[1])
    mask = torch.empty(found.shape[:2], dtype=torch.bool)
    tensors = (start.contiguous(), end.contiguous(), table, *constants, found, mask)
    kernel.dmm_gather_windows(
        ctypes.byref(WindowArguments(*found.shape, left, *(tensor.data_ptr() for tensor in tensors)))
    )
    return found, mask


def dropout_mask(*shape: int, p: float, like: Tensor) -> Tensor:
    """The mask that dropout multiplies by: 0 with probability p, else 1 / (1 - p).

    Its random numbers come from torch's global generator. Its dtype and device are those of `like`.
    """
    if like.device.type != "cpu" or like.dtype == torch.float64 or not matches_torch(p):
        return F.dropout(like.new_ones(shape), p)
    return compiled_dropout_mask(shape, p, torch.default_generator).to(like.dtype)


def compiled_dropout_mask(shape: tuple[int, ...], p: float, generator: torch.Generator) -> Tensor:
    """`dropout_mask` in C++ and float32, from the given generator."""
    state, found = generator.get_state(), torch.empty(shape)
    keep, value = ctypes.c_double(1 - p), ctypes.c_float(float(torch.ones(1).div_(1 - p)))
    kernel = library()[0]
    assert kernel is not None
    kernel.dmm_dropout_mask(ctypes.c_void_p(state.data_ptr()), keep, value, ctypes.c_int64(found.numel()),
                           ctypes.c_void_p(found.data_ptr()))  # fmt: skip
    generator.set_state(state)
    return found


@cache
def matches_torch(p: float) -> bool:
    """Whether C++ gives the mask of torch bit for bit and leaves the generator in the same state. False without C++."""
    if library()[0] is None or not 0 < p <= 0.5:
        return False
    ours, theirs = (torch.Generator().manual_seed(0) for _ in range(2))
    for count in (1, 1000, 313):
        expected = torch.empty(count).bernoulli_(1 - p, generator=theirs).div_(1 - p)
        if not torch.equal(compiled_dropout_mask((count,), p, ours), expected):
            return False
    return torch.equal(torch.rand(3, generator=ours), torch.rand(3, generator=theirs))

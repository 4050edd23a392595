"""What a batch is drawn with, in C++ where it gives PyTorch's own bits: windows of a table, and the noise of dropout.

PyTorch draws a mask number by number, which takes a tenth of an update of DT. On processors where it draws in another way
(Intel's, by MKL), and where there is no compiler, PyTorch does the work.
"""

import ctypes
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dmm.kernels.build import library


class WindowArguments(ctypes.Structure):
    """As in draw.cpp."""

    _fields_ = [(name, ctypes.c_int64) for name in ("batch", "K", "columns", "left")] + [
        (name, ctypes.c_void_p) for name in ("start", "end", "table", "shift", "divisor", "pad", "found", "mask")
    ]


def gather_windows(
    table: Float[Tensor, "rows C"],
    start: Int64[Tensor, " B"],
    end: Int64[Tensor, " B"],
    length: int,
    left: bool,
    constants: tuple[Float[Tensor, " C"], Float[Tensor, " C"], Float[Tensor, " C"]],
) -> tuple[Float[Tensor, "B K C"], Bool[Tensor, "B K"]] | None:
    """Rows start to end, at most `length` of them, padded on the left or the right, and which are real; None without C++.

    With the constants shift, divisor and pad a row is (row - shift) / divisor, and a pad is that of a row of zeros, plus pad.
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
    """What dropout multiplies by: 0 with probability p, else 1 / (1 - p); from torch's global generator."""
    if like.device.type != "cpu" or like.dtype == torch.float64 or not matches_torch(p):
        return F.dropout(like.new_ones(shape), p)
    return compiled_dropout_mask(shape, p, torch.default_generator).to(like.dtype)


def compiled_dropout_mask(shape: tuple[int, ...], p: float, generator: torch.Generator) -> Tensor:
    """`dropout_mask` in C++, in float32."""
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
    """Whether the C++ noise is there and is torch's, bit for bit, with the generator left at the same place."""
    if library()[0] is None or not 0 < p <= 0.5:
        return False
    ours, theirs = (torch.Generator().manual_seed(0) for _ in range(2))
    for count in (1, 1000, 313):
        expected = torch.empty(count).bernoulli_(1 - p, generator=theirs).div_(1 - p)
        if not torch.equal(compiled_dropout_mask((count,), p, ours), expected):
            return False
    return torch.equal(torch.rand(3, generator=ours), torch.rand(3, generator=theirs))

"""Sampling of a batch: windows of a table, and masks of dropout. C++ and PyTorch give the same bits.

A mask is not drawn from a generator. It is a hash of a key, the number of the call, the row and the place in the row. So
each entry can be computed alone, on any worker and any device.
"""

import ctypes

import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor

from dmm.kernels.build import library

# factors of the hash, as signed words of 32 bits. Products wrap around
GOLDEN, FACTOR_1, FACTOR_2, FACTOR_3 = 0x9E3779B9 - 2**32, 0x7FEB352D, 0x846CA68B - 2**32, 0x31848BAB


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
    mapped in the same way, plus pad.
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


class MaskArguments(ctypes.Structure):
    """The struct Mask of sampling.cpp."""

    _fields_ = [
        (name, ctypes.c_int64) for name in ("rows", "outer", "tokens", "inner", "start", "step", "count", "call")
    ] + [("limit", ctypes.c_int32), ("value", ctypes.c_float), ("keys", ctypes.c_void_p), ("found", ctypes.c_void_p)]


def row_keys(key: Int64[Tensor, ""], first_row: int, rows: int) -> Int32[Tensor, "2 rows"]:
    """Two words for each row from `first_row` on: a hash of a key of 64 bits and the row's index."""
    kernel = library()[0] if key.device.type == "cpu" else None
    if kernel is not None:
        keys = torch.empty(2, rows, dtype=torch.int32)
        arguments = (ctypes.c_int64(value) for value in (int(key), first_row, rows))
        kernel.dmm_row_keys(*arguments, ctypes.c_void_p(keys.data_ptr()))
        return keys
    words = torch.arange(1, 3, dtype=torch.int32, device=key.device)
    for half in key.view(1).view(torch.int32):
        words = mixed(words ^ half)
    return mixed(words[:, None] ^ torch.arange(first_row, first_row + rows, dtype=torch.int32, device=key.device))


def dropout_mask(
    keys: Int32[Tensor, "2 rows"], call: int, shape: tuple[int, int, int], read: range, p: float, like: Tensor
) -> Float[Tensor, "rows outer read inner"]:
    """The mask that dropout multiplies by: 0 with probability p, else 1 / (1 - p).

    It is the mask of the tokens `read` of a whole sequence. The whole sequence has rows of this shape: outer, tokens,
    inner. An entry depends only on the row's keys, the number of the call, and the entry's place in the row of the whole
    sequence. The mask has the device and dtype of `like`. The same entries are 0 on every device and in every dtype.
    """
    # an entry is kept where its word, as a signed number, is below this limit
    limit, value = min(int((1 - p) * 2**32), 2**32 - 1) - 2**31, 1 / (1 - p) if p < 1 else 0.0
    kernel = library()[0] if like.device.type == "cpu" and like.dtype != torch.float64 else None
    (outer, tokens, inner), rows = shape, keys.shape[1]
    if kernel is not None:
        found = torch.empty(rows, outer, len(read), inner)
        sizes = rows, outer, tokens, inner, read.start, read.step, len(read), call
        addresses = keys.data_ptr(), found.data_ptr()
        kernel.dmm_dropout_mask(ctypes.byref(MaskArguments(*sizes, limit, value, *addresses)))
        return found.to(like.dtype)
    places = torch.arange(outer * tokens * inner, dtype=torch.int32, device=keys.device).view(shape)
    first, second = mixed(keys ^ call)[..., None, None, None]
    x = places[:, read.start : read.stop : read.step] * GOLDEN + first
    x ^= shifted(x, 16)
    x *= FACTOR_1
    x ^= second
    x ^= shifted(x, 15)
    x *= FACTOR_2
    x ^= shifted(x, 16)
    x *= FACTOR_3
    return (x < limit).to(like.dtype) * value


def mixed(x: Int32[Tensor, "*shape"]) -> Int32[Tensor, "*shape"]:
    """A hash of each word: Chris Wellons' lowbias32."""
    x = (x ^ shifted(x, 16)) * FACTOR_1
    x = (x ^ shifted(x, 15)) * FACTOR_2
    return x ^ shifted(x, 16)


def shifted(x: Int32[Tensor, "*shape"], bits: int) -> Int32[Tensor, "*shape"]:
    """Each word moved to the right. Zeros follow from the left, where torch would repeat the sign."""
    return (x >> bits) & (2 ** (32 - bits) - 1)

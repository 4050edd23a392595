"""Trunk: blocks one after another, where the last block computes only the tokens that are read after it.

The last block of a Decision Transformer computes one token of three, because nothing reads the others. An architecture only
says which tokens are read: `self.blocks(x, read=...)`. A block that supports trimming sets `trims = True`. It adds its
residual to `trim(x)`, and the layers of dmm.layers inside it are in the same context. Any other block computes all tokens,
and Trunk drops those that are not read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn


class Trimming(NamedTuple):
    """The tokens of a sequence that are read later."""

    read: slice
    length: int  # of the whole sequence, in tokens


ACTIVE: ContextVar[Trimming | None] = ContextVar("trimming", default=None)


@contextmanager
def trimmed_to(read: slice, length: int) -> Iterator[None]:
    """Inside this context layers return only the tokens `read` of a sequence of `length` tokens."""
    token = ACTIVE.set(None if read == slice(None) else Trimming(read, length))
    try:
        yield
    finally:
        ACTIVE.reset(token)


def trim(x: Tensor, axis: int = 1) -> Tensor:
    """The tokens of the whole sequence x that are read later: all of them outside `trimmed_to`. A view."""
    trimming = ACTIVE.get()
    if trimming is None:
        return x
    assert x.shape[axis] == trimming.length, f"{x.shape[axis]} tokens; the whole sequence has {trimming.length}"
    return x[(slice(None),) * axis + (trimming.read,)]


class Trunk(nn.ModuleList):
    """Blocks in a row. Each is called as `block(x, *arguments)` and returns a sequence of the same shape."""

    def forward(self, x: Float[Tensor, "B T H"], *arguments, read: slice = slice(None)) -> Float[Tensor, "B read H"]:
        """Runs all blocks and returns the tokens `read`."""
        *blocks, last = self
        for block in blocks:
            x = block(x, *arguments)
        if not getattr(last, "trims", False):
            return last(x, *arguments)[:, read]
        with trimmed_to(read, x.shape[1]):
            return last(x, *arguments)

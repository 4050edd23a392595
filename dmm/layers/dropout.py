"""Dropout whose masks depend neither on the number of workers nor on trimming.

In training a mask is a hash of four things: the batch's key, the number of the dropout call in this forward pass, the row
in the whole batch, and the place in the whole sequence.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property

import torch.nn.functional as F
from jaxtyping import Float, Int32
from torch import Tensor, nn

from dmm.batch import Batch
from dmm.kernels.sampling import dropout_mask, row_keys
from dmm.layers.trimming import ACTIVE


class ForwardPass:
    """A forward pass of a batch that has a dropout key."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.calls = 0  # of dropout so far

    @cached_property
    def keys(self) -> Int32[Tensor, "2 rows"]:
        """The keys of the batch's rows. All calls share them."""
        assert self.batch.dropout_key is not None
        return row_keys(self.batch.dropout_key, self.batch.first_row, len(self.batch.mask))


FORWARD_PASS: ContextVar[ForwardPass | None] = ContextVar("forward pass", default=None)


@contextmanager
def keyed_dropout(batch: Batch) -> Iterator[None]:
    """Inside this context the masks of dropout come from the batch's key.

    Outside of it, and for a batch without a key, they come from torch's global generator, like those of nn.Dropout.
    """
    token = FORWARD_PASS.set(None if batch.dropout_key is None else ForwardPass(batch))
    try:
        yield
    finally:
        FORWARD_PASS.reset(token)


def drop(x: Float[Tensor, "rows *shape"], p: float, axis: int = 1) -> Float[Tensor, "rows *shape"]:
    """Sets entries of x to 0 with probability p, and scales the others up. Tokens are on the given axis.

    Inside `trimmed_to` a token that is read has the same mask as in the whole sequence. Raises ValueError if the
    rows of x cannot be divided among the rows of the batch.
    """
    forward = FORWARD_PASS.get()
    if forward is None:
        return F.dropout(x, p)
    rows, trimming, tokens = len(forward.batch.mask), ACTIVE.get(), x.shape[axis]
    if len(x) % rows:
        raise ValueError(f"dropout is given {len(x)} rows; they cannot be divided among the {rows} rows of the batch")
    read = range(tokens)
    if trimming is not None and tokens != trimming.length:
        tokens, read = trimming.length, range(trimming.length)[trimming.read]
    whole = math.prod(x.shape[:axis]) // rows, tokens, math.prod(x.shape[axis + 1 :])
    mask = dropout_mask(forward.keys, forward.calls, whole, read, p, like=x)
    forward.calls += 1
    return x * mask.view(x.shape)


class Dropout(nn.Dropout):
    """Dropout of tokens, while the module trains."""

    def forward(self, x: Float[Tensor, "B tokens H"]) -> Float[Tensor, "B tokens H"]:
        """x, or in training `drop` of x."""
        return drop(x, self.p) if self.training and self.p else x

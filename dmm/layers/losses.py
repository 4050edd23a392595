"""Losses over the real steps of a batch."""

from einops import reduce
from jaxtyping import Float
from torch import Tensor

from dmm.batch import Batch


def masked_mse(pred: Float[Tensor, "B K size"], truth: Float[Tensor, "B K size"], batch: Batch) -> Float[Tensor, ""]:
    """Mean squared error over real steps and dimensions."""
    error = reduce((pred - truth) ** 2, "b k size -> b k", "mean")
    return (error * batch.mask).sum() / batch.mask.sum()

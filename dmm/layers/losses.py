"""Losses over the real steps of a batch."""

import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Float, Int64
from torch import Tensor

from dmm.batch import Batch


def masked_mse(pred: Float[Tensor, "B K size"], truth: Float[Tensor, "B K size"], batch: Batch) -> Float[Tensor, ""]:
    """Mean squared error over real steps and dimensions."""
    error = reduce((pred - truth) ** 2, "b k size -> b k", "mean")
    return (error * batch.mask).sum() / batch.mask.sum()


def masked_cross_entropy(
    logits: Float[Tensor, "B K V"], truth: Int64[Tensor, "B K"], batch: Batch
) -> Float[Tensor, ""]:
    """Mean cross-entropy over real steps, in float32."""
    error = F.cross_entropy(rearrange(logits.float(), "b k v -> b v k"), truth, reduction="none")
    return (error * batch.mask).sum() / batch.mask.sum()

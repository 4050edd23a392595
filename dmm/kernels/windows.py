"""Maps with gradients written out: a dense map of the last few tokens, a causal depthwise convolution, a widening map.

Of the first two autograd would give every tap a gradient of the whole sequence's size and then add them up.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def dense(x: Float[Tensor, "B T H"], weight: Float[Tensor, "M W"]) -> Float[Tensor, "B T M"]:
    """The weight times the last W / H tokens, oldest first."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind):  # which would not reach the gradient
        x, weight = (value.to(torch.get_autocast_dtype(kind)) for value in (x, weight))
    return Dense.apply(x, weight)


def depthwise(
    x: Float[Tensor, "B T H"], weight: Float[Tensor, "filters H window"], bias: Float[Tensor, "filters H"]
) -> Float[Tensor, "B T H"]:
    """A sum over the last `window` tokens, channel by channel, with token t taking filter t mod `filters`."""
    x, tokens = x.to(weight.dtype), x.shape[1]
    if missing := -tokens % len(weight):  # of the last step
        x = F.pad(x, (0, 0, 0, missing))
    return Depthwise.apply(x, weight, bias)[:, :tokens]


def widen(x: Float[Tensor, "B T R"], weight: Float[Tensor, "D R"], bias: Float[Tensor, " D"]) -> Float[Tensor, "B T D"]:
    """nn.Linear from a few inputs to many outputs: on a CPU with gradients several times as fast."""
    if torch.is_autocast_enabled(x.device.type):
        return F.linear(x, weight, bias)
    return Widen.apply(x, weight, bias)


class Widen(torch.autograd.Function):
    """`widen`; in both products of the gradient the few come first, which BLAS does far better than last."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y):
        (x, weight), flat = ctx.saved_tensors, grad_y.flatten(0, 1)
        grad_x = (weight.T @ flat.T).T.reshape(x.shape)
        return grad_x, (x.flatten(0, 1).T @ flat).T, flat.sum(0)


class Dense(torch.autograd.Function):
    """`dense`; both gradients come from windows, too: for each token the gradients of those that read it, itself first."""

    @staticmethod
    def forward(ctx, x, weight):
        window = weight.shape[1] // x.shape[2]
        seen = unfolded(F.pad(x, (0, 0, window - 1, 0)), window)
        ctx.save_for_backward(x, weight)
        return (seen @ weight.T).view(*x.shape[:2], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y):
        x, weight = ctx.saved_tensors
        window = weight.shape[1] // x.shape[2]
        readers = unfolded(F.pad(grad_y, (0, 0, 0, window - 1)), window)
        taps = rearrange(weight, "m (w h) -> w m h", w=window).flip(0)
        grad_x = (readers @ rearrange(taps, "w m h -> (w m) h")).view(x.shape)
        grad_taps = rearrange(readers.T @ x.flatten(0, 1), "(w m) h -> w m h", w=window).flip(0)
        return grad_x, rearrange(grad_taps, "w m h -> m (w h)")


def unfolded(padded: Float[Tensor, "B P H"], window: int) -> Float[Tensor, "BT W"]:
    """Every run of `window` tokens, end to end; each is copied as one piece."""
    return padded.unfold(1, window, 1).transpose(2, 3).flatten(2).flatten(0, 1)


class Depthwise(torch.autograd.Function):
    """`depthwise`; nn.Conv1d takes two to three times as long on a CPU at these sizes."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        taps, filters = weight.unbind(2), len(bias)
        y = bias.repeat(len(x), x.shape[1] // filters, 1, 1)  # B K M H
        for tap, values in zip(taps, delayed(x, len(taps), filters), strict=True):
            y.addcmul_(values, tap)
        return y.flatten(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y):
        x, weight = ctx.saved_tensors
        taps, filters = weight.unbind(2), len(weight)
        grad_x = grad_y.new_zeros(len(x), len(taps) - 1 + x.shape[1], x.shape[2])
        grad_y = rearrange(grad_y, "b (k m) h -> b k m h", m=filters)
        grad_taps = []
        for start, (tap, values) in enumerate(zip(taps, delayed(x, len(taps), filters), strict=True)):
            part = grad_x[:, start : start + x.shape[1]]
            rearrange(part, "b (k m) h -> b k m h", m=filters).addcmul_(grad_y, tap)
            grad_taps.append((grad_y * values).flatten(0, 1).sum(0))
        return grad_x[:, len(taps) - 1 :], torch.stack(grad_taps, 2), grad_y.flatten(0, 1).sum(0)


def delayed(x: Float[Tensor, "B T H"], window: int, filters: int) -> list[Float[Tensor, "B K M H"]]:
    """The sequence delayed by window - 1, ..., 1, 0 tokens, zeros moving in."""
    padded, length = F.pad(x, (0, 0, window - 1, 0)), x.shape[1]
    views = (padded[:, start : start + length] for start in range(window))
    return [rearrange(view, "b (k m) h -> b k m h", m=filters) for view in views]

"""Causal convolutions over tokens, dense and depthwise, and a linear layer with few inputs: each in its fastest form.

`Depthwise` and `NarrowLinear` have hand-written gradients.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.autograd.function import once_differentiable


def causal_pad(
    x: Float[Tensor, "B T H"], count: int, earlier: Float[Tensor, "B earlier H"] | None = None
) -> Float[Tensor, "B padded H"]:
    """The sequence with `count` tokens before it: the `earlier` ones, or zeros."""
    return F.pad(x, (0, 0, count, 0)) if earlier is None else torch.cat([earlier, x], 1)


def causal_shifts(
    x: Float[Tensor, "B T H"], kernel_size: int, earlier: Float[Tensor, "B earlier H"] | None = None
) -> tuple[list[Float[Tensor, "B T H"]], Float[Tensor, "B earlier H"]]:
    """The sequence delayed by kernel_size - 1, ..., 1, 0 tokens, and its last kernel_size - 1 tokens.

    The `earlier` tokens move in from the left. If there are none, zeros move in. The last tokens are the `earlier` ones of the
    next call.
    """
    padded, length = causal_pad(x, kernel_size - 1, earlier), x.shape[1]
    return [padded[:, start : start + length] for start in range(kernel_size)], padded[:, length:]


def dense(x: Float[Tensor, "B T H"], weight: Float[Tensor, "output window"]) -> Float[Tensor, "B T output"]:
    """The weight times the last window / H tokens, oldest first. Zeros come before the first token."""
    # oneDNN's convolution is faster than unfolding. Other convolutions on a CPU are far slower. cuDNN computes in TF32
    fast = x.device.type == "cpu" and torch.backends.mkldnn.is_available()
    return convolved(x, weight) if fast else unfolded(x, weight)


def unfolded(x: Float[Tensor, "B T H"], weight: Float[Tensor, "output window"]) -> Float[Tensor, "B T output"]:
    """`dense` in a form to read: the last tokens of each token are copied."""
    kernel_size = weight.shape[1] // x.shape[2]
    windows = causal_pad(x, kernel_size - 1).unfold(1, kernel_size, 1)  # B T H kernel_size
    return F.linear(windows.transpose(2, 3).flatten(2), weight)


def convolved(x: Float[Tensor, "B T H"], weight: Float[Tensor, "output window"]) -> Float[Tensor, "B T output"]:
    """`dense` as a convolution with channels last. It reads the tokens in place."""
    kernel_size = weight.shape[1] // x.shape[2]
    padded = causal_pad(x, kernel_size - 1).transpose(1, 2)  # B H padded
    taps = weight.unflatten(1, (kernel_size, -1)).transpose(1, 2)  # output H kernel_size
    return F.conv2d(padded.unsqueeze(2), taps.unsqueeze(2)).squeeze(2).transpose(1, 2)


def depthwise(
    x: Float[Tensor, "B T H"], weight: Float[Tensor, "filters H kernel_size"], bias: Float[Tensor, "filters H"]
) -> Float[Tensor, "B T H"]:
    """A weighted sum over the last `kernel_size` tokens, per channel. Token t takes filter t mod `filters`."""
    x, tokens = x.to(weight.dtype), x.shape[1]
    if missing := -tokens % len(weight):  # tokens of the last step
        x = F.pad(x, (0, 0, 0, missing))
    return Depthwise.apply(x, weight, bias)[:, :tokens]


def narrow_linear(
    x: Float[Tensor, "B T R"], weight: Float[Tensor, "D R"], bias: Float[Tensor, " D"]
) -> Float[Tensor, "B T D"]:
    """F.linear from few inputs (R) to many outputs (D). On a CPU with gradients it is several times as fast."""
    if torch.is_autocast_enabled(x.device.type) or not torch.is_grad_enabled():
        return F.linear(x, weight, bias)
    return NarrowLinear.apply(x, weight, bias)


class NarrowLinear(torch.autograd.Function):
    """`narrow_linear`. Both products of its gradient have R as their first axis, because BLAS is far slower with R last."""

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


class Depthwise(torch.autograd.Function):
    """`depthwise`. nn.Conv1d takes two to three times as long on a CPU at these sizes."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        taps, filters = weight.unbind(2), len(bias)
        y = bias.repeat(len(x), x.shape[1] // filters, 1, 1)  # B steps filters H
        for tap, values in zip(taps, causal_shifts(x, len(taps))[0], strict=True):
            y.addcmul_(by_step(values, filters), tap)
        return y.flatten(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y):
        x, weight = ctx.saved_tensors
        taps, filters = weight.unbind(2), len(weight)
        grad_x = grad_y.new_zeros(len(x), len(taps) - 1 + x.shape[1], x.shape[2])
        grad_y = by_step(grad_y, filters)
        grad_taps = []
        for start, (tap, values) in enumerate(zip(taps, causal_shifts(x, len(taps))[0], strict=True)):
            by_step(grad_x[:, start : start + x.shape[1]], filters).addcmul_(grad_y, tap)
            grad_taps.append((grad_y * by_step(values, filters)).flatten(0, 1).sum(0))
        return grad_x[:, len(taps) - 1 :], torch.stack(grad_taps, 2), grad_y.flatten(0, 1).sum(0)


def by_step(x: Float[Tensor, "B T H"], filters: int) -> Float[Tensor, "B steps filters H"]:
    """A view in which every step has one token for each filter."""
    return rearrange(x, "b (k m) h -> b k m h", m=filters)


def convolve_stacks(
    frames: UInt8[Tensor, "B frames height width"],
    weight: Float[Tensor, "output C rows columns"],
    bias: Float[Tensor, " output"] | None,
    stride: int,
) -> Float[Tensor, "stacks output height_out width_out"]:
    """A convolution of the B * K stacks of C frames that follow one another, K = frames - C + 1. No stack is made.

    The stride divides the kernel's size. Each square of stride x stride pixels becomes one pixel with as many channels, because
    a convolution with one channel is slow: on a core, forward and backward take 0.7 of the time on stacks.
    """
    sides = frames.shape[2:]
    used = [(side - kernel) // stride * stride + kernel for side, kernel in zip(sides, weight.shape[2:], strict=True)]
    frames, square = frames[:, :, : used[0], : used[1]], {"y": stride, "x": stride}
    x = rearrange(frames, "b f (h y) (w x) -> b f h w (y x)", **square).to(weight.dtype)
    weight = rearrange(weight, "o c (h y) (w x) -> o (y x) c h w", **square)
    weight = weight.contiguous(memory_format=torch.channels_last_3d)
    x = F.conv3d(rearrange(x, "b f h w p -> b p f h w"), weight, bias)
    return rearrange(rearrange(x, "b o k h w -> b k h w o"), "b k h w o -> (b k) o h w")  # channels last: no copy

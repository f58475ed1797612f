"""Operations that the networks and losses share, in the order and the library in which they are quick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.grad import conv2d_weight


def full(tensor: Tensor) -> Tensor:
    """bfloat16 as float32; float32 and float64 as they are."""
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def pool(features: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C): the mean over positions, in float32 where features are in bfloat16.

    Of a view with channels last: the gradient of `mean((2, 3))` has channels first, and all that is added to it.
    """
    dtype = torch.float32 if features.dtype == torch.bfloat16 else None
    return features.permute(0, 2, 3, 1).flatten(1, 2).mean(1, dtype=dtype)


def _by_onednn(tensor: Tensor) -> bool:
    """Whether products are to be oneDNN's, as torch's own compiler has it: float32 on a CPU.

    Torch's `@` takes MKL there, which has no AVX-512 for AMD's processors: 110 GFLOP/s in place of 250.
    """
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32 and torch.backends.mkldnn.is_available()


def product(first: Tensor, second: Tensor, offset: Tensor | None = None) -> Tensor:
    """first (n, k) @ second (k, m) + offset (m,)."""
    if _by_onednn(first):
        result: Tensor = torch.ops.mkldnn._linear_pointwise(first, second.T, offset, "none", [], "")
        return result
    return torch.mm(first, second) if offset is None else torch.addmm(offset, first, second)


def gram(given: Tensor) -> Tensor:
    """XᵀX (C, C) of samples X (n, C), or of the positions of a feature map (B, C, H, W)."""
    if given.dim() == 4 and _by_onednn(given):
        # The gradient of a 1×1 convolution's weights: the same sum, without turning the samples around in memory.
        slope: Tensor = conv2d_weight(given, (given.shape[1], given.shape[1], 1, 1), given)
        return slope[:, :, 0, 0]
    samples = _samples(given)
    return product(samples.T, samples)


class _ThroughGram(torch.autograd.Function):
    """One product forward, one backward.

    The slope at the Gram matrix is symmetric, and is known as soon as the loss is. So nothing is saved but it and what
    was given, a layer's output or weights, which are in memory anyway.
    """

    @staticmethod
    def forward(ctx: Any, given: Tensor, loss: Callable[[Tensor], Tensor], centred: bool) -> Tensor:
        wide = torch.float32 if given.dtype == torch.bfloat16 else given.dtype
        mean = _samples(given).mean(0, dtype=wide) if centred else None
        # A difference from float32 is in float32: no copy of bfloat16 is needed for it.
        numbers = full(given) if mean is None else given - mean.view(-1, *(1 for _ in given.shape[2:]))
        # Hooks on saved tensors are for those that outlive this function.
        with torch.enable_grad(), saved_tensors_hooks(_as_it_is, _as_it_is):
            products = gram(numbers.detach()).requires_grad_()
            value = loss(products)
            (slope,) = torch.autograd.grad(value, products)
        ctx.save_for_backward(given, mean, slope + slope.T)
        return value.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        given, mean, slope = ctx.saved_tensors
        samples, slope = _samples(full(given)), slope * gradient
        if mean is not None:
            # Deviations times slope. The mean itself has no gradient, as deviations sum to zero.
            found = product(samples, slope, -(mean @ slope))
        else:
            # The result lies in memory as the samples do.
            found = product(samples, slope) if samples.is_contiguous() else product(slope, samples.T).T
        if given.dim() == 4:
            found = found.view(*given.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)
        return found.to(given.dtype), None, None


def _samples(given: Tensor) -> Tensor:
    """(n, C), of a feature map (B, C, H, W) its B·H·W positions."""
    return given.permute(0, 2, 3, 1).flatten(0, 2) if given.dim() == 4 else given


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def through_gram(given: Tensor, loss: Callable[[Tensor], Tensor], *, centred: bool) -> Tensor:
    """loss(XᵀX), a scalar, differentiable once.

    Args:
        given: samples X (n, C), or a feature map (B, C, H, W), whose positions are the samples.
        loss: a scalar of the matrix (C, C).
        centred: take the samples' mean away first.
    """
    result: Tensor = _ThroughGram.apply(given, loss, centred)  # type: ignore[no-untyped-call]
    return result

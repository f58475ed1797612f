"""Similarity of the convolution kernels: functions of a convolution's weight, and the term that uses them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from collabpipe.methods.kernel import KernelTerm
from collabpipe.model.networks import StagedNetwork
from collabpipe.model.tensors import through_gram
from collabpipe.model.terms.base import Step, TermLoss


def _kernels(weight: Tensor) -> Tensor:
    """Kernels (C_out, C_in, k, k) as rows (C_out, C_in·k·k), their numbers in the order in which they lie: no copy."""
    last = weight.is_contiguous(memory_format=torch.channels_last)
    return (weight.permute(0, 2, 3, 1) if last else weight).flatten(1)


def _cosines(gram: Tensor) -> Tensor:
    scale = gram.diagonal().clamp_min(1e-24).rsqrt()  # the floor keeps a dead kernel's row at 0 instead of nan
    return gram * scale[:, None] * scale


def _orthogonality(rows: Tensor, cosines: Callable[[Tensor], Tensor], kernels: int) -> Tensor:
    def loss(gram: Tensor) -> Tensor:
        identity = torch.eye(len(gram), device=gram.device, dtype=gram.dtype)
        return F.mse_loss(cosines(gram), identity, reduction="sum") / kernels

    return through_gram(rows.T, loss, centred=False)


def kernel_rows(weight: Tensor, stride: int = 1) -> Tensor:  # noqa: ARG001 (one signature for all variants)
    """‖G - I‖²_F / C_out, G the cosines between kernels (C_out, C_in, k, k); soft orthogonality (Bansal et al., 2018).

    Where C_out > C_in·k·k kernels cannot be orthogonal: then G is that of the smaller side, the columns.
    """
    rows = _kernels(weight)
    return _orthogonality(rows if rows.shape[0] <= rows.shape[1] else rows.T, _cosines, weight.shape[0])


def kernel_one_sided(weight: Tensor, stride: int = 1) -> Tensor:  # noqa: ARG001
    """As `kernel_rows` with positive cosines alone: after a ReLU antipodal kernels are not redundant."""
    return _orthogonality(_kernels(weight), lambda gram: _cosines(gram).relu(), weight.shape[0])


def kernel_self_convolution(weight: Tensor, stride: int = 1) -> Tensor:
    """‖conv(K, K) - I‖²_F / C_out on normalised kernels (Wang et al., 2020): kernels orthogonal under every shift.

    The product of each kernel with itself, which is 1, is left out. So a dead kernel, all zeros, counts 0.
    The padding, (k - 1) // stride · stride, takes in every shift at which two kernels overlap.
    """
    unit = F.normalize(weight.flatten(1), dim=1).view_as(weight)
    padding = (weight.shape[-1] - 1) // stride * stride
    correlation = F.conv2d(unit, unit, stride=stride, padding=padding)
    centre = correlation.shape[-1] // 2
    self_terms = correlation[:, :, centre, centre].diagonal().square().sum()
    return (correlation.square().sum() - self_terms) / weight.shape[0]


KERNELS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "rows": kernel_rows,
    "one_sided": kernel_one_sided,
    "self_convolution": kernel_self_convolution,
}


class KernelLoss(TermLoss[KernelTerm]):
    """Similarity of the convolution kernels, a mean over the network's convolutions."""

    def __init__(self, term: KernelTerm, network: StagedNetwork, images: int):
        super().__init__(term, network, images)
        self.loss = KERNELS[term.variant]
        # A plain tuple: the layers are the network's, not this module's.
        self.layers = tuple(part for part in network.modules() if isinstance(part, nn.Conv2d))

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        values = [self.loss(layer.weight.float(), layer.stride[0]) for layer in self.layers]
        return torch.stack(values).mean()


TERMS = {KernelTerm: KernelLoss}

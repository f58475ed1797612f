"""Similarity of the convolution kernels against values worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from collabpipe.model.terms import kernel
from tests.model.terms.by_hand import equals, gradient, noise, tensor


def kernels(rows: list[list[float]], *shape: int) -> Tensor:
    return tensor(rows).view(len(rows), *shape)


def test_kernel_rows_is_the_squared_cosine_between_kernels() -> None:
    weight = kernels([[3.0, 4.0, 0.0, 0.0], [8.0, 6.0, 0.0, 0.0], [0.0, 0.0, 0.0, 5.0]], 1, 2, 2)
    assert equals(kernel.kernel_rows(weight), 2 * (24 / 25) ** 2 / 3)


def test_kernel_rows_counts_antipodal_kernels() -> None:
    assert equals(kernel.kernel_rows(kernels([[3.0, 4.0], [-3.0, -4.0]], 2, 1, 1)), 2 * 1.0 / 2)


def test_kernel_rows_takes_the_columns_where_kernels_outnumber_their_entries() -> None:
    # Three kernels of two entries: columns (1, 1, 1) and (1, 0, 0) have cosine 1/√3; the sum is still over C_out.
    weight = kernels([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]], 2, 1, 1)
    assert equals(kernel.kernel_rows(weight), 2 * (1 / 3) / 3)


def test_kernel_rows_can_reach_zero_where_kernels_outnumber_their_entries() -> None:
    # Among four kernels of two entries some must share a direction; their columns can be orthogonal all the same.
    weight = kernels([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], 2, 1, 1)
    assert equals(kernel.kernel_rows(weight), 0.0)


def test_kernel_rows_of_a_square_weight_takes_the_rows() -> None:
    weight = kernels([[3.0, 4.0], [0.0, 1.0]], 2, 1, 1)
    assert equals(kernel.kernel_rows(weight), 2 * 0.8**2 / 2)


def test_kernel_one_sided_ignores_antipodal_kernels() -> None:
    # Cosines 24/25 (first and third), -1 and -24/25: the positive one alone counts.
    weight = kernels([[3.0, 4.0], [-3.0, -4.0], [4.0, 3.0]], 2, 1, 1)
    assert equals(kernel.kernel_one_sided(weight), 2 * (24 / 25) ** 2 / 3)


def test_kernel_one_sided_leaves_antipodal_kernels_without_gradient() -> None:
    (grad,) = gradient(kernel.kernel_one_sided, kernels([[3.0, 4.0], [-3.0, -4.1]], 2, 1, 1))
    assert grad is not None
    assert grad.abs().max() < 1e-12


def test_kernel_self_convolution_counts_every_shift() -> None:
    # Normalised (1, 1, 0)/√2 in the middle row overlaps itself by ½ at the shifts of one to the left and right.
    weight = kernels([[0, 0, 0, 1.0, 1.0, 0, 0, 0, 0]], 1, 3, 3)
    assert equals(kernel.kernel_self_convolution(weight), 2 * 0.5**2)


@pytest.mark.parametrize(("stride", "expected"), [(1, 2 * 0.5**2), (2, 2 * 0.5**2), (3, 0.0)])
def test_kernel_self_convolution_counts_the_shifts_of_the_stride_alone(stride: int, expected: float) -> None:
    # (1, 0, 1)/√2 overlaps itself at shifts of two: at strides 1 and 2, and at no multiple of 3.
    weight = kernels([[0, 0, 0, 1.0, 0, 1.0, 0, 0, 0]], 1, 3, 3)
    assert equals(kernel.kernel_self_convolution(weight, stride), expected)


def test_kernel_self_convolution_skips_shifts_between_strides() -> None:
    weight = kernels([[0, 0, 0, 1.0, 1.0, 0, 0, 0, 0]], 1, 3, 3)
    assert equals(kernel.kernel_self_convolution(weight, 2), 0.0)


@pytest.mark.parametrize(
    ("size", "stride", "expected"),
    [
        # A kernel of ones overlaps itself at a shift of d along one axis by the share (size - d)/size.
        (3, 3, 0.0),
        # A multiple of the stride inside the kernel: 3 of 5 in each direction, alone and with one of the other axis.
        (5, 3, 4 * (2 / 5) ** 2 + 4 * (2 / 5 * 2 / 5) ** 2),
        (2, 1, 4 * (1 / 2) ** 2 + 4 * (1 / 4) ** 2),
        (4, 2, 4 * (2 / 4) ** 2 + 4 * (2 / 4 * 2 / 4) ** 2),
    ],
)
def test_kernel_self_convolution_of_ones(size: int, stride: int, expected: float) -> None:
    assert equals(kernel.kernel_self_convolution(torch.ones(1, 1, size, size).double(), stride), expected)


def test_kernel_self_convolution_counts_kernels_that_are_shifted_copies() -> None:
    # Two deltas in one channel, a step apart: orthogonal as rows, equal under a shift, once in each order.
    weight = kernels([[0, 0, 0, 0, 1.0, 0, 0, 0, 0], [0, 0, 0, 1.0, 0, 0, 0, 0, 0]], 1, 3, 3)
    assert equals(kernel.kernel_rows(weight), 0.0)
    assert equals(kernel.kernel_self_convolution(weight), 2 * 1.0 / 2)


def test_kernel_self_convolution_of_deltas_in_their_own_channels_is_zero() -> None:
    weight = torch.zeros(4, 4, 3, 3, dtype=torch.float64)
    weight[range(4), range(4), 1, 1] = tensor([1.0, 2.0, -3.0, 0.5])
    assert equals(kernel.kernel_self_convolution(weight), 0.0)


@pytest.mark.parametrize("stride", [1, 2])
def test_kernel_self_convolution_of_pointwise_kernels_is_that_of_rows(stride: int) -> None:
    weight = noise(4, 6, 1, 1)
    value = kernel.kernel_self_convolution(weight, stride)
    assert equals(value, kernel.kernel_rows(weight).item(), 1e-9)
    assert value.item() > 0.1


@pytest.mark.parametrize("loss", list(kernel.KERNELS.values()), ids=list(kernel.KERNELS))
def test_kernel_terms_do_not_see_the_kernels_lengths(loss: Callable[[Tensor, int], Tensor]) -> None:
    weight = noise(4, 3, 3, 3)
    longer = weight * tensor([1.0, 10.0, 0.1, 3.0])[:, None, None, None]
    assert equals(loss(longer, 1), loss(weight, 1).item(), 1e-9)


@pytest.mark.parametrize("loss", list(kernel.KERNELS.values()), ids=list(kernel.KERNELS))
def test_kernel_terms_of_a_dead_kernel_have_finite_gradients(loss: Callable[[Tensor, int], Tensor]) -> None:
    weight = noise(4, 3, 3, 3).float()
    weight[2] = 0.0
    (grad,) = gradient(lambda w: loss(w, 1), weight)
    assert grad is not None
    assert grad.isfinite().all()
    assert loss(weight, 1).isfinite()

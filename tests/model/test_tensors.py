"""Operations that networks and losses share: the same numbers as torch's own, in cheaper layouts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from collabpipe.model.tensors import full, gram, pool, product, through_gram

torch.set_num_threads(1)


def drawn(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("turned", [False, True])
def test_product_is_torchs_whichever_library_multiplies(dtype: torch.dtype, turned: bool) -> None:
    first, second, offset = drawn(7, 33, dtype=dtype), drawn(33, 5, dtype=dtype, seed=1), drawn(5, dtype=dtype, seed=2)
    if turned:  # the same numbers, lying the other way in memory
        first, second = first.T.contiguous().T, second.T.contiguous().T
    torch.testing.assert_close(product(first, second), first @ second)
    torch.testing.assert_close(product(first, second, offset), first @ second + offset)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gram_of_a_feature_map_sums_over_images_and_positions(dtype: torch.dtype, layout: torch.memory_format) -> None:
    features = drawn(3, 4, 5, 6, dtype=dtype)
    expected = torch.einsum("bihw,bjhw->ij", features, features)
    torch.testing.assert_close(gram(features.contiguous(memory_format=layout)), expected)


def test_gram_of_rows_is_their_products() -> None:
    rows = drawn(9, 4)
    torch.testing.assert_close(gram(rows), rows.T @ rows)


def test_pool_is_the_mean_and_its_gradient_has_channels_last_as_the_features_have() -> None:
    features = drawn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    pooled = pool(features)
    torch.testing.assert_close(pooled, features.mean((2, 3)))
    pooled.square().sum().backward()
    assert features.grad is not None
    torch.testing.assert_close(features.grad, (2 * pooled / 20)[:, :, None, None].expand(2, 3, 4, 5))
    assert features.grad.is_contiguous(memory_format=torch.channels_last)


def loss_of(products: Tensor) -> Tensor:
    scale = (products.diagonal() + 0.1).rsqrt()
    return (products * scale[:, None] * scale).pow(3).sum()


def plainly(given: Tensor, centred: bool) -> Tensor:
    """The same by torch's own operations and gradients."""
    samples = given.movedim(1, -1).flatten(0, -2)
    samples = samples - samples.mean(0) if centred else samples
    return loss_of(samples.T @ samples)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("shape", [(9, 4), (3, 4, 5, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_through_gram_has_the_value_and_gradient_of_the_written_out_loss(
    shape: tuple[int, ...], centred: bool, dtype: torch.dtype
) -> None:
    # Far from zero, so that a forgotten mean shows.
    ours, plain = ((drawn(*shape, dtype=dtype) + 3.0).requires_grad_() for _ in range(2))
    value, expected = through_gram(ours, loss_of, centred=centred), plainly(plain, centred)
    torch.testing.assert_close(value, expected)
    (0.5 * value).backward()
    (0.5 * expected).backward()
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-3 if dtype == torch.float32 else 1e-7, atol=1e-4)


def test_through_gram_takes_rows_that_lie_as_columns() -> None:
    rows = drawn(4, 9).requires_grad_()
    through_gram(rows.T, loss_of, centred=False).backward()
    found, rows.grad = rows.grad, None
    plainly(rows.T, False).backward()
    assert found is not None
    torch.testing.assert_close(found, rows.grad)
    assert found.is_contiguous()


def test_through_gram_reckons_bfloat16_in_float32_and_answers_in_bfloat16() -> None:
    features = drawn(4, 3, 5, 5, dtype=torch.bfloat16).requires_grad_()
    value = through_gram(features, loss_of, centred=True)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, plainly(full(features.detach()), True))
    value.backward()
    assert features.grad is not None
    assert features.grad.dtype == torch.bfloat16


def test_through_gram_keeps_what_was_given_and_the_slope_alone() -> None:
    features = drawn(4, 3, 5, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        through_gram(features, loss_of, centred=True)
    own = features.untyped_storage().data_ptr()
    assert sorted(tensor.numel() for tensor in kept if tensor.untyped_storage().data_ptr() != own) == [3, 9]

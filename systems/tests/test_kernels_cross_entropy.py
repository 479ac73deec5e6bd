"""The kernel of the loss against torch; without a GPU, Triton interprets it."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from lm_basics.nn.ops import IGNORED_TARGET
from lm_systems.kernels import cross_entropy as module
from lm_systems.kernels.cross_entropy import cross_entropy_rows


def _inputs(device: str, rows: int, vocab_size: int) -> tuple[Tensor, Tensor]:
    logits = 5 * torch.randn(rows, vocab_size, device=device)
    # As a batch's targets may lie in memory: with gaps.
    targets = torch.randint(0, vocab_size, (rows, 2), device=device)[:, 1]
    targets[::3] = IGNORED_TARGET
    return logits, targets


# Columns that end inside of a block, at its end, and within the first one.
@pytest.mark.parametrize("vocab_size", [100, 64, 5])
def test_losses_and_gradients_equal_torch_s(
    vocab_size: int, kernel_device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK_SIZE", 32)
    logits, targets = _inputs(kernel_device, 7, vocab_size)
    exact = logits.clone().requires_grad_()
    expected = functional.cross_entropy(exact, targets, reduction="none")
    expected.sum().backward()
    kept = logits.clone()
    losses = cross_entropy_rows(logits, targets, needs_gradients=False)
    assert torch.equal(logits, kept)
    assert_close(losses, expected.detach())
    assert torch.equal(cross_entropy_rows(logits, targets, needs_gradients=True), losses)
    assert_close(logits, exact.grad)


def test_logits_in_the_thousands_do_not_overflow(kernel_device: str) -> None:
    logits, targets = _inputs(kernel_device, 4, 40)
    logits *= 1_000
    expected = functional.cross_entropy(logits, targets, reduction="none")
    assert_close(cross_entropy_rows(logits, targets, needs_gradients=True), expected)
    assert logits.isfinite().all()


@pytest.mark.parametrize("target", [-1, 40])
def test_a_target_that_is_no_column_is_told(target: int, kernel_device: str) -> None:
    logits, targets = _inputs(kernel_device, 4, 40)
    targets[1] = target
    losses = cross_entropy_rows(logits, targets, needs_gradients=True)
    assert losses.isnan().tolist() == [False, True, False, False]


def test_excluded_columns_may_fill_a_block(
    kernel_device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK_SIZE", 32)
    logits, targets = _inputs(kernel_device, 3, 100)
    logits[:, :32] = float("-inf")
    targets[:] = 50
    expected = functional.cross_entropy(logits, targets, reduction="none")
    assert_close(cross_entropy_rows(logits, targets, needs_gradients=True), expected)
    assert logits.isfinite().all()


def test_logits_with_gaps_are_refused(kernel_device: str) -> None:
    logits, targets = _inputs(kernel_device, 4, 40)
    with pytest.raises(ValueError, match=r"contiguous, got strides \(40, 2\)"):
        cross_entropy_rows(logits[:, ::2], targets, needs_gradients=False)

"""The kernel of the loss against torch; without a GPU, Triton interprets it."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from lm_basics.nn.ops import IGNORED_TARGET
from lm_systems.kernels import cross_entropy as module
from lm_systems.kernels.cross_entropy import cross_entropy_rows

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def _inputs(rows: int, vocab_size: int) -> tuple[Tensor, Tensor, Tensor]:
    logits = 5 * torch.randn(rows, vocab_size, device=DEVICE)
    targets = torch.randint(0, vocab_size, (rows,), device=DEVICE)
    targets[::3] = IGNORED_TARGET
    return logits, targets, (targets != IGNORED_TARGET).sum()


# Columns that end inside of a block, at its end, and within the first one.
@pytest.mark.parametrize("vocab_size", [100, 64, 5])
def test_losses_and_gradients_equal_torch_s(
    vocab_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK_SIZE", 32)
    logits, targets, count = _inputs(7, vocab_size)
    exact = logits.clone().requires_grad_()
    expected = functional.cross_entropy(exact, targets, reduction="none")
    (expected.sum() / count).backward()
    kept = logits.clone()
    losses = cross_entropy_rows(logits, targets, count, needs_gradients=False)
    assert torch.equal(logits, kept)
    assert_close(losses, expected.detach())
    assert torch.equal(cross_entropy_rows(logits, targets, count, needs_gradients=True), losses)
    assert_close(logits, exact.grad)


def test_logits_in_the_thousands_do_not_overflow() -> None:
    logits, targets, count = _inputs(4, 40)
    logits *= 1_000
    expected = functional.cross_entropy(logits, targets, reduction="none")
    assert_close(cross_entropy_rows(logits, targets, count, needs_gradients=True), expected)
    assert logits.isfinite().all()


@pytest.mark.parametrize("target", [-1, 40])
def test_a_target_that_is_no_column_is_told(target: int) -> None:
    logits, targets, count = _inputs(4, 40)
    targets[1] = target
    losses = cross_entropy_rows(logits, targets, count, needs_gradients=True)
    assert losses.isnan().tolist() == [False, True, False, False]

import math
from typing import Any

import pytest

from lm_basics.training import StepReport
from lm_basics.training.progress import TrainingProgress, to_bits_per_byte


def report(step: int, loss: float, **values: Any) -> StepReport:
    defaults: dict[str, Any] = {
        "grad_norm": 1.0,
        "lr_scale": 1.0,
        "elapsed_s": 2.0 * step,
        "tokens_per_s": 50.0,
    }
    return StepReport(step=step, steps=10, loss=loss, tokens=100 * step, **defaults | values)


def test_the_mean_loss_starts_at_the_first_and_follows_slowly() -> None:
    progress = TrainingProgress(flops_per_token=1.0)
    assert progress.add(report(1, 4.0)).mean_loss == pytest.approx(4.0)
    # Weights 0.05 * 0.95 and 0.05, divided by their sum.
    numbers = progress.add(report(2, 2.0))
    assert numbers.loss == 2.0
    assert numbers.mean_loss == pytest.approx((0.95 * 4 + 2) / 1.95)
    constant = TrainingProgress(flops_per_token=1.0)
    assert all(constant.add(report(i, 3.0)).mean_loss == pytest.approx(3.0) for i in range(1, 9))


def test_a_step_without_a_finite_loss_is_left_out_of_the_mean() -> None:
    progress = TrainingProgress(flops_per_token=1.0)
    assert math.isnan(progress.add(report(1, math.nan)).mean_loss)
    losses = (3.0, math.inf, 3.0)
    means = [progress.add(report(2 + i, one)).mean_loss for i, one in enumerate(losses)]
    assert means == pytest.approx([3.0, 3.0, 3.0])


def test_the_time_left_is_what_the_remaining_tokens_take() -> None:
    progress = TrainingProgress(flops_per_token=1.0)
    assert progress.add(report(4, 1.0)).remaining_s == pytest.approx(600 / 50)
    assert progress.add(report(10, 1.0)).remaining_s == 0
    assert progress.add(report(4, 1.0, tokens_per_s=0.0)).remaining_s is None


def test_mfu_and_bits_per_byte_are_told_where_they_are_known() -> None:
    unknown = TrainingProgress(flops_per_token=6e6).add(report(1, math.log(2)))
    assert (unknown.mfu, unknown.bits_per_byte) == (None, None)
    known = TrainingProgress(flops_per_token=6e6, peak_flops=1.2e9, bytes_per_token=4.0)
    numbers = known.add(report(1, math.log(2)))
    assert numbers.mfu == pytest.approx(6e6 * 50 / 1.2e9)
    # One bit per token of four bytes.
    assert numbers.bits_per_byte == pytest.approx(0.25)
    assert to_bits_per_byte(2 * math.log(2), 1.0) == pytest.approx(2.0)


def test_the_last_validation_stays_with_its_step() -> None:
    progress = TrainingProgress(flops_per_token=1.0)
    assert progress.add(report(1, 1.0)).validated_at is None
    progress.add_validation(1, {"val_loss": 1.5})
    numbers = progress.add(report(2, 1.0))
    assert (numbers.validated_at, numbers.validation) == (1, {"val_loss": 1.5})

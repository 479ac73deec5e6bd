"""Updates of the weights, and steps that would ruin them."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lm_basics.model_config import uniform_transformer
from lm_basics.optim import AdamW, AdamWConfig, ConstantSchedule, CosineSchedule
from lm_basics.training import SkipStep, StopOnDivergence, TrainingConfig, train
from lm_basics.training.strategy import SerialStrategy
from lm_basics.training.updates import DivergenceGuard, GradientSteps
from lm_basics.transformer import TransformerLM

TOKENS = np.random.default_rng(0).integers(0, 30, 500)
SKIP = SkipStep(grad_norm_factor=2.0, loss_factor=3.0, median_steps=3, max_in_a_row=2)


def _judge_all(guard: DivergenceGuard, pairs: list[tuple[float, float]]) -> list[str | None]:
    return [guard.judge(step, *pair) for step, pair in enumerate(pairs, start=1)]


def test_spikes_are_measured_against_the_median_of_the_last_updates() -> None:
    pairs = [(1.0, 1.0), (9.0, 9.0), (1.0, 1.0), (2.9, 2.0), (3.1, 1.0), (1.0, 4.1), (1.0, 1.0)]
    assert _judge_all(DivergenceGuard(SKIP), pairs) == [
        None,
        None,  # too few before it to tell
        None,
        None,  # the median of 1, 9, 1 is 1
        None,  # that of 9, 1, 2.9 is 2.9
        "spike of the gradient",  # the median of 1, 2, 1 is 1
        None,
    ]
    guard = DivergenceGuard(SKIP)
    assert _judge_all(guard, [(1.0, 1.0)] * 3 + [(3.1, 1.0)])[-1] == "spike of the loss"


@pytest.mark.parametrize("pair", [(math.nan, 1.0), (1.0, math.inf)])
def test_what_is_not_finite_stops_or_is_skipped(pair: tuple[float, float]) -> None:
    with pytest.raises(FloatingPointError, match=r"the loss is .* at step 7: lower the learning"):
        DivergenceGuard(StopOnDivergence()).judge(7, *pair)
    guard = DivergenceGuard(SKIP)
    assert _judge_all(guard, [pair, pair, (1.0, 1.0), pair, pair])[-1] == "not finite"
    with pytest.raises(FloatingPointError, match=r"3 steps in a row .* max_in_a_row is 2"):
        guard.judge(6, *pair)


def test_without_factors_nothing_finite_is_a_spike() -> None:
    policy = SkipStep(grad_norm_factor=None, loss_factor=None, median_steps=1)
    assert _judge_all(DivergenceGuard(policy), [(1.0, 1.0), (1e9, 1e9)]) == [None, None]


def test_a_restored_guard_judges_alike() -> None:
    first, second = DivergenceGuard(SKIP), DivergenceGuard(SKIP)
    _judge_all(first, [(1.0, 1.0)] * 3 + [(5.0, 1.0)] * 2)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    with pytest.raises(FloatingPointError, match="3 steps in a row"):
        second.judge(6, 5.0, 1.0)
    assert second.judge(7, 1.0, 1.0) is None


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"grad_norm_factor must be above 1 or None, got 1\.0"):
        SkipStep(grad_norm_factor=1.0)
    with pytest.raises(ValueError, match="median_steps must be positive, got 0"):
        SkipStep(median_steps=0)


def test_skipped_steps_change_nothing_and_are_in_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    shape = uniform_transformer(
        vocab_size=30, context_length=8, d_model=8, num_layers=1, num_heads=2
    )
    model, bad_steps = TransformerLM(shape), {3, 4, 6}
    original, num_calls = SerialStrategy.forward_backward, 0

    def poisoned(self: SerialStrategy, *batch: torch.Tensor | None) -> torch.Tensor:
        nonlocal num_calls
        num_calls += 1
        loss = original(self, *batch)  # type: ignore[arg-type]
        if num_calls in bad_steps:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.fill_(math.nan)
        return loss

    monkeypatch.setattr(SerialStrategy, "forward_backward", poisoned)
    weights = [model.output_weight.detach().clone()]
    config = TrainingConfig(
        steps=8,
        batch_size=2,
        on_divergence=SkipStep(max_in_a_row=2),
        optimizer=AdamWConfig(),
        schedule=ConstantSchedule(),
    )
    train(
        model,
        TOKENS,
        config,
        folder=tmp_path,
        on_step=lambda _: weights.append(model.output_weight.detach().clone()),
    )
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {line["step"] for line in lines if "skipped" in line} == bad_steps
    for line in lines:
        is_same = torch.equal(weights[line["step"] - 1], weights[line["step"]])
        assert is_same == (line["step"] in bad_steps)
    num_calls, bad_steps = 0, {2, 3, 4}
    with pytest.raises(FloatingPointError, match="3 steps in a row"):
        train(TransformerLM(shape), TOKENS, config, folder=tmp_path / "other")


@pytest.fixture
def model() -> TransformerLM:
    config = uniform_transformer(
        vocab_size=8, context_length=4, d_model=8, num_layers=1, num_heads=1
    )
    return TransformerLM(config)


def make_steps(model: TransformerLM, **settings: Any) -> GradientSteps:
    strategy = SerialStrategy(model, AdamW(model.parameters(), lr=0.5))
    return GradientSteps(strategy, CosineSchedule(), steps=10, max_grad_norm=1.0, **settings)


def weights(model: TransformerLM) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_an_update_is_clipped_at_the_rate_of_the_schedule_and_drops_the_gradients(
    model: TransformerLM,
) -> None:
    steps, before = make_steps(model), weights(model)
    gain = next(p for p in model.parameters() if p.ndim == 1)
    gain.grad = torch.full_like(gain, 3.0)
    norm = 3.0 * gain.numel() ** 0.5
    numbers = steps.take(4, 1.0)
    scale = CosineSchedule().scale(3, 10)
    assert numbers == {"grad_norm": pytest.approx(norm), "lr_scale": scale}
    strategy = steps.strategy
    assert isinstance(strategy, SerialStrategy)
    assert [group["lr"] for group in strategy.optimizer.param_groups] == [0.5 * scale]
    # Adam's first moment is a tenth of the clipped gradient.
    m = strategy.optimizer.state[gain]["m"]
    assert m.norm().item() == pytest.approx(0.1, rel=1e-4)
    assert gain.grad is None
    assert any(not torch.equal(value, before[name]) for name, value in weights(model).items())


@pytest.mark.parametrize(("loss", "gradient"), [(math.nan, 1.0), (1.0, math.inf)])
def test_numbers_that_are_not_finite_change_nothing_and_name_the_step(
    model: TransformerLM, loss: float, gradient: float
) -> None:
    before = weights(model)
    for policy in (None, SkipStep()):
        steps = make_steps(model, on_divergence=policy)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        if policy is None:
            with pytest.raises(FloatingPointError, match=r"the loss is .* at step 7: lower the"):
                steps.take(7, loss)
        else:
            assert steps.take(7, loss)["skipped"] == "not finite"
            assert all(parameter.grad is None for parameter in model.parameters())
        torch.testing.assert_close(weights(model), before, rtol=0, atol=0)


def test_without_gradients_nothing_moves(model: TransformerLM) -> None:
    before = weights(model)
    assert make_steps(model).take(1, 0.0)["grad_norm"] == 0
    torch.testing.assert_close(weights(model), before, rtol=0, atol=0)

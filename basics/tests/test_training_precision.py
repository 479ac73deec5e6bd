"""Loss scaling, alone and in a run."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from lm_basics.model_config import uniform_transformer
from lm_basics.optim import AdamW, AdamWConfig
from lm_basics.training import SerialStrategy, TrainingConfig, strategy, train
from lm_basics.training.strategy import LossScaler
from lm_basics.transformer import TransformerLM

TOKENS = np.tile(np.arange(10, dtype=np.uint16), 200)


def _model() -> TransformerLM:
    torch.manual_seed(0)
    return TransformerLM(
        uniform_transformer(vocab_size=30, context_length=8, d_model=16, num_layers=1, num_heads=2)
    )


def test_the_scale_halves_on_overflow_and_doubles_after_a_calm_while() -> None:
    scaler = LossScaler(scale=4.0, growth_interval=2, max_scale=8.0)
    scales = []
    for has_overflowed in (False, False, False, True, False, False, False, False, False, False):
        scaler.update(has_overflowed=has_overflowed)
        scales.append(scaler.scale)
    assert scales == [4, 8, 8, 4, 4, 8, 8, 8, 8, 8]
    for _ in range(4):
        assert scaler.can_shrink() == (scaler.scale > 1)
        scaler.update(has_overflowed=True)
    assert scaler.scale == 1
    assert not scaler.can_shrink()


def test_the_scale_follows_torch_s_scaler() -> None:
    ours = LossScaler(growth_interval=3)
    theirs = torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=3)
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    for has_overflowed in np.random.default_rng(0).random(60) < 0.2:
        theirs.scale(weight.sum()).backward()
        assert weight.grad is not None
        if has_overflowed:
            weight.grad.fill_(float("inf"))
        theirs.step(optimizer)
        theirs.update()
        optimizer.zero_grad()
        ours.update(has_overflowed=bool(has_overflowed))
        assert ours.scale == theirs.get_scale()


def test_scaled_gradients_are_those_of_float32_in_float16_s_precision() -> None:
    ids = torch.randint(30, (4, 8))
    gradients, norms = [], []
    for dtype in (torch.float32, torch.float16):
        model = _model()
        serial = SerialStrategy(model, AdamW(model.parameters()), dtype=dtype)
        serial.forward_backward(ids, ids)
        norms.append(serial.clip(1e9))
        gradients.append([p.grad for p in model.parameters()])
        assert not serial.has_overflowed()
    torch.testing.assert_close(gradients[1], gradients[0], rtol=2e-2, atol=2e-3)
    torch.testing.assert_close(norms[1], norms[0], rtol=1e-2, atol=0.0)


def test_small_gradients_survive_only_because_of_the_scale() -> None:
    loss_of = {1.0: 0.0, 2.0**16: 1e-9}
    for scale, expected in loss_of.items():
        scaler = LossScaler(scale=scale)
        weight = torch.nn.Parameter(torch.ones(()))
        scaler.scale_loss((weight.half() * 1.0).float() * 1e-9).backward()
        scaler.unscale_gradients([weight])
        assert weight.grad is not None
        assert weight.grad.item() == pytest.approx(expected, rel=1e-2)


def test_float16_learns(tmp_path: Path) -> None:
    config = TrainingConfig(steps=60, batch_size=8, optimizer=AdamWConfig(lr=1e-2), dtype="float16")
    result = train(_model(), TOKENS, config, folder=tmp_path)
    assert result.final_loss < 0.3


def test_an_overflow_skips_the_step_and_another_scale_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategy, "LossScaler", partial(LossScaler, scale=2.0**24))
    model = _model()
    initial = [p.detach().clone() for p in model.parameters()]
    unchanged = []

    def see(_: object) -> None:
        pairs = zip(model.parameters(), initial, strict=True)
        unchanged.append(all(torch.equal(a, b) for a, b in pairs))

    config = TrainingConfig(steps=12, batch_size=4, dtype="float16")
    train(model, TOKENS, config, folder=tmp_path, on_step=see)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    skipped = ["skipped" in line for line in lines]
    assert skipped[0]
    assert not skipped[-1]
    assert {line.get("skipped") for line in lines} == {None, "float16 overflow"}
    assert unchanged == [all(skipped[: i + 1]) for i in range(12)]


def test_a_loss_that_is_not_finite_is_no_overflow_of_the_scale(tmp_path: Path) -> None:
    model = _model()
    model.output_weight.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"the loss is nan .* at step 1"):
        train(model, TOKENS, TrainingConfig(steps=5, dtype="float16"), folder=tmp_path)


def test_factors_that_lose_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="scale must be a power of two from 1 on, got 3"):
        LossScaler(scale=3.0)
    with pytest.raises(ValueError, match=r"max_scale must be a power of two from 1 on, got 0\.5"):
        LossScaler(max_scale=0.5)
    with pytest.raises(ValueError, match="growth_interval must be positive, got 0"):
        LossScaler(growth_interval=0)

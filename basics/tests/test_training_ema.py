"""Averaged weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lm_basics.model_config import uniform_transformer
from lm_basics.training import TrainingConfig, WeightEMA, train
from lm_basics.transformer import TransformerLM


def test_the_average_is_the_sum_of_the_definition() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(5.0)
    average, expected = WeightEMA(model, 0.4), 5.0
    for t, value in enumerate([1.0, 2.0, 4.0, 8.0, 16.0, 32.0], start=1):
        model.weight.data.fill_(value)
        average.update()
        decay = min(0.4, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * value
        assert average.averages["weight"].item() == pytest.approx(expected)


def test_the_model_has_the_averages_inside_of_the_block_only() -> None:
    model = torch.nn.Linear(2, 2)
    average = WeightEMA(model, 0.9)
    trained = torch.full((2, 2), 7.0)
    model.weight.data.copy_(trained)
    average.update()
    with average.applied():
        assert torch.equal(model.weight, average.averages["weight"])
        assert not torch.equal(model.weight, trained)
    assert torch.equal(model.weight, trained)


def test_a_restored_average_goes_on_alike() -> None:
    model, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    first, second = WeightEMA(model, 0.9), WeightEMA(other, 0.9)
    first.update()
    second.load_state_dict(first.state_dict())
    # Other weights than the average: how far it moves depends on the updates before.
    for one in (model, other):
        one.weight.data.fill_(3.0)
        one.bias.data.fill_(-3.0)
    first.update()
    second.update()
    torch.testing.assert_close(first.averages, second.averages, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"of another model: \['bias'\] are not in both"):
        WeightEMA(torch.nn.Linear(2, 2, bias=False), 0.9).load_state_dict(first.state_dict())


def test_a_decay_outside_of_its_range_is_refused() -> None:
    for decay in (0.0, 1.0):
        with pytest.raises(ValueError, match=rf"ema_decay must lie in \(0, 1\), got {decay}"):
            TrainingConfig(steps=1, ema_decay=decay)


def test_a_run_validates_and_hands_over_the_averages(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = uniform_transformer(
        vocab_size=30, context_length=8, d_model=8, num_layers=1, num_heads=2
    )
    model, tokens = TransformerLM(shape), np.arange(300) % 30
    seen = []

    def validate(model: TransformerLM) -> dict[str, float]:
        seen.append(model.output_weight.detach().clone())
        return {}

    config = TrainingConfig(steps=5, batch_size=2, ema_decay=0.9)
    result = train(model, tokens, config, folder=tmp_path, validate=validate)
    assert result.ema is not None
    assert result.ema.num_updates == 5
    assert torch.equal(seen[0], result.ema.averages["lm_head.weight"])
    assert not torch.equal(model.output_weight, seen[0])

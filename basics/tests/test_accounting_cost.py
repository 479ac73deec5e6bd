"""Time, money and speed against sums by hand."""

import math
from dataclasses import replace

import pytest

from basics.tests.accounting_models import BASE, MODELS
from lm_basics.accounting import (
    PUBLISHED,
    TrainingBudget,
    count_parameters,
    decode_flops,
    forward_flops_per_token,
    inference_cost,
    training_cost,
)
from lm_basics.model_config import MixtureOfExpertsConfig, MLPConfig
from lm_shared.devices import DEVICES, Device

DEVICE = Device(
    name="a round one", flops_per_s={"bfloat16": 1e12}, memory_bytes=1e9, bytes_per_s=1e10
)
BUDGET = TrainingBudget(tokens=1e6, batch_size=4, sequence_length=10, mfu=0.5)


def test_time_is_flops_over_the_rate() -> None:
    cost = training_cost(BASE, BUDGET, DEVICE)
    per_token = 3 * forward_flops_per_token(BASE, 10)
    assert cost.flops == 1e6 * per_token
    assert cost.elapsed_s == pytest.approx(1e6 * per_token / 5e11)
    assert cost.step_s * cost.steps == pytest.approx(cost.elapsed_s)
    assert cost.tokens_per_s * cost.elapsed_s == pytest.approx(1e6)
    assert cost.steps == 1e6 / 40
    assert cost.dollars is None


def test_more_devices_take_less_time_and_the_same_money() -> None:
    one = training_cost(BASE, replace(BUDGET, dollars_per_hour=2.0), DEVICE)
    eight = training_cost(BASE, replace(BUDGET, dollars_per_hour=2.0, num_devices=8), DEVICE)
    assert eight.elapsed_s == pytest.approx(one.elapsed_s / 8)
    assert eight.device_hours == pytest.approx(one.device_hours)
    assert one.dollars == pytest.approx(2 * one.elapsed_s / 3600)
    assert eight.dollars == pytest.approx(one.dollars)


def test_training_gpt3_takes_the_published_flops() -> None:
    # Brown et al., 2020, Table D.1: 3.14e23 FLOPs for 300 billion tokens, by 6 N D; attention over
    # 2,048 tokens, which they leave out, adds less than 5%.
    budget = TrainingBudget(tokens=300e9, batch_size=1, sequence_length=2048)
    flops = training_cost(PUBLISHED["gpt3-175b"].config, budget, DEVICES["a100"]).flops
    assert 3.14e23 < flops < 1.05 * 3.14e23


def test_decoding_alone_waits_for_the_weights() -> None:
    cost = inference_cost(BASE, 1, 10, DEVICE, mfu=1.0)
    cache = 2 * 2 * 10 * 48 * 2
    # Of the embedding it reads one row.
    read = 2 * (count_parameters(BASE) - 200 * 48 + 48) + cache
    assert cost.is_memory_bound
    assert cost.decode_step_s == pytest.approx(read / 1e10)
    assert cost.prefill_tokens_per_s == pytest.approx(1e12 / forward_flops_per_token(BASE, 10))


def test_decoding_many_waits_for_arithmetic() -> None:
    fast_memory = replace(DEVICE, bytes_per_s=1e15)
    cost = inference_cost(BASE, 64, 10, fast_memory, mfu=0.5)
    assert not cost.is_memory_bound
    assert cost.decode_step_s == pytest.approx(64 * decode_flops(BASE, 10).total / 5e11)
    assert cost.decode_tokens_per_s == pytest.approx(64 / cost.decode_step_s)


def test_the_largest_decoding_batch_fills_the_memory() -> None:
    cost = inference_cost(BASE, 1, 10, DEVICE)
    used = cost.weight_bytes + cost.largest_batch * cost.cache_bytes_per_sequence
    assert used <= DEVICE.memory_bytes < used + cost.cache_bytes_per_sequence
    tiny = replace(DEVICE, memory_bytes=1000.0)
    assert inference_cost(BASE, 1, 10, tiny).largest_batch == 0


def test_a_step_reads_the_experts_that_its_sequences_go_to() -> None:
    # Two of four experts for one sequence, all of them for many.
    config = MODELS["experts"]
    tied = replace(config, tie_embeddings=True)
    one = inference_cost(tied, 1, 10, DEVICE)
    slow_memory = replace(DEVICE, bytes_per_s=1e6)
    many = inference_cost(tied, 1000, 10, slow_memory)
    cache = one.cache_bytes_per_sequence
    read_by_one = one.decode_step_s * DEVICE.bytes_per_s - cache
    assert read_by_one == pytest.approx(2 * count_parameters(tied, active=True))
    read_by_many = many.decode_step_s * slow_memory.bytes_per_s - 1000 * cache
    assert read_by_many == pytest.approx(2 * count_parameters(tied))


def test_experts_without_gates_are_read_likewise() -> None:
    block = BASE.pattern[0]
    layer = MixtureOfExpertsConfig(num_experts=8, num_active=1, expert=MLPConfig(d_ff=64))
    config = replace(BASE, tie_embeddings=True, pattern=(replace(block, feedforward=layer),))
    cost = inference_cost(config, 1, 10, DEVICE)
    read = cost.decode_step_s * DEVICE.bytes_per_s - cost.cache_bytes_per_sequence
    assert read == pytest.approx(2 * count_parameters(config, active=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 0.0}, "tokens must be positive and finite, got 0.0"),
        ({"tokens": math.inf}, "tokens must be positive and finite, got inf"),
        ({"mfu": 1.5}, r"mfu must lie in \(0, 1\], got 1.5"),
        ({"num_devices": 0}, "num_devices must be positive and finite, got 0"),
        ({"num_devices": 0, "batch_size": 0}, "num_devices must be positive and finite, got 0"),
        ({"dollars_per_hour": -1.0}, "dollars_per_hour must be finite and not negative, got -1.0"),
        ({"dollars_per_hour": math.nan}, "dollars_per_hour must be finite and not negative"),
    ],
)
def test_impossible_budgets_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(BUDGET, **change)


def test_impossible_inference_is_refused() -> None:
    with pytest.raises(ValueError, match="a round one has no rate for float8: bfloat16"):
        inference_cost(BASE, 1, 10, DEVICE, dtype="float8")
    with pytest.raises(ValueError, match="positive batch_size and mfu"):
        inference_cost(BASE, 0, 10, DEVICE)

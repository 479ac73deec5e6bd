"""The course's accounting questions against its reference numbers and sums by hand."""

from dataclasses import replace

import pytest

from lm_basics.accounting import (
    StepConfig,
    activation_bytes,
    count_parameters,
    forward_flops,
    training_memory,
)
from lm_basics.accounting.coursework import (
    COURSE_MODELS,
    LONG_CONTEXT,
    adamw_accounting,
    listed_activation_bytes,
    matrix_products,
    transformer_accounting,
)
from lm_basics.model_config import MLPConfig, SwiGLUConfig

# d_ff, parameters, FLOPs of a forward pass; shares in percent of QKV, attention, output
# projection, MLP and head.
REFERENCE = {
    ("small", 1024): (2048, 162_148_608, 2.916e11, (14.9, 13.3, 5.0, 39.8, 27.1)),
    ("medium", 1024): (2752, 406_539_264, 8.302e11, (18.6, 12.4, 6.2, 50.1, 12.7)),
    ("large", 1024): (3392, 833_591_040, 1.769e12, (20.5, 10.9, 6.8, 54.3, 7.4)),
    ("XL (2026)", 1024): (4288, 1_640_452_800, 3.517e12, (21.5, 9.2, 7.2, 57.5, 4.7)),
    ("XL (2025)", 1024): (6400, 2_127_057_600, 4.513e12, (16.7, 7.1, 5.6, 66.9, 3.6)),
    ("XL (2026)", LONG_CONTEXT): (4288, 1_640_452_800, 1.336e14, (9.0, 61.7, 3.0, 24.2, 2.0)),
    ("XL (2025)", LONG_CONTEXT): (6400, 2_127_057_600, 1.495e14, (8.1, 55.2, 2.7, 32.3, 1.8)),
}


@pytest.mark.parametrize(
    "answer", transformer_accounting(), ids=lambda one: f"{one.name}, {one.context_length}"
)
def test_answers_are_those_of_the_reference(answer) -> None:
    d_ff, parameters, flops, shares = REFERENCE[answer.name, answer.context_length]
    assert (answer.d_ff, answer.parameters) == (d_ff, parameters)
    assert answer.flops.total == pytest.approx(flops, rel=3e-4)
    # The reference has one decimal.
    ours = [100 * share for share in answer.flops.shares().values()]
    assert ours == pytest.approx(shares, abs=0.06)


def test_a_long_context_costs_38_times_as_much() -> None:
    config = COURSE_MODELS["XL (2026)"]
    ratio = forward_flops(config, LONG_CONTEXT).total / forward_flops(config, 1024).total
    assert ratio == pytest.approx(38, abs=0.1)


@pytest.mark.parametrize("name", COURSE_MODELS)
def test_the_listed_products_are_all_of_them(name: str) -> None:
    config = COURSE_MODELS[name]
    products = matrix_products(config, 1024)
    assert sum(one.flops for one in products) == forward_flops(config, 1024).total


def test_adamw_answers_are_those_of_the_reference() -> None:
    by_name = {answer.name: answer for answer in adamw_accounting()}
    answer = by_name["XL (2026)"]
    assert answer.state_bytes == 16 * 1_640_452_800
    assert answer.listed_bytes == pytest.approx(16.37e9, rel=1e-3)
    assert answer.listed_batch == 3
    assert answer.hours == pytest.approx(4850, rel=2e-3)
    assert answer.hours / 24 == pytest.approx(202, abs=0.5)


def test_parameters_follow_the_formula() -> None:
    for config in COURSE_MODELS.values():
        layer, d, vocab = config.block(0).feedforward, config.d_model, config.vocab_size
        assert isinstance(layer, SwiGLUConfig)
        block = 4 * d**2 + 3 * d * layer.d_ff + 2 * d
        assert count_parameters(config) == 2 * vocab * d + config.num_layers * block + d


def test_what_is_kept_follows_the_formula_of_the_page() -> None:
    for config in COURSE_MODELS.values():
        layer, attention = config.block(0).feedforward, config.block(0).attention
        assert isinstance(layer, SwiGLUConfig)
        t, d, h, d_ff, batch = 1024, config.d_model, attention.num_heads, layer.d_ff, 2
        block = t * (10 * d + 5 * d_ff + 2 * h + 2) + 3 * h * t**2 + t**2 // 4
        numbers = batch * (config.num_layers * block + t * (3 * d + config.vocab_size))
        kept = activation_bytes(config, batch, t, StepConfig(dtype="float32"))
        assert kept.total == 4 * numbers + 25 * batch * t + 8


def test_the_kept_batches_are_the_largest_that_fit() -> None:
    for answer in adamw_accounting():
        config = COURSE_MODELS[answer.name]
        plain = StepConfig(dtype="float32")
        fused = StepConfig(attention="fused", autocast_device="cuda")
        for batch, step in ((answer.kept_batch, plain), (answer.fused_batch, fused)):
            assert training_memory(config, batch, 1024, step=step).total <= 80e9
            assert training_memory(config, batch + 1, 1024, step=step).total > 80e9


def test_other_layers_are_refused() -> None:
    config = COURSE_MODELS["small"]
    block = config.pattern[0]
    other = replace(config, pattern=(replace(block, feedforward=MLPConfig(d_ff=8)),))
    with pytest.raises(ValueError, match="expected SwiGLU layers, got MLPConfig"):
        listed_activation_bytes(other, 8)

import math

import pytest

from lm_basics.accounting import count_parameters
from lm_basics.depth_dial import scale_to_depth
from lm_basics.model_config import FullAttention, SwiGLUConfig
from lm_basics.transformer import TransformerLM


@pytest.mark.parametrize("depth", [1, 3, 8])
def test_sizes_follow_from_the_depth(depth: int) -> None:
    run = scale_to_depth(depth, vocab_size=500, context_length=64)
    assert (run.model.d_model, run.model.num_layers) == (64 * depth, depth)
    (block,) = run.model.pattern
    assert isinstance(block.attention, FullAttention)
    assert block.attention.head_width(run.model.d_model) == 64
    assert isinstance(block.feedforward, SwiGLUConfig)
    assert abs(block.feedforward.d_ff - 8 * 64 * depth / 3) <= 32


def test_there_are_twenty_tokens_for_each_parameter() -> None:
    run = scale_to_depth(2, vocab_size=500, context_length=64)
    parameters = sum(one.numel() for one in TransformerLM(run.model).parameters())
    assert parameters == count_parameters(run.model)
    step_tokens = run.batch_size * 64
    assert 0 <= run.steps * step_tokens - 20 * parameters < step_tokens
    fewer = scale_to_depth(2, vocab_size=500, context_length=64, tokens_per_parameter=5)
    assert fewer.steps * fewer.batch_size * 64 == pytest.approx(5 * parameters, rel=0.01)


def test_the_batch_grows_with_compute_as_published() -> None:
    for depth in (4, 20):
        run = scale_to_depth(depth, vocab_size=32_000, context_length=256)
        compute = 6 * 20 * count_parameters(run.model) ** 2
        ratio = run.batch_size * 256 / (0.2920 * compute**0.3271)
        assert 2**-0.5 <= ratio <= 2**0.5
        assert math.log2(run.batch_size).is_integer()


def test_learning_rates_fall_with_the_width_but_muons_does_not() -> None:
    small, large = (scale_to_depth(n, vocab_size=9, context_length=8) for n in (4, 16))
    assert small.optimizer.others.lr == pytest.approx(0.015)
    assert large.optimizer.others.lr == pytest.approx(0.015 / 2)
    assert small.optimizer.lr == large.optimizer.lr == 0.02


def test_what_is_given_stays() -> None:
    run = scale_to_depth(2, vocab_size=500, context_length=64, batch_size=3, steps=7)
    assert (run.batch_size, run.steps) == (3, 7)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 0}, "depth=0 and"),
        ({"depth": 1, "tokens_per_parameter": 0.0}, "tokens_per_parameter=0.0 must be positive"),
        ({"depth": 1, "steps": 0}, "steps must be positive or None, got 0"),
        ({"depth": 1, "batch_size": -1}, "batch_size must be positive or None, got -1"),
    ],
)
def test_numbers_must_be_positive(values: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scale_to_depth(**values, vocab_size=9, context_length=8)

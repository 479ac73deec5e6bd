import math

import pytest

from lm_data.evaluation.perplexity import bits_per_byte, perplexity


def test_uniform_bytes_cost_eight_bits():
    assert bits_per_byte(100 * math.log(256), 100) == pytest.approx(8.0)


def test_tokens_of_two_bytes_halve_the_bits():
    assert bits_per_byte(50 * math.log(65_536), 100) == pytest.approx(8.0)
    assert bits_per_byte(50 * math.log(256), 100) == pytest.approx(4.0)


def test_perplexity_of_a_uniform_model_is_its_vocabulary():
    assert perplexity(7 * math.log(4096), 7) == pytest.approx(4096)


def test_impossible_inputs_are_refused():
    with pytest.raises(ValueError, match="num_bytes=0"):
        bits_per_byte(1.0, 0)
    with pytest.raises(ValueError, match="total_nll_nats=nan"):
        bits_per_byte(math.nan, 10)
    with pytest.raises(ValueError, match="num_tokens=0"):
        perplexity(1.0, 0)
    for likelihood in (math.nan, -1.0):
        with pytest.raises(ValueError, match=f"total_nll_nats={likelihood}"):
            perplexity(likelihood, 1)


def test_perplexity_beyond_every_float_is_infinite():
    assert perplexity(1e6, 1) == math.inf
    assert perplexity(math.inf, 1) == math.inf

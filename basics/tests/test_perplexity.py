import math

import pytest

from lm_basics.perplexity import bits_per_byte, perplexity


def test_uniform_bytes_cost_eight_bits():
    assert bits_per_byte(100 * math.log(256), 100) == pytest.approx(8.0)


def test_tokens_of_two_bytes_halve_the_bits():
    assert bits_per_byte(50 * math.log(65_536), 100) == pytest.approx(8.0)
    assert bits_per_byte(50 * math.log(256), 100) == pytest.approx(4.0)


def test_bits_per_byte_by_hand():
    # Probabilities 1/2, 1/4 and 1/8 cost 1 + 2 + 3 bits, here for 4 bytes.
    nats = -(math.log(1 / 2) + math.log(1 / 4) + math.log(1 / 8))
    assert bits_per_byte(nats, 4) == pytest.approx(1.5)
    assert bits_per_byte(nats / 3, 4 / 3) == pytest.approx(1.5)


def test_perplexity_of_a_uniform_model_is_its_vocabulary():
    assert perplexity(7 * math.log(4096), 7) == pytest.approx(4096)


def test_impossible_inputs_are_refused():
    with pytest.raises(ValueError, match="num_bytes=0"):
        bits_per_byte(1.0, 0)
    with pytest.raises(ValueError, match="num_bytes=nan"):
        bits_per_byte(1.0, math.nan)
    with pytest.raises(ValueError, match="num_tokens=0"):
        perplexity(1.0, 0)
    for measure in (bits_per_byte, perplexity):
        with pytest.raises(ValueError, match=r"total_nats=-1\.0 is negative"):
            measure(-1.0, 1)


def test_a_diverged_loss_stays_not_a_number():
    assert math.isnan(bits_per_byte(math.nan, 10))
    assert math.isnan(perplexity(math.nan, 10))


def test_perplexity_beyond_every_float_is_infinite():
    assert perplexity(1e6, 1) == math.inf
    assert perplexity(math.inf, 1) == math.inf

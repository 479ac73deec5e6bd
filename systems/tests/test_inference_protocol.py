"""Sampling settings refuse what no sampler can do."""

import math

import pytest

from lm_systems.inference.protocol import Generator, SamplingConfig, TextCodec
from systems.tests.reference import WordCodec


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"temperature": -0.1}, "temperature must be finite and at least 0, got -0.1"),
        ({"temperature": math.inf}, "temperature must be finite and at least 0, got inf"),
        ({"temperature": math.nan}, "temperature must be finite and at least 0, got nan"),
        ({"top_p": 0.0}, r"top_p must lie in \(0, 1\], got 0.0"),
        ({"top_p": 1.5}, r"top_p must lie in \(0, 1\], got 1.5"),
        ({"top_k": 0}, "top_k must be at least 1 or None, got 0"),
        ({"stop_token_ids": (3, -1)}, r"stop_token_ids must not be negative, got \(3, -1\)"),
        ({"seed": -1}, "seed must lie in .*, got -1"),
        ({"seed": 2**63}, "seed must lie in"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(values, message) -> None:
    with pytest.raises(ValueError, match=message):
        SamplingConfig(**values)


def test_any_object_with_the_methods_is_a_codec() -> None:
    assert isinstance(WordCodec(), TextCodec)
    assert not isinstance(WordCodec(), Generator)

"""Sampling settings refuse what no sampler can do."""

from lm_systems.inference.protocol import Generator, TextCodec
from systems.tests.reference import WordCodec


def test_any_object_with_the_methods_is_a_codec() -> None:
    assert isinstance(WordCodec(), TextCodec)
    assert not isinstance(WordCodec(), Generator)

"""Random numbers by purpose: uniform, unrelated between streams, the same every time."""

import numpy as np
import pytest

from lm_systems.inference.noise import stream_key, uniform_numbers


def _split_mix(state: int, count: int) -> list[int]:
    """SplitMix64 as printed in the paper, with Python's integers."""
    mask, outputs = 2**64 - 1, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        outputs.append(z ^ (z >> 31))
    return outputs


@pytest.mark.parametrize("key", [0, 1, 2**64 - 1])
def test_numbers_are_the_leading_bits_of_split_mix(key) -> None:
    found = uniform_numbers([key] * 5, range(5))
    assert found.tolist() == [(z >> 16) / 2**48 for z in _split_mix(key, 5)]


def test_numbers_are_uniform_within_and_across_streams() -> None:
    keys = [stream_key(0, 0, [i]) for i in range(2000)]
    for numbers in (
        uniform_numbers(keys, [0] * 2000),
        uniform_numbers(keys[:1] * 2000, range(2000)),
    ):
        counts, _ = np.histogram(numbers, bins=20, range=(0, 1))
        # 99.99% of chi-square with 19 degrees of freedom.
        assert ((counts - 100) ** 2 / 100).sum() < 50.8


def test_neighboring_steps_are_unrelated() -> None:
    numbers = uniform_numbers([stream_key(0, 0, [1])] * 4001, range(4001))
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 4 / 4000**0.5


def test_every_part_of_the_purpose_counts() -> None:
    purposes = [(0, 0, [1, 2]), (1, 0, [1, 2]), (0, 1, [1, 2]), (0, 0, [2, 1]), (0, 0, [1, 2, 0])]
    assert len({stream_key(*purpose) for purpose in purposes}) == len(purposes)
    assert stream_key(0, 0, [1, 2]) == stream_key(0, 0, (1, 2))

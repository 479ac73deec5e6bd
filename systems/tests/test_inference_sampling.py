"""Samples follow the exact distribution; truncation keeps the smallest sets."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.testing import assert_close

from lm_basics.generation import next_token_distribution
from lm_systems.inference.protocol import SamplingConfig
from lm_systems.inference.sampling import sample_tokens, sampling_distribution
from systems.tests.reference import nucleus

CONFIGS = [
    SamplingConfig(),
    SamplingConfig(temperature=0.5),
    SamplingConfig(temperature=2.0, top_k=5),
    SamplingConfig(top_p=0.7),
    SamplingConfig(temperature=1.5, top_k=8, top_p=0.8),
]


@pytest.mark.parametrize("sampling", CONFIGS, ids=str)
def test_draws_follow_the_distribution(sampling) -> None:
    logits = torch.randn(1, 12) * 1.5
    count = 20_000
    tokens, _ = sample_tokens(
        logits.expand(count, -1), torch.rand(count, dtype=torch.float64), sampling
    )
    expected = sampling_distribution(logits, sampling)[0] * count
    observed = torch.bincount(tokens, minlength=12)
    possible = expected > 0
    assert observed[~possible].sum() == 0
    statistic = ((observed - expected)[possible].square() / expected[possible]).sum()
    # Above the 99.99% point of chi-square for up to 11 degrees of freedom.
    assert statistic < 37.4


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=20, unique=True),
    st.floats(0.01, 0.999),
)
def test_top_p_keeps_the_smallest_set(values, top_p) -> None:
    logits = torch.tensor([values])
    kept = sampling_distribution(logits, SamplingConfig(top_p=top_p))[0]
    chosen = {i for i, p in enumerate(kept.tolist()) if p > 0}
    exact = torch.softmax(logits.double(), -1)[0]
    mass = sum(float(exact[i]) for i in chosen)
    assert mass >= top_p - 1e-6
    assert mass - min(float(exact[i]) for i in chosen) < top_p + 1e-6
    left_out = [float(exact[i]) for i in range(len(values)) if i not in chosen]
    # Tokens that float32 cannot tell apart may come in either order.
    assert min(float(exact[i]) for i in chosen) >= max(left_out, default=0.0) - 1e-6
    assert_close(kept.sum(), torch.tensor(1.0))


def test_top_p_equals_adding_tokens_one_by_one() -> None:
    logits = torch.randn(1, 30)
    for top_p in (0.1, 0.5, 0.9):
        kept = sampling_distribution(logits, SamplingConfig(top_p=top_p))[0]
        assert set(kept.nonzero().flatten().tolist()) == nucleus(
            torch.softmax(logits[0], -1), top_p
        )


@pytest.mark.parametrize("top_p", [0.3, 0.9, 1.0])
def test_distribution_equals_the_one_of_basics(top_p) -> None:
    logits = torch.randn(3, 20)
    ours = sampling_distribution(logits, SamplingConfig(temperature=0.7, top_p=top_p))
    expected = [next_token_distribution(row, temperature=0.7, top_p=top_p) for row in logits]
    assert_close(ours, torch.stack(expected))


def test_top_k_keeps_exactly_k_even_between_equals() -> None:
    kept = sampling_distribution(torch.zeros(2, 10), SamplingConfig(top_k=3))
    assert (kept > 0).sum(-1).tolist() == [3, 3]
    assert_close(kept.amax(-1), torch.full((2,), 1 / 3))
    everything = sampling_distribution(torch.zeros(2, 10), SamplingConfig(top_k=50))
    assert_close(everything, torch.full((2, 10), 0.1))


def test_temperature_zero_and_top_k_one_take_the_most_probable() -> None:
    logits, uniforms = torch.randn(5, 9), torch.rand(5, dtype=torch.float64)
    for sampling in (SamplingConfig(temperature=0), SamplingConfig(top_k=1)):
        tokens, _ = sample_tokens(logits, uniforms, sampling)
        assert tokens.tolist() == logits.argmax(-1).tolist()


def test_log_probs_ignore_temperature_and_truncation() -> None:
    logits, uniforms = torch.randn(6, 9) * 3, torch.rand(6, dtype=torch.float64)
    for sampling in (*CONFIGS, SamplingConfig(temperature=0)):
        tokens, log_probs = sample_tokens(logits, uniforms, sampling)
        expected = torch.log_softmax(logits, -1).gather(-1, tokens[:, None])[:, 0]
        assert_close(log_probs, expected)


def test_the_ends_of_the_unit_interval_give_possible_tokens() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, 1.0, -torch.inf]]).expand(2, -1)
    ends = torch.tensor([0.0, 1 - 2.0**-48], dtype=torch.float64)
    tokens, _ = sample_tokens(logits, ends, SamplingConfig())
    assert tokens.tolist() == [1, 2]


def test_a_tiny_temperature_does_not_overflow() -> None:
    logits = torch.tensor([[1e4, 1e4 - 1, -1e4]])
    kept = sampling_distribution(logits, SamplingConfig(temperature=1e-30))
    assert_close(kept, torch.tensor([[1.0, 0.0, 0.0]]))


def test_half_precision_logits_are_widened() -> None:
    logits = torch.randn(4, 9).bfloat16()
    tokens, log_probs = sample_tokens(
        logits, torch.rand(4, dtype=torch.float64), SamplingConfig(temperature=0)
    )
    assert log_probs.dtype == torch.float32
    expected = torch.log_softmax(logits.float(), -1).gather(-1, tokens[:, None])[:, 0]
    assert_close(log_probs, expected)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_are_refused(temperature: float) -> None:
    logits = torch.zeros(2, 5)
    logits[1, 3] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        sample_tokens(
            logits, torch.rand(2, dtype=torch.float64), SamplingConfig(temperature=temperature)
        )

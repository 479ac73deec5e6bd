"""The one sampler: exact distributions, random streams by purpose, and plain decoding."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.testing import assert_close

from lm_basics.decoding import (
    _keep_top_k,
    generate,
    sample_tokens,
    sampling_distribution,
    stream_key,
    uniform_numbers,
)
from lm_basics.model_config import uniform_transformer
from lm_basics.sampling_config import SamplingConfig
from lm_basics.transformer import TransformerLM

LOGITS = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()

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
        assert set(kept.nonzero().flatten().tolist()) == _nucleus(
            torch.softmax(logits[0], -1), top_p
        )


@pytest.mark.parametrize("top_k", [1, 2, 3, 7, 9])
def test_top_k_keeps_exactly_k_and_of_equals_the_first(top_k: int) -> None:
    logits = torch.randint(3, (40, 10), generator=torch.Generator().manual_seed(0)).float()
    logits[0], logits[1, :8] = 0.0, float("-inf")
    kept = sampling_distribution(logits, SamplingConfig(top_k=top_k))
    for row, found in zip(logits.tolist(), kept, strict=True):
        first = sorted(range(10), key=lambda token, row=row: (-row[token], token))[:top_k]
        expected = torch.zeros(10)
        expected[first] = torch.softmax(torch.tensor(row)[first], -1)
        assert_close(found, expected)


def test_top_k_hides_nothing_that_is_no_number() -> None:
    nan, out = math.nan, -math.inf
    logits = torch.tensor([[1, nan, 3, 2], [nan, nan, nan, 4], [0, 5, 4, 6]])
    for top_k, expected in {
        1: [[out, nan, out, out], [nan, nan, nan, out], [out, out, out, 6]],
        2: [[out, nan, 3, out], [nan, nan, nan, out], [out, 5, out, 6]],
    }.items():
        assert_close(_keep_top_k(logits, top_k), torch.tensor(expected), equal_nan=True)


def test_the_truncation_of_equals_does_not_depend_on_the_size() -> None:
    kept = sampling_distribution(torch.zeros(2, 50_000), SamplingConfig(top_k=3))
    assert kept.nonzero()[:, 1].tolist() == [0, 1, 2] * 2
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


@pytest.mark.parametrize(("top_p", "kept"), [(0.4, 1), (0.6, 2), (0.79, 2), (0.81, 3), (1.0, 4)])
def test_top_p_by_hand(top_p: float, kept: int) -> None:
    result = sampling_distribution(LOGITS, SamplingConfig(top_p=top_p))[0]
    assert int((result > 0).sum()) == kept
    expected = LOGITS[0].exp()[:kept] / LOGITS[0].exp()[:kept].sum()
    assert_close(result[:kept], expected)


def test_a_set_that_reaches_top_p_exactly_is_large_enough() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    assert torch.softmax(logits, -1).tolist() == [[0.5, 0.25, 0.125, 0.125]]
    for top_p, kept in ((0.5, 1), (0.75, 2), (0.875, 3)):
        result = sampling_distribution(logits, SamplingConfig(top_p=top_p))[0]
        assert int((result > 0).sum()) == kept


def test_of_equals_top_p_keeps_the_first() -> None:
    result = sampling_distribution(torch.zeros(1, 8), SamplingConfig(top_p=0.5))
    assert result.tolist() == [[0.25] * 4 + [0.0] * 4]


def test_a_number_near_one_draws_the_last_token_where_sums_stay_below_one() -> None:
    # 41 equal probabilities in float32: their sum is smaller than the number that decides.
    logits, uniform = torch.zeros(1, 41), torch.tensor([1 - 2.0**-48], dtype=torch.float64)
    total = float(torch.softmax(logits, -1).double().sum())
    assert total < 1 - 2.0**-48
    tokens, _ = sample_tokens(logits, uniform, SamplingConfig())
    assert tokens.tolist() == [40]


def test_temperature_divides_the_logits() -> None:
    squared = torch.tensor([[0.25, 0.09, 0.0225, 0.0025]])
    result = sampling_distribution(LOGITS, SamplingConfig(temperature=0.5))
    assert_close(result, squared / squared.sum())
    for temperature in (0.0, 1e-40):
        greedy = sampling_distribution(LOGITS, SamplingConfig(temperature=temperature))
        assert greedy.tolist() == [[1, 0, 0, 0]]


def test_top_p_is_a_share_of_what_top_k_leaves() -> None:
    # Of 0.5, 0.3, 0.15 the first two hold 0.8 / 0.95 > 0.82, and 0.8 < 0.82 of all four.
    for top_k, kept in ((3, 2), (None, 3)):
        result = sampling_distribution(LOGITS, SamplingConfig(top_k=top_k, top_p=0.82))
        assert int((result > 0).sum()) == kept


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


def _model() -> TransformerLM:
    config = uniform_transformer(
        vocab_size=20, context_length=6, d_model=16, num_layers=1, num_heads=2
    )
    return TransformerLM(config)


GREEDY = SamplingConfig(max_new_tokens=9, temperature=0)


def test_greedy_decoding_takes_the_largest_logit_beyond_the_context_too() -> None:
    model, tokens = _model(), [1, 2]
    result = generate(model, tokens, GREEDY)
    for token in result:
        assert token == int(model(torch.tensor([tokens[-6:]]))[0, -1].argmax())
        tokens = [*tokens, token]
    assert len(result) == 9


def test_every_step_draws_with_its_own_number() -> None:
    model, tokens, sampling = _model(), [3, 1], SamplingConfig(max_new_tokens=5, top_p=0.9, seed=7)
    for occurrence in (0, 2):
        tokens, key = [3, 1], stream_key(7, occurrence, [3, 1])
        for step, token in enumerate(generate(model, tokens, sampling, occurrence=occurrence)):
            uniform = torch.from_numpy(uniform_numbers([key], [step]))
            expected, _ = sample_tokens(model(torch.tensor([tokens]))[:, -1], uniform, sampling)
            assert token == int(expected)
            tokens = [*tokens, token]


def test_decoding_stops_at_any_stop_token_and_leaves_it_out() -> None:
    model = _model()
    free = generate(model, [1], GREEDY)
    stop = free[3]
    sampling = SamplingConfig(max_new_tokens=9, temperature=0, stop_token_ids=(21, stop))
    assert generate(model, [1], sampling) == free[: free.index(stop)]


def test_seed_and_occurrence_decide_the_text() -> None:
    model = _model()

    def draw(seed: int, occurrence: int = 0) -> list[int]:
        sampling = SamplingConfig(max_new_tokens=6, seed=seed)
        return generate(model, [1], sampling, occurrence=occurrence)

    assert draw(0) == draw(0)
    assert len({tuple(draw(*which)) for which in ((0, 0), (1, 0), (0, 1))}) == 3


def test_prompts_that_no_model_can_continue_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        generate(_model(), [], GREEDY)
    with pytest.raises(ValueError, match="ids 1 to 20, but the model has 20 tokens"):
        generate(_model(), [1, 20], GREEDY)
    with pytest.raises(ValueError, match="ids -1 to 1, but"):
        generate(_model(), [1, -1], GREEDY)


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
        ({"stop_strings": ("x", "")}, "a stop string must not be empty"),
        ({"seed": -1}, "seed must lie in .*, got -1"),
        ({"seed": 2**63}, "seed must lie in"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(values, message) -> None:
    with pytest.raises(ValueError, match=message):
        SamplingConfig(**values)


def _nucleus(probabilities: torch.Tensor, top_p: float) -> set[int]:
    """Add the most probable token until their sum reaches ``top_p``."""
    chosen: set[int] = set()
    total = 0.0
    for token in sorted(range(len(probabilities)), key=lambda i: -float(probabilities[i])):
        if total >= top_p:
            break
        chosen.add(token)
        total += float(probabilities[token])
    return chosen

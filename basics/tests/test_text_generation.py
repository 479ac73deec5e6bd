"""Text as it comes: a cache that changes nothing, exact frequencies, stop strings, windows."""

import logging
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.testing import assert_close

from lm_basics.decoding import generate, sampling_distribution
from lm_basics.model_config import (
    BlockConfig,
    FullAttention,
    MixtureOfExpertsConfig,
    MLPConfig,
    NoPosition,
    SinusoidalConfig,
    SlidingWindowAttention,
    SwiGLUConfig,
    TransformerConfig,
    uniform_transformer,
)
from lm_basics.sampling_config import SamplingConfig
from lm_basics.text_generation import CachedText, stream_text, stream_tokens, until_stop_string
from lm_basics.tokenizer import Tokenizer
from lm_basics.transformer import TransformerLM

LETTERS = Tokenizer({i: bytes([ord("a") + i]) for i in range(26)}, [])
"""Every letter is a token."""
GREEDY = SamplingConfig(max_new_tokens=20, temperature=0.0)


def _config(context_length: int = 32) -> TransformerConfig:
    return uniform_transformer(
        vocab_size=26, context_length=context_length, d_model=16, num_layers=2, num_heads=2
    )


def _hybrid() -> TransformerConfig:
    """Return a model of every kind of layer whose keys the cache may hold."""
    blocks = (
        BlockConfig(
            attention=SlidingWindowAttention(num_heads=4, num_kv_heads=2, window=3),
            feedforward=SwiGLUConfig(d_ff=16),
        ),
        BlockConfig(
            attention=FullAttention(num_heads=2, qk_norm=True, position=NoPosition()),
            feedforward=MixtureOfExpertsConfig(
                num_experts=3, num_active=2, expert=MLPConfig(d_ff=8)
            ),
            norm="post",
        ),
    )
    return replace(_config(), num_layers=4, pattern=blocks, position_embedding=SinusoidalConfig())


@pytest.mark.parametrize("config", [_config(), _hybrid()], ids=["llama", "hybrid"])
@pytest.mark.parametrize("parts", [[24], [1] * 24, [5, 1, 1, 10, 7]], ids=str)
def test_cached_steps_equal_the_full_pass(config: TransformerConfig, parts: list[int]) -> None:
    torch.manual_seed(0)
    model, tokens = TransformerLM(config), torch.randint(0, 26, (24,))
    with torch.no_grad():
        full = model(tokens[None])[0]
        text = CachedText(model=model)
        for part in tokens.split(parts):
            assert_close(text.append(part), full[text.num_tokens - 1])
    assert text.num_tokens == 24


def test_a_cached_text_ends_at_the_context() -> None:
    text = CachedText(model=TransformerLM(_config(4)))
    text.append(torch.tensor([1, 2, 3]))
    with pytest.raises(ValueError, match="5 tokens in a text, but context_length is 4"):
        text.append(torch.tensor([4, 5]))


@pytest.mark.parametrize("prompt_length", [1, 7, 8, 9, 20])
def test_tokens_are_those_of_plain_decoding_beyond_the_context_too(prompt_length: int) -> None:
    torch.manual_seed(1)
    model = TransformerLM(_config(8))
    prompt = torch.randint(0, 26, (prompt_length,)).tolist()
    drawn = SamplingConfig(max_new_tokens=20, top_k=9, top_p=0.9, seed=3)
    for sampling, occurrence in ((GREEDY, 0), (drawn, 0), (drawn, 1)):
        plain = generate(model, prompt, sampling, occurrence=occurrence)
        assert list(stream_tokens(model, prompt, sampling, occurrence=occurrence)) == plain


def test_a_prompt_beyond_the_context_is_told_and_no_text_that_outgrows_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = TransformerLM(_config(8))
    with caplog.at_level(logging.WARNING):
        assert len(list(stream_tokens(model, [1] * 8, GREEDY))) > 8
        assert caplog.messages == []
        list(stream_tokens(model, [1] * 9, GREEDY))
    assert caplog.messages == ["Of the prompt's 9 tokens the last 8 count."]


def _draw_from(probabilities: list[float], config: SamplingConfig) -> torch.Tensor:
    """Return tokens of a model that predicts these probabilities whatever it has seen."""
    model = TransformerLM(
        uniform_transformer(
            vocab_size=len(probabilities),
            context_length=config.max_new_tokens + 1,
            d_model=4,
            num_layers=1,
            num_heads=1,
            zero_init_residual=True,
        )
    )
    assert model.lm_head is not None
    with torch.no_grad():
        model.token_embeddings.weight.fill_(1.0)
        # The normalized stream is 1 in each of four dimensions.
        logits = torch.tensor(probabilities).log()
        model.lm_head.weight.copy_(logits[:, None].expand(-1, 4) / 4)
    return torch.tensor(list(stream_tokens(model, [0], config)))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (SamplingConfig(), [0.4, 0.3, 0.15, 0.1, 0.05]),
        # The squares 0.16, 0.09, 0.0225 and 0.01 of the four largest.
        (SamplingConfig(temperature=0.5, top_k=4), [64 / 113, 36 / 113, 9 / 113, 4 / 113, 0.0]),
        # Before the third lies 0.7 of 1: short of 0.75.
        (SamplingConfig(top_p=0.75), [8 / 17, 6 / 17, 3 / 17, 0.0, 0.0]),
        # Before the third of three lies 0.7 / 0.85 > 0.82; without top-k first it would stay.
        (SamplingConfig(top_k=3, top_p=0.82), [4 / 7, 3 / 7, 0.0, 0.0, 0.0]),
    ],
    ids=["all", "top-k", "top-p", "top-k then top-p"],
)
def test_frequencies_are_the_exact_probabilities(
    config: SamplingConfig, expected: list[float]
) -> None:
    num_drawn = 125
    tokens = _draw_from([0.4, 0.3, 0.15, 0.1, 0.05], replace(config, max_new_tokens=num_drawn))
    distribution = sampling_distribution(torch.tensor([[0.4, 0.3, 0.15, 0.1, 0.05]]).log(), config)
    assert_close(distribution, torch.tensor([expected]))
    observed = torch.bincount(tokens, minlength=5)
    exact = torch.tensor(expected) * num_drawn
    assert observed[exact == 0].sum() == 0
    statistic = ((observed - exact).square() / exact)[exact > 0].sum()
    # The 99.9% point of chi-square for four degrees of freedom.
    assert statistic < 18.5


def test_text_comes_in_pieces_and_ends_at_any_of_the_stop_tokens() -> None:
    torch.manual_seed(2)
    model = TransformerLM(_config())
    free = "".join(stream_text(model, LETTERS, [3], GREEDY))
    assert free == LETTERS.decode(generate(model, [3], GREEDY))
    assert list(stream_text(model, LETTERS, [3], GREEDY)) == list(free)
    stops = {free[5], free[9]}
    config = replace(GREEDY, stop_token_ids=tuple(LETTERS.encode("".join(stops))))
    stopped = "".join(stream_text(model, LETTERS, [3], config))
    assert stopped == free[: min(free.index(stop) for stop in stops)]


def test_a_stop_string_spans_tokens_and_what_is_behind_it_is_not_computed() -> None:
    torch.manual_seed(2)
    model = TransformerLM(_config())
    config = SamplingConfig(max_new_tokens=20, seed=1)
    free = "".join(stream_text(model, LETTERS, [3], config))
    stop = free[6:10]
    passes: list[int] = []
    model.layers[0].register_forward_hook(lambda *_: passes.append(1))
    stopping = replace(config, stop_strings=("never", stop))
    assert "".join(stream_text(model, LETTERS, [3], stopping)) == free[: free.index(stop)]
    assert len(passes) == free.index(stop) + len(stop)


@given(
    pieces=st.lists(st.text("abc", max_size=4), max_size=12),
    stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
)
@settings(max_examples=300, deadline=None)
def test_text_before_a_stop_string_does_not_depend_on_the_pieces(
    pieces: list[str], stops: list[str]
) -> None:
    text = "".join(pieces)
    ends = [end for end in range(len(text) + 1) if text[:end].endswith(tuple(stops))]
    expected = text
    if ends:
        longest = max(len(stop) for stop in stops if text[: ends[0]].endswith(stop))
        expected = text[: ends[0] - longest]
    found = list(until_stop_string(pieces, stops))
    assert "".join(found) == expected
    assert "" not in found


def test_only_what_may_become_a_stop_string_is_held_back() -> None:
    asked: list[str] = []
    pieces = (asked.append(piece) or piece for piece in ["one ", "two\n", "\n", "three"])
    stream = until_stop_string(pieces, ["\n\n"])
    assert next(stream) == "one "
    assert next(stream) == "two"
    assert next(stream, None) is None
    assert asked == ["one ", "two\n", "\n"]


def test_drawing_leaves_gradients_to_the_caller() -> None:
    model = TransformerLM(_config())
    for _ in stream_tokens(model, [1], replace(GREEDY, max_new_tokens=2)):
        assert torch.is_grad_enabled()


def test_values_out_of_range_are_refused_before_any_token() -> None:
    model = TransformerLM(_config())
    with pytest.raises(ValueError, match="at least one token"):
        stream_text(model, LETTERS, [], GREEDY)
    with pytest.raises(ValueError, match="ids 1 to 99, but the model has"):
        stream_tokens(model, [1, 99], GREEDY)

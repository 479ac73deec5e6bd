"""Prompts are checked and keyed; completions end for the right reason."""

import pytest

from lm_basics.sampling_config import SamplingConfig
from lm_systems.inference.requests import Request, make_requests
from systems.tests.reference import WordCodec


def _make(prompts, sampling: SamplingConfig | None = None) -> list[Request]:
    return make_requests(
        prompts, sampling or SamplingConfig(), WordCodec(), context_length=8, vocab_size=50
    )


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (["1", ""], "prompt 1 is empty"),
        ([[]], "prompt 0 is empty"),
        ([[1] * 9], "prompt 0 has 9 tokens, but the context holds 8"),
        ([[1, 50]], "outside of the vocabulary of 50: smallest 1, largest 50"),
        ([[-1, 3]], "outside of the vocabulary of 50: smallest -1, largest 3"),
    ],
    ids=["empty text", "no tokens", "too long", "unknown", "negative"],
)
def test_prompts_that_no_model_can_run_are_refused(prompts, message) -> None:
    with pytest.raises(ValueError, match=message):
        _make(prompts)


def test_texts_and_tokens_are_the_same_prompt() -> None:
    text, tokens = _make(["3 4 5", "1"]), _make([[3, 4, 5], (1,)])
    assert text == tokens


def test_keys_depend_on_the_prompt_and_its_repeats_only() -> None:
    together = [one.key for one in _make(["1 2", "3", "1 2", "4"])]
    assert len(set(together)) == 4
    assert [one.key for one in _make(["4", "1 2", "1 2", "3"])] == [
        together[3],
        together[0],
        together[2],
        together[1],
    ]
    assert _make(["1 2"], SamplingConfig(seed=1))[0].key not in together


def test_the_context_limits_the_length() -> None:
    sampling = SamplingConfig(max_new_tokens=3)
    lengths = [one.max_length for one in _make([[1], [1] * 7, [1] * 8], sampling)]
    assert lengths == [4, 9, 9]


def test_a_stop_token_ends_the_completion_and_stays_out_of_the_text() -> None:
    sampling = SamplingConfig(max_new_tokens=2, stop_token_ids=(9,))
    (request,) = _make(["1 2"], sampling)
    request.append(7, -0.5, sampling, WordCodec())
    with pytest.raises(ValueError, match="unfinished after 1 tokens"):
        request.complete(sampling, WordCodec())
    # The last token allowed is also a stop token: it counts as a stop.
    request.append(9, -0.25, sampling, WordCodec())
    completion = request.complete(sampling, WordCodec())
    assert completion.token_ids == [7, 9]
    assert completion.log_probs == [-0.5, -0.25]
    assert (completion.text, completion.finish_reason) == ("7", "stop")


def test_a_completion_of_full_length_keeps_all_of_its_text() -> None:
    sampling = SamplingConfig(max_new_tokens=1, stop_token_ids=(9,))
    (request,) = _make(["1"], sampling)
    request.append(7, -0.5, sampling, WordCodec())
    completion = request.complete(sampling, WordCodec())
    assert (completion.text, completion.finish_reason) == ("7", "length")


def test_a_stop_string_ends_the_completion_where_its_last_token_does() -> None:
    sampling = SamplingConfig(max_new_tokens=9, stop_strings=("never", "2 3"), stop_token_ids=(9,))
    (request,) = _make(["1"], sampling)
    for token_id in (7, 12, 31):
        assert request.finish_reason is None
        request.append(token_id, -0.5, sampling, WordCodec())
    completion = request.complete(sampling, WordCodec())
    assert completion.token_ids == [7, 12, 31]
    assert (completion.text, completion.finish_reason) == ("7 1", "stop")

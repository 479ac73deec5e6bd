"""The engine equals a loop without cache, and a completion never depends on its company."""

from dataclasses import replace

import pytest
import torch

from lm_basics.decoding import generate
from lm_basics.sampling_config import SamplingConfig
from lm_systems.inference.engine import Engine
from lm_systems.inference.protocol import Completion, Generator
from lm_systems.kernels.ops import get_ops
from systems.tests.reference import WordCodec, complete_greedily, score_completion

PROMPTS = [[5, 6, 7], [1], [9, 8, 7, 6, 5, 4], [2, 3], [9, 8, 7, 6, 5, 5], [60] * 12]
GREEDY = SamplingConfig(max_new_tokens=8, temperature=0)
RANDOM = SamplingConfig(max_new_tokens=8, temperature=1.3)


@pytest.mark.parametrize("max_batch_size", [1, 2, 4, 64])
@pytest.mark.parametrize("ops", ["reference", "fused"])
def test_greedy_completions_equal_a_loop_without_cache(make_model, ops, max_batch_size) -> None:
    engine = Engine(make_model(get_ops(ops)), WordCodec(), max_batch_size=max_batch_size)
    reference = make_model()
    for prompt, completion in zip(PROMPTS, engine.generate(PROMPTS, GREEDY), strict=True):
        assert completion.prompt_ids == prompt
        assert completion.token_ids == complete_greedily(reference, prompt, 8)
        assert completion.finish_reason == "length"


@pytest.mark.parametrize("sampling", [GREEDY, RANDOM, replace(RANDOM, top_p=0.8, top_k=9)], ids=str)
def test_log_probs_equal_a_full_forward_pass(make_model, sampling) -> None:
    model = make_model(get_ops("fused"))
    for completion in Engine(model, WordCodec(), max_batch_size=3).generate(PROMPTS, sampling):
        expected = score_completion(model, completion.prompt_ids, completion.token_ids)
        assert completion.log_probs == pytest.approx(expected, abs=1e-4)


def test_a_completion_does_not_depend_on_its_company(make_model) -> None:
    model = make_model()
    together = Engine(model, WordCodec()).generate(PROMPTS, RANDOM)
    backwards = Engine(model, WordCodec(), max_batch_size=3).generate(PROMPTS[::-1], RANDOM)
    alone = [Engine(model, WordCodec()).generate([prompt], RANDOM)[0] for prompt in PROMPTS]
    tokens = _tokens(together)
    assert _tokens(backwards[::-1]) == tokens
    assert _tokens(alone) == tokens


def test_repeats_of_a_prompt_differ_and_repeat_with_the_seed(make_model) -> None:
    engine = Engine(make_model(), WordCodec(), max_batch_size=5)
    prompts = [[5, 6, 7]] * 12
    first = _tokens(engine.generate(prompts, RANDOM))
    assert len({tuple(tokens) for tokens in first}) == 12
    assert _tokens(engine.generate(prompts, RANDOM)) == first
    assert _tokens(engine.generate(prompts[:4], RANDOM)) == first[:4]
    assert _tokens(engine.generate(prompts, replace(RANDOM, seed=1))) != first


def test_first_tokens_follow_the_model_distribution(make_model) -> None:
    model = make_model()
    count = 3000
    sampling = SamplingConfig(max_new_tokens=1)
    completions = Engine(model, WordCodec(), max_batch_size=1000).generate(
        [[4, 2]] * count, sampling
    )
    observed = torch.bincount(torch.tensor(_tokens(completions)).flatten(), minlength=61)
    expected = torch.softmax(model(torch.tensor([[4, 2]]))[0, -1], -1).detach() * count
    likely = expected > 5
    statistic = ((observed - expected)[likely].square() / expected[likely]).sum()
    degrees = int(likely.sum())
    # Four standard deviations above the mean of chi-square.
    assert statistic < degrees + 4 * (2 * degrees) ** 0.5


def test_stop_tokens_end_rows_and_waiting_prompts_take_their_places(make_model) -> None:
    model = make_model()
    free = Engine(model, WordCodec()).generate(PROMPTS * 5, RANDOM)
    stops = (free[0].token_ids[2], free[1].token_ids[4])
    stopping = replace(RANDOM, stop_token_ids=stops)
    found = Engine(model, WordCodec(), max_batch_size=4).generate(PROMPTS * 5, stopping)
    for cut, whole in zip(found, free, strict=True):
        ends = [i for i, token_id in enumerate(whole.token_ids) if token_id in stops]
        length = ends[0] + 1 if ends else 8
        assert cut.token_ids == whole.token_ids[:length]
        assert cut.finish_reason == ("stop" if ends else "length")
        assert cut.text == " ".join(map(str, whole.token_ids[: length - bool(ends)]))
    assert {one.finish_reason for one in found} == {"stop", "length"}


@pytest.mark.parametrize(("prompt_length", "expected"), [(24, 1), (23, 2), (20, 5)])
def test_a_full_context_ends_the_completion(make_model, prompt_length, expected) -> None:
    model = make_model()
    prompt = list(range(prompt_length))
    (completion,) = Engine(model, WordCodec()).generate(
        [prompt], replace(GREEDY, max_new_tokens=50)
    )
    assert len(completion.token_ids) == expected
    assert completion.finish_reason == "length"
    scores = score_completion(model, prompt, completion.token_ids)
    assert completion.log_probs == pytest.approx(scores, abs=1e-4)


def test_new_weights_count_from_the_next_call(make_model) -> None:
    model = make_model()
    engine = Engine(model, WordCodec())
    before = _tokens(engine.generate(PROMPTS, GREEDY))
    with torch.no_grad():
        model.output_weight.copy_(model.output_weight.flip(0))
    after = _tokens(engine.generate(PROMPTS, GREEDY))
    assert after != before
    assert after == [complete_greedily(model, prompt, 8) for prompt in PROMPTS]


@pytest.mark.parametrize(
    ("limit", "passes"),
    [
        # Prompts of 1, 2, 3, 6, 6 and 12 tokens, padded to the longest of a pass.
        (8192, [(6, 12)]),
        (12, [(3, 3), (2, 6), (1, 12)]),
        (11, [(3, 3), (1, 6), (1, 6), (1, 12)]),
        (4, [(2, 2), (1, 3), (1, 6), (1, 6), (1, 12)]),
    ],
)
def test_a_prefill_takes_as_many_prompts_as_its_limit_allows(
    make_model, monkeypatch, limit, passes
) -> None:
    model = make_model()
    whole = _tokens(Engine(model, WordCodec()).generate(PROMPTS, GREEDY))
    monkeypatch.setattr("lm_systems.inference.engine.PREFILL_TOKENS", limit)
    seen: list[tuple[int, ...]] = []
    model.token_embeddings.register_forward_pre_hook(
        lambda _, inputs: seen.append(tuple(inputs[0].shape))
    )
    assert _tokens(Engine(model, WordCodec()).generate(PROMPTS, GREEDY)) == whole
    assert seen[: len(passes)] == passes
    assert set(seen[len(passes) :]) == {(6, 1)}


def test_draws_are_those_of_plain_decoding(make_model) -> None:
    model = make_model()
    for sampling in (GREEDY, RANDOM, replace(RANDOM, top_p=0.8, top_k=9, seed=5)):
        completions = Engine(model, WordCodec(), max_batch_size=4).generate(PROMPTS * 2, sampling)
        for i, completion in enumerate(completions):
            plain = generate(model, PROMPTS[i % 6], sampling, occurrence=i // 6)
            assert completion.token_ids == plain


def test_texts_go_through_the_tokenizer(make_model) -> None:
    engine = Engine(make_model(), WordCodec())
    by_text, by_tokens = engine.generate(["5 6 7"], GREEDY), engine.generate([[5, 6, 7]], GREEDY)
    assert by_text == by_tokens
    assert WordCodec().encode(by_text[0].text) == by_text[0].token_ids


def test_nothing_to_do_is_no_error(make_model) -> None:
    engine = Engine(make_model(), WordCodec())
    assert isinstance(engine, Generator)
    assert engine.generate([], GREEDY) == []


def test_an_empty_batch_is_refused(make_model) -> None:
    with pytest.raises(ValueError, match="max_batch_size must be at least 1, got 0"):
        Engine(make_model(), WordCodec(), max_batch_size=0)


def _tokens(completions: list[Completion]) -> list[list[int]]:
    return [completion.token_ids for completion in completions]

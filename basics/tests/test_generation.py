"""Plain decoding and its distributions."""

import pytest
import torch

from lm_basics.generation import generate, next_token_distribution
from lm_basics.model_config import uniform_transformer
from lm_basics.transformer import TransformerLM

LOGITS = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()


def test_temperature_divides_the_logits() -> None:
    squared = torch.tensor([0.25, 0.09, 0.0225, 0.0025])
    result = next_token_distribution(LOGITS, temperature=0.5)
    torch.testing.assert_close(result, squared / squared.sum())
    assert next_token_distribution(LOGITS, temperature=0.0).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(("top_p", "kept"), [(0.4, 1), (0.6, 2), (0.79, 2), (0.81, 3), (1.0, 4)])
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p: float, kept: int) -> None:
    result = next_token_distribution(LOGITS, top_p=top_p)
    assert int((result > 0).sum()) == kept
    expected = LOGITS.exp()[:kept] / LOGITS.exp()[:kept].sum()
    torch.testing.assert_close(result[:kept], expected)


@pytest.mark.parametrize(("top_k", "kept"), [(1, 1), (3, 3), (4, 4), (9, 4), (None, 4)])
def test_top_k_keeps_the_largest(top_k: int | None, kept: int) -> None:
    result = next_token_distribution(LOGITS.flip(0), top_k=top_k).flip(0)
    expected = torch.zeros(4)
    expected[:kept] = LOGITS.exp()[:kept] / LOGITS.exp()[:kept].sum()
    torch.testing.assert_close(result, expected)


def test_top_k_keeps_exactly_k_even_between_equals() -> None:
    result = next_token_distribution(torch.zeros(10), top_k=3)
    assert sorted(result.tolist()) == [0] * 7 + [pytest.approx(1 / 3)] * 3


def test_top_p_is_a_share_of_what_top_k_leaves() -> None:
    # Of 0.5, 0.3, 0.15 the first two hold 0.8 / 0.95 > 0.82, and 0.8 < 0.82 of all four.
    assert int((next_token_distribution(LOGITS, top_k=3, top_p=0.82) > 0).sum()) == 2
    assert int((next_token_distribution(LOGITS, top_p=0.82) > 0).sum()) == 3


def _model() -> TransformerLM:
    config = uniform_transformer(
        vocab_size=20, context_length=6, d_model=16, num_layers=1, num_heads=2
    )
    return TransformerLM(config)


def test_greedy_decoding_takes_the_largest_logit_beyond_the_context_too() -> None:
    model, tokens = _model(), [1, 2]
    result = generate(model, tokens, max_new_tokens=9, temperature=0.0)
    for token in result:
        assert token == int(model(torch.tensor([tokens[-6:]]))[0, -1].argmax())
        tokens = [*tokens, token]
    assert len(result) == 9


def test_decoding_stops_at_the_stop_token_and_leaves_it_out() -> None:
    model = _model()
    free = generate(model, [1], max_new_tokens=6, temperature=0.0)
    stop = free[3]
    stopped = generate(model, [1], max_new_tokens=6, temperature=0.0, stop_token=stop)
    assert stopped == free[: free.index(stop)]


def test_the_same_seed_gives_the_same_text() -> None:
    model = _model()
    texts = [
        generate(model, [1], max_new_tokens=6, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_a_tiny_temperature_takes_the_largest() -> None:
    cold = next_token_distribution(LOGITS, temperature=1e-40)
    assert torch.equal(cold, next_token_distribution(LOGITS, temperature=0.0))


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        generate(_model(), [], max_new_tokens=1)
    with pytest.raises(ValueError, match="ids 1 to 999, but the model has"):
        generate(_model(), [1, 999], max_new_tokens=1)
    with pytest.raises(ValueError, match="max_new_tokens must not be negative"):
        generate(_model(), [1], max_new_tokens=-1)
    with pytest.raises(ValueError, match="temperature=nan"):
        next_token_distribution(LOGITS, temperature=float("nan"))
    with pytest.raises(ValueError, match="temperature=-1"):
        next_token_distribution(LOGITS, temperature=-1.0)
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        next_token_distribution(LOGITS, top_k=0)
    with pytest.raises(ValueError, match=r"top_p=0\.0"):
        next_token_distribution(LOGITS, top_p=0.0)

import pytest
import torch
from hypothesis import given, strategies as st

from lm_alignment.masking import (
    join_responses,
    masked_mean,
    masked_normalize,
    tokenize_prompt_and_output,
)

TOKENS = st.lists(st.integers(1, 50), min_size=1, max_size=6)


def test_hand_computed_rows():
    batch = join_responses([[1, 2], [3]], [[4, 5], [6]], pad_token_id=0)
    assert batch.input_ids.tolist() == [[1, 2, 4], [3, 6, 0]]
    assert batch.labels.tolist() == [[2, 4, 5], [6, 0, 0]]
    assert batch.response_mask.tolist() == [[False, True, True], [True, False, False]]


@given(st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=4))
def test_masked_labels_are_the_responses_and_inputs_start_with_the_prompts(rows):
    prompts, responses = zip(*rows, strict=True)
    batch = join_responses(prompts, responses, pad_token_id=0)
    for row, (prompt, response) in enumerate(rows):
        assert batch.labels[row][batch.response_mask[row]].tolist() == response
        assert batch.input_ids[row][: len(prompt)].tolist() == prompt[: batch.input_ids.shape[1]]
        # The input under the first response label is the prompt's last token.
        first = int(batch.response_mask[row].int().argmax())
        assert batch.input_ids[row, first] == prompt[-1]


@given(st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=4))
def test_shifted_inputs_are_the_labels(rows):
    batch = join_responses(*zip(*rows, strict=True), pad_token_id=0)
    torch.testing.assert_close(batch.input_ids[:, 1:], batch.labels[:, :-1])


def test_prompt_and_output_do_not_share_a_token(tokenizer):
    # Joined first, " lar" + "gest" would become one token.
    batch = tokenize_prompt_and_output(["the lar"], ["gest"], tokenizer, pad_token_id=0)
    prompt, output = tokenizer.encode("the lar"), tokenizer.encode("gest")
    assert [*batch.input_ids[0].tolist(), int(batch.labels[0, -1])] == prompt + output
    assert prompt + output != tokenizer.encode("the largest")


def test_select_keeps_rows_together():
    batch = join_responses([[1], [2], [3]], [[4], [5], [6, 7]], pad_token_id=0)
    part = batch.select(torch.tensor([2, 0]))
    assert len(part) == 2
    assert part.input_ids.tolist() == [[3, 6], [1, 4]]
    assert part.response_mask.tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize(
    ("prompts", "responses", "message"),
    [
        ([], [], "at least one"),
        ([[1]], [], "as many responses"),
        ([[]], [[1]], "empty prompt"),
        ([[1], []], [[1], [1]], "empty prompt"),
    ],
)
def test_bad_rows_are_refused(prompts, responses, message):
    with pytest.raises(ValueError, match=message):
        join_responses(prompts, responses, pad_token_id=0)


@pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.float])
def test_masked_sums_and_means_by_hand(dtype):
    nan = float("nan")
    values = torch.tensor([[1.0, 2.0, nan], [4.0, nan, nan]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]]).to(dtype)
    torch.testing.assert_close(masked_mean(values, mask), torch.tensor(7 / 3))
    torch.testing.assert_close(masked_mean(values, mask, -1), torch.tensor([1.5, 4.0]))
    by_column = masked_mean(values, mask, 0)
    torch.testing.assert_close(by_column, torch.tensor([2.5, 2.0, nan]), equal_nan=True)
    torch.testing.assert_close(
        masked_normalize(values, mask, 1, constant=2.0), torch.tensor([1.5, 2.0])
    )
    torch.testing.assert_close(masked_normalize(values, mask), torch.tensor(7.0))

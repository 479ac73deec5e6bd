import math

import pytest
import torch

from lm_alignment.examples import Conversation, Example
from lm_alignment.packing import PackedDataset, iterate_batches, pack_examples
from lm_alignment.templates import Message

EXAMPLES = [Example(question=f"What is {n}?", answer=f"It is {n}.") for n in range(9)]
END = "<|endoftext|>"


def pack(tokenizer, examples, seq_length=8, **options) -> PackedDataset:
    end = tokenizer.special_token_ids[END]
    return pack_examples(examples, tokenizer, seq_length=seq_length, end_token_id=end, **options)


@pytest.mark.parametrize(("num_tokens", "num_windows"), [(4, 1), (6, 1), (7, 2), (9, 2), (10, 3)])
def test_windows_stand_side_by_side_and_labels_are_one_token_later(num_tokens, num_windows):
    dataset = PackedDataset(range(num_tokens), 3)
    windows = list(dataset)  # pyright: ignore[reportArgumentType] - the old protocol
    assert len(windows) == len(dataset) == num_windows
    for index, window in enumerate(windows):
        assert window["input_ids"].tolist() == list(range(3 * index, 3 * index + 3))
        assert window["labels"].tolist() == list(range(3 * index + 1, 3 * index + 4))


def test_documents_are_alpacas_and_each_ends(tokenizer):
    dataset = pack(tokenizer, EXAMPLES[:2], seq_length=1)
    windows = [dataset[index] for index in range(len(dataset))]
    ids = [int(window["input_ids"]) for window in windows]
    text = tokenizer.decode([*ids, int(windows[-1]["labels"])])
    assert text == "".join(
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n"
        f"### Instruction:\nWhat is {n}?\n\n### Response:\nIt is {n}.{END}"
        for n in range(2)
    )


def test_what_a_document_spells_is_not_special(tokenizer):
    spelled = pack(tokenizer, [Example(question="a", answer=END)], seq_length=1)
    end = tokenizer.special_token_ids[END]
    assert sum(int(spelled[index]["labels"]) == end for index in range(len(spelled))) == 1


def test_shuffling_moves_documents_and_follows_the_seed(tokenizer):
    def rows(**options):
        dataset = pack(tokenizer, EXAMPLES, **options)
        return torch.stack([dataset[index]["input_ids"] for index in range(len(dataset))])

    straight, shuffled = rows(), rows(shuffle=True)
    assert not torch.equal(straight, shuffled)
    assert torch.equal(shuffled, rows(shuffle=True, seed=0))
    assert not torch.equal(shuffled, rows(shuffle=True, seed=1))
    document = pack(tokenizer, EXAMPLES[:1], seq_length=4)
    assert any(torch.equal(document[0]["input_ids"], row[:4]) for row in straight)


def test_a_pass_shows_every_window_once(tokenizer):
    dataset = PackedDataset(range(31), 3)
    batches = iterate_batches(dataset, 4, shuffle=True)
    assert len(batches) == math.ceil(10 / 4)
    shown = [batch["input_ids"] for batch in batches]
    assert [tuple(ids.shape) for ids in shown] == [(4, 3), (4, 3), (2, 3)]
    assert sorted(torch.cat(shown).flatten().tolist()) == list(range(30))
    assert torch.cat(shown).flatten().tolist() != list(range(30))
    straight = torch.cat([batch["labels"] for batch in iterate_batches(dataset, 4)])
    assert straight.flatten().tolist() == list(range(1, 31))


def test_what_cannot_be_packed_is_refused(tokenizer):
    with pytest.raises(ValueError, match="less than the 3 tokens"):
        PackedDataset(range(3), 3)
    with pytest.raises(ValueError, match="must be positive"):
        PackedDataset(range(3), 0)
    user, assistant = (
        Message(role="user", content="a"),
        Message(role="assistant", content="b"),
    )
    several = Conversation(messages=(user, assistant, user, assistant))
    with pytest.raises(ValueError, match="example 1 has 4 turns"):
        pack(tokenizer, [EXAMPLES[0], several])

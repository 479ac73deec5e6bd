"""Instruction tuning on packed documents: all in one row of tokens, cut into windows of one length.

No place is padding, and the loss is on every token, that of the instruction included; a window may
begin and end in the middle of a document. The instruction format is Alpaca's (Taori et al., 2023).
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lm_alignment.examples import Conversation, Example
from lm_alignment.templates import alpaca_prompt
from lm_basics.tokenizer import Tokenizer
from lm_systems.inference.protocol import TextCodec


class PackedDataset(Dataset[dict[str, Tensor]]):
    """Windows side by side; the last tokens, too few for a window and its last label, are left."""

    def __init__(self, token_ids: Sequence[int], seq_length: int) -> None:
        """Cut ``token_ids``.

        Raises:
            ValueError: they do not fill one window and its last label.
        """
        if not 0 < seq_length < len(token_ids):
            raise ValueError(
                f"seq_length={seq_length} must be positive and less than the {len(token_ids)} "
                "tokens of all documents"
            )
        self._token_ids = torch.tensor(token_ids)
        self._seq_length = seq_length

    def __len__(self) -> int:
        return (len(self._token_ids) - 1) // self._seq_length

    def __getitem__(self, index: int) -> dict[str, Int[Tensor, " seq"]]:
        """Return ``input_ids`` and ``labels``, the same places one token later."""
        # Iterating without an iterator ends at an IndexError.
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        start, end = index * self._seq_length, (index + 1) * self._seq_length
        return {
            "input_ids": self._token_ids[start:end],
            "labels": self._token_ids[start + 1 : end + 1],
        }


def pack_examples(
    examples: Sequence[Example | Conversation],
    tokenizer: TextCodec,
    *,
    seq_length: int,
    end_token_id: int,
    shuffle: bool = False,
    seed: int = 0,
) -> PackedDataset:
    """Write the examples in Alpaca's format, one behind the other, and cut.

    Args:
        examples: Exchanges, as of ``datasets.read_conversations``.
        tokenizer: What it opens a text with, if anything, opens every document.
        seq_length: Tokens of a window.
        end_token_id: Ends every document.
        shuffle: Whether the documents come in another order.
        seed: Of that order.

    Raises:
        ValueError: an example has several exchanges, or all together do not fill a window.
    """
    order = np.random.default_rng(seed).permutation(len(examples)) if shuffle else None
    token_ids: list[int] = []
    for index in range(len(examples)) if order is None else order:
        messages = examples[index].messages
        if [message.role for message in messages] != ["user", "assistant"]:
            raise ValueError(
                f"the format has one question and one answer, but example {index} has "
                f"{len(messages)} turns"
            )
        question, answer = (message.content for message in messages)
        token_ids += encode_document(
            tokenizer, alpaca_prompt(question) + answer, end_token_id=end_token_id
        )
    return PackedDataset(token_ids, seq_length)


def encode_document(tokenizer: TextCodec, text: str, *, end_token_id: int) -> list[int]:
    """Return the ids of a text with what the tokenizer opens it with, and the end token."""
    if isinstance(tokenizer, Tokenizer):
        # Nothing in a document is special, whatever it spells.
        return [*tokenizer.encode(text, allowed_special=()), end_token_id]
    ids = list(tokenizer.encode(text))
    return ids if ids[-1:] == [end_token_id] else [*ids, end_token_id]


def iterate_batches(
    dataset: Dataset[dict[str, Tensor]], batch_size: int, *, shuffle: bool = False, seed: int = 0
) -> DataLoader[dict[str, Tensor]]:
    """Return one pass over the dataset, whose last batch may be smaller."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(dataset, batch_size, shuffle=shuffle, generator=generator)

"""Prompt and response in one row, with a mask that says which labels are the response's.

For the tokens ``p1 p2 r1 r2`` the row holds inputs ``p1 p2 r1``, labels ``p2 r1 r2`` and the mask
``0 1 1``: the last prompt token predicts the first response token, and no prompt token is a
target.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lm_basics.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class ResponseBatch:
    """Right-padded rows of prompt and response."""

    input_ids: Int[Tensor, "batch seq"]
    """All tokens but the last column."""
    labels: Int[Tensor, "batch seq"]
    """All tokens but the first column."""
    response_mask: Bool[Tensor, "batch seq"]
    """True where the label is a token of the response."""

    def __len__(self) -> int:
        return len(self.input_ids)

    def select(self, rows: Int[Tensor, " rows"]) -> "ResponseBatch":
        """Return only ``rows``, in that order."""
        return ResponseBatch(
            input_ids=self.input_ids[rows],
            labels=self.labels[rows],
            response_mask=self.response_mask[rows],
        )

    def to(self, device: torch.device) -> "ResponseBatch":
        """Return the batch on ``device``."""
        return ResponseBatch(
            input_ids=self.input_ids.to(device),
            labels=self.labels.to(device),
            response_mask=self.response_mask.to(device),
        )


def tokenize_prompt_and_output(
    prompts: Sequence[str], outputs: Sequence[str], tokenizer: Tokenizer, *, pad_token_id: int
) -> ResponseBatch:
    """Tokenize each prompt and output by itself, adding no tokens, and join them.

    By itself: joined first, the end of a prompt and the start of its output could share a token.
    """
    return join_responses(
        [tokenizer.encode(prompt) for prompt in prompts],
        [tokenizer.encode(output) for output in outputs],
        pad_token_id=pad_token_id,
    )


def join_responses(
    prompt_ids: Sequence[Sequence[int]],
    response_ids: Sequence[Sequence[int]],
    *,
    pad_token_id: int,
) -> ResponseBatch:
    """Concatenate each prompt with its response and pad on the right to the longest row.

    Raises:
        ValueError: there are no rows, unequal numbers of both, or an empty prompt.
    """
    if not prompt_ids or len(prompt_ids) != len(response_ids):
        raise ValueError(
            f"expected as many responses as prompts and at least one, got {len(prompt_ids)} "
            f"prompts and {len(response_ids)} responses"
        )
    if not all(prompt_ids):
        raise ValueError("expected at least one token in every prompt, got an empty prompt")
    lengths = [len(p) + len(r) for p, r in zip(prompt_ids, response_ids, strict=True)]
    token_ids = torch.full((len(prompt_ids), max(lengths)), pad_token_id)
    is_response = torch.zeros(token_ids.shape, dtype=torch.bool)
    for row, (prompt, response) in enumerate(zip(prompt_ids, response_ids, strict=True)):
        token_ids[row, : lengths[row]] = torch.tensor([*prompt, *response])
        is_response[row, len(prompt) : lengths[row]] = True
    # The mask is shifted like the labels: it says what is predicted, not what is read.
    return ResponseBatch(
        input_ids=token_ids[:, :-1],
        labels=token_ids[:, 1:],
        response_mask=is_response[:, 1:],
    )

"""Prompt and response in one row, with a mask that says which labels are the response's.

For the tokens ``p1 p2 r1 r2`` the row holds inputs ``p1 p2 r1``, labels ``p2 r1 r2`` and the mask
``0 1 1``: the last prompt token predicts the first response token, and no prompt token is a
target. The log-probabilities of the labels, and the entropy of the choices, have the same places.

Tokenizers and causal language models of ``transformers`` are taken like ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from lm_basics.tokenizer import Tokenizer
from lm_basics.transformer import TransformerLM
from lm_systems.inference.protocol import TextCodec


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
    prompts: Sequence[str], outputs: Sequence[str], tokenizer: TextCodec, *, pad_token_id: int
) -> ResponseBatch:
    """Tokenize each prompt and output by itself, adding no tokens, and join them.

    By itself: joined first, the end of a prompt and the start of its output could share a token.
    """
    return join_responses(
        [encode_alone(tokenizer, prompt) for prompt in prompts],
        [encode_alone(tokenizer, output) for output in outputs],
        pad_token_id=pad_token_id,
    )


def encode_alone(tokenizer: TextCodec, text: str) -> list[int]:
    """Return the ids of ``text`` and nothing else: no token that opens or ends a document."""
    if isinstance(tokenizer, Tokenizer):
        return tokenizer.encode(text)
    their: Any = tokenizer
    return list(their.encode(text, add_special_tokens=False))


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
    return pad_rows(
        [
            ([*prompt, *response], [False] * len(prompt) + [True] * len(response))
            for prompt, response in zip(prompt_ids, response_ids, strict=True)
        ],
        pad_token_id=pad_token_id,
    )


def pad_rows(
    rows: Sequence[tuple[Sequence[int], Sequence[bool]]], *, pad_token_id: int
) -> ResponseBatch:
    """Pad rows of tokens on the right to the longest; each says which of its are a response's."""
    token_ids = torch.full((len(rows), max(len(ids) for ids, _ in rows)), pad_token_id)
    is_response = torch.zeros(token_ids.shape, dtype=torch.bool)
    for row, (ids, is_own) in enumerate(rows):
        token_ids[row, : len(ids)] = torch.tensor(ids)
        is_response[row, : len(ids)] = torch.tensor(is_own)
    # The mask is shifted like the labels: it says what is predicted, not what is read.
    return ResponseBatch(
        input_ids=token_ids[:, :-1],
        labels=token_ids[:, 1:],
        response_mask=is_response[:, 1:],
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ResponseLogProbs:
    """What a model says about the responses of a batch."""

    log_probs: Float[Tensor, "batch seq"]
    """``log p(label | tokens before it)`` in nats; 0 outside of the responses."""
    entropy: Float[Tensor, "batch seq"] | None
    """Entropy in nats of the distribution that the label was drawn from; 0 outside."""


def gather_log_probs(
    logits: Float[Tensor, "*batch vocab"], labels: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Return ``log softmax(logits)[label]`` in nats, computed in float32."""
    # In bfloat16 the ratio of two policies would be lost in rounding.
    logits = logits.float()
    chosen = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return chosen - torch.logsumexp(logits, dim=-1)


def compute_entropy(logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch"]:
    """Return ``-sum p log p`` in nats, with ``p = softmax(logits)``, computed in float32."""
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    return -(log_probs.exp() * log_probs).sum(-1)


def next_token_logits(
    model: nn.Module, input_ids: Int[Tensor, "batch seq"]
) -> Float[Tensor, "batch seq vocab"]:
    """Return the logits of a model that gives them alone, or as ``logits`` of its output."""
    output = model(input_ids)
    return output if isinstance(output, Tensor) else output.logits


def label_log_probs(
    model: nn.Module,
    input_ids: Int[Tensor, "batch seq"],
    labels: Int[Tensor, "batch seq"],
    *,
    with_entropy: bool = False,
) -> ResponseLogProbs:
    """Score every label, those of prompts and padding too; as ``response_log_probs`` otherwise."""
    everywhere = torch.ones_like(labels, dtype=torch.bool)
    batch = ResponseBatch(input_ids=input_ids, labels=labels, response_mask=everywhere)
    return response_log_probs(model, batch, with_entropy=with_entropy)


def response_log_probs(
    model: nn.Module, batch: ResponseBatch, *, with_entropy: bool = False
) -> ResponseLogProbs:
    """Score the responses; gradients flow into the log-probabilities, not into the entropy."""
    mask = batch.response_mask
    if isinstance(model, TransformerLM):
        # The output head is a large part of a small model, and most positions are prompt or
        # padding: only the response's go through it.
        logits = model.hidden(batch.input_ids)[mask] @ model.output_weight.T
    else:
        logits = next_token_logits(model, batch.input_ids)[mask]
    entropy = None
    if with_entropy:
        with torch.no_grad():
            entropy = _scatter(compute_entropy(logits), batch)
    return ResponseLogProbs(
        log_probs=_scatter(gather_log_probs(logits, batch.labels[mask]), batch), entropy=entropy
    )


def _scatter(values: Float[Tensor, " tokens"], batch: ResponseBatch) -> Float[Tensor, "batch seq"]:
    """Put one value per response token back in its place."""
    zeros = torch.zeros(batch.response_mask.shape, device=values.device)
    return zeros.masked_scatter(batch.response_mask, values)


def masked_mean(
    values: Float[Tensor, "*shape"], mask: Shaped[Tensor, "*shape"], dim: int | None = None
) -> Float[Tensor, "..."]:
    """Return the mean over ``dim``, None for all, where ``mask`` is not 0; NaN where it is all 0.

    Not clamped to a count of 1: an empty response is a fault to be seen.
    """
    return masked_normalize(values, mask, dim) / (mask != 0).sum(dim)


def masked_normalize(
    values: Float[Tensor, "*shape"],
    mask: Shaped[Tensor, "*shape"],
    dim: int | None = None,
    *,
    constant: float | Int[Tensor, ""] = 1.0,
) -> Float[Tensor, "..."]:
    """Return the sum over ``dim``, None for all, where ``mask`` is not 0, over ``constant``."""
    # torch.where and not a product: NaN times 0 is NaN.
    return torch.where(mask != 0, values, 0.0).sum(dim) / constant

"""Log-probabilities of responses under a model, and the entropy of its next-token choices."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_alignment.masking import ResponseBatch
from lm_basics.transformer import TransformerLM


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


def response_log_probs(
    model: TransformerLM, batch: ResponseBatch, *, with_entropy: bool = False
) -> ResponseLogProbs:
    """Score the responses; gradients flow into the log-probabilities, not into the entropy.

    The output head is a large part of a small model, and most positions are prompt or padding, so
    only the response's positions go through it.
    """
    mask = batch.response_mask
    hidden = model.hidden(batch.input_ids)[mask]
    logits = hidden @ model.output_weight.T
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

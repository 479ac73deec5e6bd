"""Plain, slow versions to compare the library with."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lm_basics.transformer import TransformerLM


def value_and_gradients(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], upstream: Tensor
) -> list[Tensor]:
    """Return ``function(*inputs)`` and the gradients with respect to each input."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    y = function(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, upstream.to(y.dtype))]


@torch.no_grad()
def complete_greedily(model: TransformerLM, prompt: Sequence[int], num_tokens: int) -> list[int]:
    """Run the whole sequence again for every token."""
    ids = list(prompt)
    for _ in range(num_tokens):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


@torch.no_grad()
def score_completion(
    model: TransformerLM, prompt: Sequence[int], token_ids: Sequence[int]
) -> list[float]:
    """Return the log-probability of every token of a completion from one full forward pass."""
    logits = model(torch.tensor([[*prompt, *token_ids][:-1]]))[0]
    log_probs = torch.log_softmax(logits.double(), -1)
    first = len(prompt) - 1
    return [float(log_probs[first + i, token_id]) for i, token_id in enumerate(token_ids)]


class WordCodec:
    """A tokenizer whose texts are numbers between spaces."""

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))

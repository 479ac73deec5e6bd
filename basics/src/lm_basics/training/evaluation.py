"""Loss on held-out tokens, every token predicted once."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lm_basics.nn.ops import IGNORED_TARGET
from lm_basics.transformer import TransformerLM


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutLoss:
    """Total surprise of a token sequence."""

    total_nats: float
    """Sum of ``-log p`` over all tokens."""
    num_tokens: int
    """Tokens that were predicted."""

    @property
    def nats_per_token(self) -> float:
        """Mean loss."""
        return self.total_nats / self.num_tokens


@torch.no_grad()
def evaluate_loss(
    model: TransformerLM,
    tokens: NDArray[np.integer],
    *,
    first_context: int,
    context_length: int | None = None,
    stride: int | None = None,
    batch_size: int = 32,
    dtype: torch.dtype = torch.float32,
) -> HeldOutLoss:
    """Predict every token of ``tokens`` exactly once.

    Windows of ``context_length`` tokens advance by ``stride``; of each only the tokens that no
    earlier window has covered count, so all but the first ``context - stride`` tokens see at least
    that much context.

    Args:
        model: Moved nowhere, left in its mode.
        tokens: A token stream.
        first_context: The token before the first one, usually end-of-text.
        context_length: Length of the windows; None means all that the model can take.
        stride: Tokens by which windows advance; None means the context length, no overlap.
        batch_size: Windows a pass.
        dtype: Type of the matrix products.

    Raises:
        ValueError: No tokens, windows longer than the model can take, or a stride that is not in
            1..context length.
    """
    longest = model.config.context_length
    context = longest if context_length is None else context_length
    if not 1 <= context <= longest:
        raise ValueError(f"context_length={context} is not in 1..{longest}, what the model takes")
    stride = context if stride is None else stride
    if len(tokens) == 0 or not 1 <= stride <= context:
        raise ValueError(f"got {len(tokens)} tokens and stride={stride}, context={context}")
    num_windows = 1 + max(0, -(-(len(tokens) - context) // stride))
    device = model.output_weight.device
    total_nats = 0.0
    for first in range(0, num_windows, batch_size):
        starts = np.arange(first, min(first + batch_size, num_windows)) * stride
        inputs, targets = _cut_windows(tokens, starts, first_context, context, stride)
        part = torch.from_numpy(targets).to(device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            mean = model.loss(torch.from_numpy(inputs).to(device), part)
        total_nats += mean.item() * int((part != IGNORED_TARGET).sum())
    return HeldOutLoss(total_nats=total_nats, num_tokens=len(tokens))


def _cut_windows(
    tokens: NDArray[np.integer],
    starts: NDArray[np.int64],
    first_context: int,
    context: int,
    stride: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return inputs and targets, (windows, context) each; targets covered before are ignored.

    The window at ``start`` predicts the tokens from there on, each from the one before it.
    """
    positions = starts[:, None] + np.arange(context)
    is_inside = positions < len(tokens)
    clipped = np.where(is_inside, positions, 0)
    is_new = (np.arange(context) >= context - stride) | (starts[:, None] == 0)
    targets = np.where(is_inside & is_new, tokens[clipped].astype(np.int64), IGNORED_TARGET)
    inputs = tokens[np.maximum(clipped - 1, 0)].astype(np.int64)
    inputs[clipped == 0] = first_context
    return inputs, targets

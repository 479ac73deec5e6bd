"""Keys and values of the tokens seen so far, for one text, appended as it grows.

A new token is compared with what is kept here, so that it costs one pass over one token instead of
one over the whole text. Positions count from the first token kept; a text that outgrows the model's
context has to be computed anew, for its tokens then stand at other positions.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_basics.transformer import TransformerLM


@dataclass(kw_only=True, slots=True)
class AppendedLayer:
    """One layer's keys and values, as ``lm_basics.nn.attention.LayerCache`` wants it."""

    keys: Float[Tensor, "1 kv_heads keys d_head"] | None = None
    """Rotated keys; None before the first token."""
    values: Float[Tensor, "1 kv_heads keys d_head"] | None = None
    """Values; None before the first token."""

    def update(
        self,
        k: Float[Tensor, "1 kv_heads seq d_head"],
        v: Float[Tensor, "1 kv_heads seq d_head"],
        positions: Int[Tensor, "1 seq"],
    ) -> tuple[Float[Tensor, "1 kv_heads keys d_head"], Float[Tensor, "1 kv_heads keys d_head"]]:
        """Append ``k`` and ``v``, which stand at the next positions, and return all there are."""
        self.keys = k if self.keys is None else torch.cat((self.keys, k), dim=2)
        self.values = v if self.values is None else torch.cat((self.values, v), dim=2)
        return self.keys, self.values


@dataclass(kw_only=True, slots=True)
class CachedText:
    """One text as a model has seen it."""

    model: TransformerLM
    """Predicts its tokens."""
    num_tokens: int = 0
    """Tokens appended so far."""
    layers: list[AppendedLayer] = field(init=False)
    """What is kept of them."""

    def __post_init__(self) -> None:
        self.layers = [AppendedLayer() for _ in range(self.model.config.num_layers)]

    def append(self, tokens: Int[Tensor, " seq"]) -> Float[Tensor, " vocab"]:
        """Let the text go on by ``tokens`` and return the logits of the token behind them.

        Raises:
            ValueError: The text would be longer than the model's context.
        """
        end, context_length = self.num_tokens + len(tokens), self.model.config.context_length
        if end > context_length:
            raise ValueError(f"{end} tokens in a text, but context_length is {context_length}")
        positions = torch.arange(self.num_tokens, end, device=tokens.device)[None]
        hidden = self.model.hidden(tokens[None], positions=positions, cache=self.layers)
        self.num_tokens = end
        # The head is the largest matrix of a small model: only the last token needs it.
        return self.model.output_weight @ hidden[0, -1]

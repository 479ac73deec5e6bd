"""Position-wise layers: gated, ungated, and many of them of which each token takes a few.

The router of a mixture of experts scores them, ``p = softmax(W_r x)``; the ``num_active`` best ones
are weighted by their scores, scaled to sum to one, and their outputs add up (Shazeer et al., 2017;
Jiang et al., 2024). Left alone, a router prefers few experts. The load-balancing loss of Fedus et
al. (2022, Eq. 4), here for several active experts, is smallest, namely 1, when all are used alike::

    num_experts * sum_e  (share of the assignments to e) * (mean of p_e)
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_basics.model_config import Activation, MixtureOfExpertsConfig, SwiGLUConfig
from lm_basics.nn.layers import Linear
from lm_basics.nn.ops import REFERENCE_OPS, Ops, gelu, relu_squared, silu, softmax

ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "silu": silu,
    "gelu": gelu,
    "relu_squared": relu_squared,
}


class SwiGLU(nn.Module):
    """Return ``W2 (silu(W1 x) * W3 x)`` (Shazeer, 2020)."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        ops: Ops = REFERENCE_OPS,
    ) -> None:
        super().__init__()
        self.ops = ops
        self.w1 = Linear(d_model, d_ff, device, dtype)
        self.w2 = Linear(d_ff, d_model, device, dtype)
        self.w3 = Linear(d_model, d_ff, device, dtype)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Apply the layer to every position alike."""
        return self.w2(self.ops.swiglu(self.w1(x), self.w3(x)))


class MLP(nn.Module):
    """Return ``W2 activation(W1 x)``."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        activation: Activation = "silu",
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.w1 = Linear(d_model, d_ff, device, dtype)
        self.w2 = Linear(d_ff, d_model, device, dtype)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Apply the layer to every position alike."""
        return self.w2(self.activation(self.w1(x)))


class MixtureOfExperts(nn.Module):
    """Route every token to its experts; no token is dropped."""

    def __init__(
        self,
        d_model: int,
        config: MixtureOfExpertsConfig,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        ops: Ops = REFERENCE_OPS,
    ) -> None:
        super().__init__()
        self.num_active = config.num_active
        self.balance_weight = config.balance_weight
        self.router = Linear(d_model, config.num_experts, device, dtype)
        expert = config.expert
        self.experts = nn.ModuleList(
            SwiGLU(d_model, expert.d_ff, device, dtype, ops=ops)
            if isinstance(expert, SwiGLUConfig)
            else MLP(d_model, expert.d_ff, expert.activation, device, dtype)
            for _ in range(config.num_experts)
        )

    def forward(
        self, x: Float[Tensor, "*batch d_model"], objectives: list[Tensor] | None = None
    ) -> Float[Tensor, "*batch d_model"]:
        """Mix the experts' outputs.

        Args:
            x: Residual stream, normalized.
            objectives: The weighted load-balancing loss is appended here.
        """
        tokens = x.reshape(-1, x.shape[-1])
        probabilities = softmax(self.router(tokens).float(), dim=-1)
        scores, chosen = probabilities.topk(self.num_active, dim=-1)
        weights = (scores / scores.sum(-1, keepdim=True)).to(x.dtype)
        if objectives is not None:
            objectives.append(self.balance_weight * balance_loss(probabilities, chosen))
        mixed = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            rows, places = torch.where(chosen == number)
            outputs = expert(tokens[rows]) * weights[rows, places, None]
            mixed = mixed.index_add(0, rows, outputs.to(mixed.dtype))
        return mixed.view_as(x)


def balance_loss(
    probabilities: Float[Tensor, "tokens experts"], chosen: Int[Tensor, "tokens active"]
) -> Float[Tensor, ""]:
    """Return the load-balancing loss: 1 for even use, ``num_experts`` for one expert alone."""
    num_experts = probabilities.shape[-1]
    share = torch.bincount(chosen.flatten(), minlength=num_experts) / chosen.numel()
    return num_experts * (share * probabilities.mean(0)).sum()

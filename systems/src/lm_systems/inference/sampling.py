"""Draw tokens from logits: temperature, top-k, top-p, inverse transform."""

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from lm_systems.inference.protocol import SamplingConfig


def sample_tokens(
    logits: Float[Tensor, "batch vocab"],
    uniforms: Float64[Tensor, " batch"],
    sampling: SamplingConfig,
) -> tuple[Int[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Draw one token per row.

    Returns:
        Tokens, and their log-probabilities in float32 under ``softmax(logits)``: neither the
        temperature nor the truncation shows in them.

    Raises:
        FloatingPointError: a row holds a NaN or infinity, or nothing but minus infinity.
    """
    logits = logits.float()
    # The largest of a row is NaN where any is; minus infinity may forbid tokens, but not all.
    if not torch.isfinite(logits.amax(-1)).all():
        raise FloatingPointError("the model's logits are not finite: are its weights?")
    if sampling.temperature == 0:
        tokens = logits.argmax(-1)
    else:
        tokens = _invert(sampling_distribution(logits, sampling), uniforms)
    log_probs = logits.gather(-1, tokens[:, None]).squeeze(-1) - logits.logsumexp(-1)
    return tokens, log_probs


def sampling_distribution(
    logits: Float[Tensor, "batch vocab"], sampling: SamplingConfig
) -> Float[Tensor, "batch vocab"]:
    """Return the probabilities that tokens are drawn with, for a positive temperature."""
    # The largest logit is moved to 0 first: divided by a small temperature it would overflow.
    scaled = (logits - logits.amax(-1, keepdim=True)) / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        scaled = _keep_top_k(scaled, sampling.top_k)
    probabilities = torch.softmax(scaled, dim=-1)
    if sampling.top_p < 1:
        probabilities = _keep_top_p(probabilities, sampling.top_p)
    return probabilities


def _keep_top_k(logits: Float[Tensor, "batch vocab"], top_k: int) -> Float[Tensor, "batch vocab"]:
    """Set all but the ``top_k`` largest logits to minus infinity."""
    values, index = logits.topk(top_k, dim=-1)
    return torch.full_like(logits, float("-inf")).scatter_(-1, index, values)


def _keep_top_p(
    probabilities: Float[Tensor, "batch vocab"], top_p: float
) -> Float[Tensor, "batch vocab"]:
    """Keep the smallest set of tokens that holds ``top_p`` (Eq. 2 of Holtzman et al., 2020)."""
    ordered, index = probabilities.sort(dim=-1, descending=True, stable=True)
    # A token is needed while those before it fall short of top_p; the first always is.
    before = ordered.double().cumsum(-1) - ordered
    kept = torch.where(before < top_p, ordered, 0.0)
    kept = torch.zeros_like(probabilities).scatter_(-1, index, kept)
    return kept / kept.sum(-1, keepdim=True)


def _invert(
    probabilities: Float[Tensor, "batch vocab"], uniforms: Float64[Tensor, " batch"]
) -> Int[Tensor, " batch"]:
    """Return the first token whose cumulative probability exceeds the uniform number.

    One number per row decides, so two engines whose logits differ in the last digits still draw
    the same token almost always.
    """
    # In float64: over a large vocabulary float32 sums lose the rare tokens.
    cumulative = probabilities.double().cumsum(-1)
    thresholds = uniforms[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, thresholds, right=True).squeeze(-1)

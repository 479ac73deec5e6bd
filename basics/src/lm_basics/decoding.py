"""Drawing tokens: the distribution, the number that decides a draw, and plain generation.

Token ``step`` of a completion is decided by one number that is computed from (seed, prompt, repeat
of the prompt, step) alone. A prompt therefore gets the same completion alone or in a batch, in any
order and from any generator: ``generate``, which runs the whole text again for every token, is the
plain version that streams and engines must equal.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from numpy.typing import NDArray
from torch import Tensor

from lm_basics.sampling_config import SamplingConfig
from lm_basics.transformer import TransformerLM

# SplitMix64 (Steele, Lea & Flood, 2014, Fig. 14): increment and the two multipliers.
_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
# Fewer than float64's 53 bits, so that u * total < total however the product is rounded.
_BITS = 48


@torch.no_grad()
def generate(
    model: TransformerLM, prompt: Sequence[int], sampling: SamplingConfig, *, occurrence: int = 0
) -> list[int]:
    """Continue ``prompt`` and return the new tokens, the stop token not included.

    Beyond the context length only the last ``context_length`` tokens are seen. There is no text
    here, so ``stop_strings`` play no part: see ``lm_basics.text_generation``.

    Args:
        model: Predicts the tokens.
        prompt: Tokens to go on from.
        sampling: How tokens are drawn, and which of them end it.
        occurrence: Tells several completions of one prompt apart.

    Raises:
        ValueError: An empty prompt, or a token outside of the vocabulary.
    """
    check_prompt(model, prompt)
    tokens, key = list(prompt), stream_key(sampling.seed, occurrence, prompt)
    device = model.output_weight.device
    for step in range(sampling.max_new_tokens):
        window = torch.tensor([tokens[-model.config.context_length :]], device=device)
        drawn, _ = draw_tokens(model(window)[:, -1], [key], [step], sampling)
        token = int(drawn)
        if token in sampling.stop_token_ids:
            break
        tokens.append(token)
    return tokens[len(prompt) :]


def check_prompt(model: TransformerLM, prompt: Sequence[int]) -> None:
    """Raise ``ValueError`` unless ``model`` can go on from ``prompt``."""
    if not prompt:
        raise ValueError("the prompt must hold at least one token, got none")
    vocab_size = model.config.vocab_size
    if not (min(prompt) >= 0 and max(prompt) < vocab_size):
        raise ValueError(
            f"the prompt holds the ids {min(prompt)} to {max(prompt)}, but the model has "
            f"{vocab_size} tokens: is it another tokenizer's?"
        )


def draw_tokens(
    logits: Float[Tensor, "batch vocab"],
    keys: Sequence[int],
    steps: Sequence[int],
    sampling: SamplingConfig,
) -> tuple[Int[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Draw token ``steps[i]`` of the stream ``keys[i]`` from row ``i``; see ``sample_tokens``."""
    if logits.device.type == "mps":
        # Apple's GPUs have no float64, in which the probabilities are added up.
        logits = logits.cpu()
    uniforms = torch.from_numpy(uniform_numbers(keys, steps)).to(logits.device)
    return sample_tokens(logits, uniforms, sampling)


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
    if _is_greedy(sampling):
        tokens = logits.argmax(-1)
    else:
        tokens = _invert(sampling_distribution(logits, sampling), uniforms)
    log_probs = logits.gather(-1, tokens[:, None]).squeeze(-1) - logits.logsumexp(-1)
    return tokens, log_probs


def sampling_distribution(
    logits: Float[Tensor, "batch vocab"], sampling: SamplingConfig
) -> Float[Tensor, "batch vocab"]:
    """Return the probabilities that tokens are drawn with.

    ``top_k`` keeps exactly that many tokens, where Hugging Face's keeps all that equal the last of
    them. ``top_p`` keeps the smallest set of the tokens left whose share of their mass reaches it.
    Of equals the first ones stay, in both.
    """
    logits = logits.float()
    if _is_greedy(sampling):
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    # The largest logit is moved to 0 first: divided by a small temperature it would overflow.
    scaled = (logits - logits.amax(-1, keepdim=True)) / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        scaled = _keep_top_k(scaled, sampling.top_k)
    probabilities = torch.softmax(scaled, dim=-1)
    if sampling.top_p < 1:
        probabilities = _keep_top_p(probabilities, sampling.top_p)
    return probabilities


def stream_key(seed: int, occurrence: int, prompt: Sequence[int]) -> int:
    """Return 64 bits that name the random stream of one completion."""
    words = np.asarray([seed, occurrence, *prompt], dtype="<i8")
    return int.from_bytes(hashlib.blake2b(words.tobytes(), digest_size=8).digest(), "little")


def uniform_numbers(keys: Sequence[int], steps: Sequence[int]) -> NDArray[np.float64]:
    """Return for each (key, step) a number that is uniform in [0, 1)."""
    # Arrays of uint64 wrap around silently, as the generator wants.
    z = np.array(keys, dtype=np.uint64)
    z += (np.array(steps, dtype=np.uint64) + np.uint64(1)) * _INCREMENT
    z = (z ^ (z >> np.uint64(30))) * _MULTIPLIERS[0]
    z = (z ^ (z >> np.uint64(27))) * _MULTIPLIERS[1]
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(64 - _BITS)).astype(np.float64) * 2.0**-_BITS


def _is_greedy(sampling: SamplingConfig) -> bool:
    # So small a divisor would make 0 / 0 of the largest in float32.
    return sampling.temperature < torch.finfo(torch.float32).tiny


def _keep_top_k(logits: Float[Tensor, "batch vocab"], top_k: int) -> Float[Tensor, "batch vocab"]:
    """Set all but the ``top_k`` largest logits to minus infinity (Fan et al., 2018)."""
    smallest = logits.topk(top_k, dim=-1).values[:, -1:]
    # What is no number is not to be hidden.
    is_above, is_equal = (logits > smallest) | logits.isnan(), logits == smallest
    # Which of equals topk takes depends on the device and on the size of the batch.
    room = top_k - is_above.sum(-1, keepdim=True)
    is_kept = is_above | (is_equal & (is_equal.cumsum(-1) <= room))
    return logits.masked_fill(~is_kept, float("-inf"))


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

    One number per row decides, so two generators whose logits differ in the last digits still draw
    the same token almost always.
    """
    # In float64: over a large vocabulary float32 sums lose the rare tokens.
    cumulative = probabilities.double().cumsum(-1)
    # The sum may stay below 1: a number beyond it would name a token beyond the vocabulary.
    thresholds = uniforms[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, thresholds, right=True).squeeze(-1)

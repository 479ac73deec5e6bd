"""Plain, slow, obviously right versions of what the unit computes."""

import math
from collections.abc import Sequence

import torch

from lm_basics.sampling_config import SamplingConfig
from lm_basics.tokenizer import Tokenizer
from lm_basics.transformer import TransformerLM
from lm_systems.inference.protocol import Completion


class PlainGenerator:
    """Samples without a cache: every new token costs a pass over all tokens before it."""

    def __init__(self, model: TransformerLM, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[str | Sequence[int]], sampling: SamplingConfig
    ) -> list[Completion]:
        random = torch.Generator().manual_seed(sampling.seed)
        encoded = [
            self.tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
            for prompt in prompts
        ]
        completions: dict[int, Completion] = {}
        for length in sorted({len(ids) for ids in encoded}):
            rows = [row for row, ids in enumerate(encoded) if len(ids) == length]
            drawn = self._generate_equal([encoded[row] for row in rows], sampling, random)
            completions |= dict(zip(rows, drawn, strict=True))
        return [completions[row] for row in range(len(encoded))]

    def _generate_equal(
        self, prompts: list[list[int]], sampling: SamplingConfig, random: torch.Generator
    ) -> list[Completion]:
        tokens = torch.tensor(prompts)
        responses: list[list[int]] = [[] for _ in prompts]
        log_probs: list[list[float]] = [[] for _ in prompts]
        done = [False] * len(prompts)
        for _ in range(sampling.max_new_tokens):
            logits = self.model.hidden(tokens)[:, -1] @ self.model.output_weight.T
            log_distribution = torch.log_softmax(logits, dim=-1)
            if sampling.temperature == 0:
                chosen = logits.argmax(-1)
            else:
                probabilities = torch.softmax(logits / sampling.temperature, dim=-1)
                chosen = torch.multinomial(probabilities, 1, generator=random).squeeze(-1)
            for row, token in enumerate(chosen.tolist()):
                if not done[row]:
                    responses[row].append(token)
                    log_probs[row].append(log_distribution[row, token].item())
                    done[row] = token in sampling.stop_token_ids
            if all(done):
                break
            tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        return [
            Completion(
                prompt_ids=prompt,
                token_ids=response,
                log_probs=scores,
                text=self.tokenizer.decode(response[:-1] if is_done else response),
                finish_reason="stop" if is_done else "length",
            )
            for prompt, response, scores, is_done in zip(
                prompts, responses, log_probs, done, strict=True
            )
        ]


def normalize_group(
    rewards: list[float], baseline: str, normalizer: str, eps: float
) -> list[float]:
    """Advantages of one group, by hand."""
    mean = sum(rewards) / len(rewards)
    centered = [reward - mean if baseline == "mean" else reward for reward in rewards]
    if normalizer == "none":
        return centered
    if normalizer == "mean":
        return [value / (mean + eps) for value in centered]
    variance = sum((reward - mean) ** 2 for reward in rewards) / (len(rewards) - 1)
    return [value / (math.sqrt(variance) + eps) for value in centered]


def token_loss(
    kind: str, advantage: float, log_prob: float, old: float, clip_range: float
) -> float:
    """Loss of one token, by the formulas of the papers."""
    ratio = math.exp(log_prob - old)
    if kind == "none":
        return -advantage * log_prob
    if kind == "noclip":
        return -advantage * ratio
    clipped = min(max(ratio, 1 - clip_range), 1 + clip_range)
    return -min(advantage * ratio, advantage * clipped)


def sequence_losses(
    advantage: float, log_probs: list[float], old: list[float], mask: list[bool], clip_range: float
) -> list[float]:
    """GSPO's loss, the same for all positions of one response."""
    differences = [
        new - before for new, before, used in zip(log_probs, old, mask, strict=True) if used
    ]
    mean = sum(differences) / len(differences)
    loss = token_loss("grpo", advantage, mean, 0.0, clip_range)
    return [loss] * len(mask)


def sequence_mean(losses: list[list[float]], masks: list[list[bool]]) -> float:
    """Mean over each response's tokens, then over responses."""
    means = []
    for row, mask in zip(losses, masks, strict=True):
        used = [loss for loss, is_used in zip(row, mask, strict=True) if is_used]
        means.append(sum(used) / len(used))
    return sum(means) / len(means)

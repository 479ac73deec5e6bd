"""Samples while a model trains: what it makes of a few prompts, kept in ``samples.jsonl``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lm_basics.generation import generate
from lm_basics.tokenizer.text_tokenizer import TextTokenizer
from lm_basics.transformer import TransformerLM
from lm_shared.metrics import MetricsWriter

SAMPLES_NAME = "samples.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """What is sampled."""

    prompts: tuple[str, ...]
    """Texts to continue."""
    max_new_tokens: int = 40
    """Most tokens of a continuation."""
    temperature: float = 0.8
    """0 always takes the most likely token."""
    seed: int = 0
    """Decides the samples, together with the step."""

    def __post_init__(self) -> None:
        if not self.prompts or not all(self.prompts):
            raise ValueError(f"expected prompts that are not empty, got {list(self.prompts)}")
        if self.max_new_tokens <= 0:
            raise ValueError(f"max_new_tokens must be positive, got {self.max_new_tokens}")
        if self.temperature < 0:
            raise ValueError(f"temperature must not be negative, got {self.temperature}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One continuation."""

    step: int
    """Steps that the model had learned for."""
    prompt: str
    """What it was given."""
    continuation: str
    """What it made of it."""


class SampleWriter:
    """Continues the prompts and appends the results to a run folder's ``samples.jsonl``.

    It draws with a generator of its own: a run with samples has the bits of one without. The file
    is touched by the first sample; what an interrupted run wrote at later steps goes away then.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: TextTokenizer,
        config: SamplingConfig,
        *,
        stop_token: int | None = None,
    ) -> None:
        self.path = folder / SAMPLES_NAME
        self.tokenizer, self.config, self.stop_token = tokenizer, config, stop_token
        self._is_first = True

    def write(self, model: TransformerLM, step: int) -> list[Sample]:
        """Sample from ``model`` as it is after ``step`` steps."""
        samples = [self._sample(model, step, prompt) for prompt in self.config.prompts]
        with MetricsWriter(self.path) as writer:
            if self._is_first:
                writer.truncate_after(step - 1)
            for one in samples:
                writer.write(step=step, prompt=one.prompt, continuation=one.continuation)
        self._is_first = False
        return samples

    def _sample(self, model: TransformerLM, step: int, prompt: str) -> Sample:
        device = model.output_weight.device
        generator = torch.Generator(device=device).manual_seed(self.config.seed + step)
        ids = generate(
            model,
            self.tokenizer.encode(prompt),
            max_new_tokens=self.config.max_new_tokens,
            temperature=self.config.temperature,
            stop_token=self.stop_token,
            generator=generator,
        )
        return Sample(step=step, prompt=prompt, continuation=self.tokenizer.decode(ids))


def last_samples(lines: Sequence[dict[str, Any]]) -> list[Sample]:
    """Return the samples of the last step among the lines of a ``samples.jsonl``."""
    last_step = lines[-1]["step"] if lines else None
    return [
        Sample(step=one["step"], prompt=str(one["prompt"]), continuation=str(one["continuation"]))
        for one in lines
        if one["step"] == last_step and {"prompt", "continuation"} <= one.keys()
    ]

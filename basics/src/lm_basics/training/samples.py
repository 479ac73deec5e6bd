"""Samples while a model trains: what it makes of a few prompts, kept in ``samples.jsonl``."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_basics.decoding import generate
from lm_basics.sampling_config import SamplingConfig
from lm_basics.tokenizer.simple import TextTokenizer
from lm_basics.transformer import TransformerLM
from lm_shared.config import from_dict, to_dict
from lm_shared.files import read_json_lines, write_text

SAMPLES_NAME = "samples.jsonl"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplesConfig:
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

    It draws with a generator of its own: a run with samples has the bits of one without. What an
    interrupted run wrote at later steps goes away when the resumed one writes.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: TextTokenizer,
        config: SamplesConfig,
        *,
        stop_token: int | None = None,
        is_writer: bool = True,
    ) -> None:
        self.is_writer = is_writer
        """Whether this process keeps the samples, and not another one of the same run."""
        self.path = folder / SAMPLES_NAME
        self.tokenizer, self.config, self.stop_token = tokenizer, config, stop_token

    def write(self, model: TransformerLM, step: int) -> list[Sample]:
        """Sample from ``model`` as it is after ``step`` steps."""
        samples = [self._sample(model, step, prompt) for prompt in self.config.prompts]
        if not self.is_writer:
            return samples
        earlier, num_damaged = read_samples(self.path) if self.path.exists() else ([], 0)
        if num_damaged:
            logger.warning("%d damaged lines of %s are left out", num_damaged, self.path)
        kept = [one for one in earlier if one.step < step]
        lines = [json.dumps(to_dict(one)) + "\n" for one in (*kept, *samples)]
        write_text(self.path, "".join(lines))
        return samples

    def _sample(self, model: TransformerLM, step: int, prompt: str) -> Sample:
        sampling = SamplingConfig(
            max_new_tokens=self.config.max_new_tokens,
            temperature=self.config.temperature,
            stop_token_ids=() if self.stop_token is None else (self.stop_token,),
            seed=self.config.seed + step,
        )
        ids = generate(model, self.tokenizer.encode(prompt), sampling)
        return Sample(step=step, prompt=prompt, continuation=self.tokenizer.decode(ids))


def read_samples(path: Path) -> tuple[list[Sample], int]:
    """Return the samples of a ``samples.jsonl``, and how many of its lines are damaged."""
    records = [record for _, record in read_json_lines(path)]
    samples = [one for record in records if (one := _parse(record)) is not None]
    return samples, len(records) - len(samples)


def last_samples(samples: Sequence[Sample]) -> list[Sample]:
    """Return those of the last step."""
    return [one for one in samples if one.step == samples[-1].step]


def _parse(record: dict[str, Any] | None) -> Sample | None:
    if record is None:
        return None
    try:
        return from_dict(Sample, record)
    except ValueError:
        return None

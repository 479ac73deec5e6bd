"""What ``basics generate`` and ``systems generate`` have in common: options, prompts, answers."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_basics.model_folder import find_text_model
from lm_basics.sampling_config import SamplingConfig
from lm_shared.command_options import PATH, Each
from lm_shared.config import DeviceName

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationOptions:
    """How texts are continued, in the words of the command line."""

    model: Path
    """folder of a model, also in the Hugging Face layout, or of a training run."""
    tokenizer: Annotated[Path | None, PATH] = None
    """folder with a tokenizer.json, for a model that was saved without."""
    max_new_tokens: int = 100
    """most tokens to add."""
    temperature: float = 0.8
    """0 always takes the most likely token."""
    top_k: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: all)")
    ] = None
    """number of most likely tokens to sample from."""
    top_p: float = 0.95
    """share of the probability to sample from, of the tokens that top-k leaves."""
    stop: Annotated[
        tuple[str, ...],
        Each,
        tyro.conf.arg(metavar="STR", help_behavior_hint="(default: none, repeatable)"),
    ] = ()
    """string that ends a text, beside the model's own end; it is left out."""
    seed: int = 0
    """decides the samples: the same in both commands."""
    device: DeviceName = "auto"
    """where to compute; auto takes a GPU if there is one."""
    num_samples: int = 1
    """continuations of each prompt."""
    chat: Flag = False
    """put the prompt as a question, by the model's own chat template, and show the answer alone."""
    json: Flag = False
    """write one line of JSON for each text."""

    def check(self) -> None:
        """Refuse an option out of range or a wrong path, before anything heavy is imported."""
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}")
        self.sampling(())
        find_text_model(self.model, self.tokenizer)

    def sampling(self, stop_token_ids: tuple[int, ...]) -> SamplingConfig:
        """Return how tokens are drawn; see ``check``."""
        return SamplingConfig(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            stop_strings=self.stop,
            stop_token_ids=stop_token_ids,
            seed=self.seed,
        )


def read_prompt(argument: str) -> str:
    """Return the argument, or for ``-`` what is piped in, without its last line break."""
    return sys.stdin.read().removesuffix("\n") if argument == "-" else argument


def print_heading(number: int, total: int) -> None:
    """Tell which of several texts follows."""
    if total > 1:
        print(f"--- {number} of {total} ---", flush=True)


def print_json(prompt: str, sample: int, text: str) -> None:
    """Print one text as a line of JSON; ``sample`` counts from 1."""
    line = {"prompt": prompt, "sample": sample, "text": text}
    print(json.dumps(line, ensure_ascii=False), flush=True)

"""``basics generate``: continue a text with an exported model, one token at a time."""

from pathlib import Path
from typing import Annotated

import torch
import tyro

from lm_basics.commands.tokenizer_folder import find_folder
from lm_basics.export import load_model
from lm_basics.generation import generate
from lm_basics.tokenizer import END_OF_TEXT, Tokenizer
from lm_basics.tokenizer.tokenizer_json import TOKENIZER_FILE, read_end_of_text
from lm_shared.tensors import choose_device


def generate_text(
    prompt: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="PROMPT", help_behavior_hint="(required)"),
    ],
    /,
    *,
    model: Path,
    tokenizer: Annotated[
        Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: the model's own)")
    ] = None,
    max_new_tokens: int = 100,
    temperature: float = 0.8,
    top_p: float = 0.95,
    seed: int = 0,
) -> None:
    """Print a continuation of the prompt.

    Args:
        prompt: The beginning, in quotes if it has spaces.
        model: Folder in the Hugging Face layout.
        tokenizer: Folder with a tokenizer.json, for a model that was saved without.
        max_new_tokens: Most tokens to add.
        temperature: 0 always takes the most likely token.
        top_p: Share of the probability to sample from.
        seed: Decides the samples.
    """
    if len(prompt) != 1:
        raise ValueError(f"expected one prompt, got {len(prompt)} words: put it in quotes")
    folder = find_folder(tokenizer or model)
    if tokenizer is None and model.is_dir() and not (folder / TOKENIZER_FILE).is_file():
        raise FileNotFoundError(f"{model} holds no {TOKENIZER_FILE}: give a folder by --tokenizer")
    encoder = Tokenizer.from_folder(folder)
    device = choose_device()
    ids = generate(
        load_model(model).to(device),
        encoder.encode(prompt[0]),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        stop_token=encoder.special_token_ids.get(read_end_of_text(folder) or END_OF_TEXT),
        generator=torch.Generator(device=device).manual_seed(seed),
    )
    print(prompt[0] + encoder.decode(ids))

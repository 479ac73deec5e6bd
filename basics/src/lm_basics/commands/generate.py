"""``basics generate``: continue a text with an exported model, one token at a time."""

from pathlib import Path
from typing import Annotated

import torch
import tyro

from lm_basics.export import load_model
from lm_basics.generation import generate
from lm_basics.tokenizer import END_OF_TEXT, Tokenizer
from lm_shared.tensors import choose_device


def generate_text(
    prompt: Annotated[str, tyro.conf.Positional],
    /,
    *,
    model: Path,
    tokenizer: Path | None = None,
    max_new_tokens: int = 100,
    temperature: float = 0.8,
    top_p: float = 0.95,
    seed: int = 0,
) -> None:
    """Print a continuation of the prompt.

    Args:
        prompt: The beginning.
        model: Folder in the Hugging Face layout.
        tokenizer: Folder with a tokenizer.json; the model's own when left out.
        max_new_tokens: Most tokens to add.
        temperature: 0 always takes the most likely token.
        top_p: Share of the probability to sample from.
        seed: Decides the samples.
    """
    encoder = Tokenizer.from_folder(tokenizer or model)
    device = choose_device()
    ids = generate(
        load_model(model).to(device),
        encoder.encode(prompt),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        stop_token=encoder.special_token_ids.get(END_OF_TEXT),
        generator=torch.Generator(device=device).manual_seed(seed),
    )
    print(prompt + encoder.decode(ids))

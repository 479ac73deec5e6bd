"""``basics generate``: continue texts with an exported model, as they come."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from lm_basics.commands.dialogue import answer_lines
from lm_basics.commands.tokenizer_folder import find_folder
from lm_basics.export import find_model_folder, load_model
from lm_basics.sampling_config import SamplingConfig
from lm_basics.text_generation import stream_text
from lm_basics.tokenizer import END_OF_TEXT, Tokenizer
from lm_basics.tokenizer.tokenizer_json import TOKENIZER_FILE, read_end_of_text
from lm_shared.tensors import choose_device


def generate_text(
    prompt: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[PROMPT]", help_behavior_hint=""),
    ] = (),
    /,
    *,
    model: Path,
    tokenizer: Annotated[
        Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: the model's own)")
    ] = None,
    max_new_tokens: int = 100,
    temperature: float = 0.8,
    top_k: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: all)")
    ] = None,
    top_p: float = 0.95,
    stop: Annotated[
        tuple[str, ...],
        tyro.conf.arg(metavar="[STR ...]", help_behavior_hint="(default: none)"),
    ] = (),
    seed: int = 0,
    num_samples: int = 1,
    interactive: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    keep_history: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Print continuations of the prompt; the end-of-text token always ends one.

    Args:
        prompt: the beginning, in quotes if it has spaces; "" begins a new document.
        model: folder of a model, also in the Hugging Face layout, or of a training run.
        tokenizer: folder with a tokenizer.json, for a model that was saved without.
        max_new_tokens: most tokens to add.
        temperature: 0 always takes the most likely token.
        top_k: number of most likely tokens to sample from.
        top_p: share of the probability to sample from, of the tokens that top-k leaves.
        stop: strings that end the text and are left out.
        seed: decides the samples.
        num_samples: continuations of the prompt.
        interactive: read one line after another and continue each, until Ctrl-D.
        keep_history: continue all that was said before, not the last line alone.
    """
    _check_prompts(prompt, num_samples, interactive=interactive, keep_history=keep_history)
    sampling = SamplingConfig(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop_strings=stop,
        seed=seed,
    )
    write = _load_writer(model, tokenizer, sampling)
    if interactive:
        answer_lines(lambda text: write(text, 0), keeps_history=keep_history)
        return
    for sample in range(1, num_samples + 1):
        if num_samples > 1:
            print(f"--- {sample} of {num_samples} ---")
        print(prompt[0], end="", flush=True)
        write(prompt[0], sample - 1)


def _check_prompts(
    prompt: tuple[str, ...], num_samples: int, *, interactive: bool, keep_history: bool
) -> None:
    """Raise ``ValueError`` unless these options go together."""
    if interactive and (prompt or num_samples != 1):
        raise ValueError("--interactive reads the prompts: give none, and no --num-samples")
    if keep_history and not interactive:
        raise ValueError("--keep-history is for --interactive")
    if not interactive and len(prompt) != 1:
        got = f"{len(prompt)} words: put it" if prompt else "none: give one"
        raise ValueError(f"expected one prompt, got {got} in quotes, or lines by --interactive")
    if num_samples < 1:
        raise ValueError(f"--num-samples must be at least 1, got {num_samples}")


def _load_writer(
    model: Path, tokenizer: Path | None, sampling: SamplingConfig
) -> Callable[[str, int], str]:
    """Return a function that prints the n-th continuation of a text, and a newline."""
    if not model.is_dir():
        raise FileNotFoundError(f"there is no folder {model} with a model")
    model = find_model_folder(model)
    folder = find_folder(tokenizer or model)
    if tokenizer is None and not (folder / TOKENIZER_FILE).is_file():
        raise FileNotFoundError(f"{model} holds no {TOKENIZER_FILE}: give a folder by --tokenizer")
    encoder = Tokenizer.from_folder(folder)
    end = encoder.special_token_ids.get(read_end_of_text(folder) or END_OF_TEXT)
    stop_tokens = () if end is None else (end,)
    device = choose_device()
    language_model = load_model(model).to(device)
    if encoder.vocab_size < language_model.config.vocab_size:
        raise ValueError(
            f"the tokenizer in {folder} has {encoder.vocab_size:,} tokens, the model "
            f"{language_model.config.vocab_size:,}: they do not belong together"
        )
    sampling = replace(sampling, stop_token_ids=stop_tokens)

    def write(text: str, occurrence: int) -> str:
        written = ""
        ids = encoder.encode(text) or list(stop_tokens)
        for piece in stream_text(language_model, encoder, ids, sampling, occurrence=occurrence):
            print(piece, end="", flush=True)
            written += piece
        print()
        return written

    return write

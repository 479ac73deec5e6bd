"""``systems generate``: continue texts with the inference engine, all at once."""

import logging
import time
from typing import TYPE_CHECKING, Annotated

import tyro

from lm_basics.commands.generation_options import (
    GenerationOptions,
    print_heading,
    print_json,
    read_prompt,
)
from lm_shared.command_options import Least

if TYPE_CHECKING:
    from lm_systems.inference.protocol import Completion

logger = logging.getLogger(__name__)


def generate_text(
    prompts: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[PROMPT ...]", help_behavior_hint=""),
    ] = (),
    /,
    *,
    options: Annotated[GenerationOptions, tyro.conf.arg(name="")],
    batch_size: Annotated[int, Least(1)] = 64,
) -> None:
    """Continue texts with a model, many at once; the model's own end always ends one.

    A text ends where the model's context is full; `basics generate` goes on with its last part.

    Args:
        prompts: the beginnings, each in quotes; "" begins a document, - reads a pipe.
        options: how they are continued.
        batch_size: most texts that run together.
    """
    if not prompts:
        raise ValueError("expected at least one prompt, got none")
    options.check()
    from lm_basics.export import load_text_model
    from lm_shared.tensors import choose_device
    from lm_systems.inference.engine import Engine
    from lm_systems.kernels.ops import get_ops

    device = choose_device(options.device)
    loaded = load_text_model(options.model, tokenizer=options.tokenizer, ops=get_ops("fused"))
    engine = Engine(loaded.model.to(device), loaded.tokenizer, max_batch_size=batch_size)
    texts = [text for prompt in prompts for text in [read_prompt(prompt)] * options.num_samples]
    ids = [
        loaded.encode_chat([{"role": "user", "content": text}])
        if options.chat
        else loaded.encode_prompt(text)
        for text in texts
    ]
    start_s = time.perf_counter()
    completions = engine.generate(ids, options.sampling(loaded.stop_token_ids))
    elapsed_s = time.perf_counter() - start_s
    for i, (text, completion) in enumerate(zip(texts, completions, strict=True)):
        if options.json:
            print_json(text, i % options.num_samples + 1, completion.text)
            continue
        print_heading(i + 1, len(texts))
        print(completion.text if options.chat else text + completion.text, flush=True)
    _report(completions, options, elapsed_s)


def _report(completions: list["Completion"], options: GenerationOptions, elapsed_s: float) -> None:
    """Log how fast it was, and how many texts had to end early."""
    num_tokens = sum(len(one.token_ids) for one in completions)
    num_cut = sum(
        one.finish_reason == "length" and len(one.token_ids) < options.max_new_tokens
        for one in completions
    )
    if num_cut:
        logger.warning("texts cut where the context is full: %d of %d", num_cut, len(completions))
    logger.info("tokens: %d in %.2f s, %.0f/s", num_tokens, elapsed_s, num_tokens / elapsed_s)

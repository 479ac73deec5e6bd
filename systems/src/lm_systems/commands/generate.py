"""``systems generate``: complete prompts with an exported model, all at once."""

import logging
import time
from pathlib import Path
from typing import Annotated

import tyro

logger = logging.getLogger(__name__)


def generate_text(
    model: Annotated[Path, tyro.conf.Positional],
    prompts: Annotated[tuple[str, ...], tyro.conf.Positional],
    /,
    *,
    max_new_tokens: int = 100,
    temperature: float = 0.8,
    top_p: float = 0.95,
    top_k: int | None = None,
    seed: int = 0,
    batch_size: int = 64,
) -> None:
    """Print a completion of each prompt.

    Args:
        model: Folder in the Hugging Face layout, with its tokenizer.
        prompts: One or more texts to go on from.
        max_new_tokens: Most tokens to add.
        temperature: 0 always takes the most likely token.
        top_p: Share of the probability to sample from.
        top_k: Number of most likely tokens to sample from; all when left out.
        seed: Decides the samples.
        batch_size: Most prompts that run together.
    """
    from lm_basics.export import load_model
    from lm_basics.sampling_config import SamplingConfig
    from lm_basics.tokenizer import END_OF_TEXT, Tokenizer
    from lm_shared.tensors import choose_device
    from lm_systems.inference.engine import Engine
    from lm_systems.kernels.ops import get_ops

    if not prompts:
        raise ValueError("expected at least one prompt, got none")
    tokenizer = Tokenizer.from_folder(model)
    end = tokenizer.special_token_ids.get(END_OF_TEXT)
    sampling = SamplingConfig(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        stop_token_ids=() if end is None else (end,),
        seed=seed,
    )
    language_model = load_model(model, ops=get_ops("fused")).to(choose_device())
    engine = Engine(language_model, tokenizer, max_batch_size=batch_size)
    start_s = time.perf_counter()
    completions = engine.generate(prompts, sampling)
    elapsed_s = time.perf_counter() - start_s
    for prompt, completion in zip(prompts, completions, strict=True):
        print(prompt + completion.text)
    num_tokens = sum(len(completion.token_ids) for completion in completions)
    logger.info("%d tokens in %.2f s, %.0f a second", num_tokens, elapsed_s, num_tokens / elapsed_s)

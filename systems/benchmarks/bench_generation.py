"""Tokens a second of generation: the engine, a loop without cache, and ``transformers``."""

import argparse
import platform
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from lm_basics.decoding import generate
from lm_basics.export import save_model
from lm_basics.model_config import uniform_transformer
from lm_basics.sampling_config import SamplingConfig
from lm_basics.transformer import TransformerLM
from lm_shared.config import to_dict
from lm_shared.files import write_json
from lm_shared.receipt import describe_hardware
from lm_shared.tensors import choose_device, device_slug, synchronizer
from lm_shared.timing import time_interleaved
from lm_systems.inference.engine import Engine
from lm_systems.kernels.ops import get_ops

VOCAB_SIZE, CONTEXT_LENGTH, NEW_TOKENS = 4096, 256, 64
# Width, blocks, heads.
SHAPE, TINY = (256, 6, 8), (32, 1, 2)
# A step of reinforcement learning: so many prompts, each completed so often, by so many tokens.
ROLLOUT_PROMPTS, ROLLOUT_GROUP, ROLLOUT_TOKENS, ROLLOUT_BATCH = 64, 8, 8, 256


class _Numbers:
    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))


def main() -> None:
    """Measure, print a table and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="a small shape, to see that all works")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = choose_device()
    d_model, num_layers, num_heads = TINY if options.tiny else SHAPE
    config = uniform_transformer(
        vocab_size=VOCAB_SIZE,
        context_length=CONTEXT_LENGTH,
        d_model=d_model,
        num_layers=num_layers,
        num_heads=num_heads,
        tie_embeddings=True,
    )
    model = TransformerLM(config, ops=get_ops("fused")).to(device)
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, Path(folder) / "model")
        llama: Any = AutoModelForCausalLM.from_pretrained(Path(folder) / "model")
    llama.to(device)
    functions, counts = _candidates(model, llama, device)
    elapsed_s = time_interleaved(
        functions, rounds=options.rounds, warm_up=1, synchronize=synchronizer(device)
    )
    speeds = {name: counts[name] / min(values) for name, values in elapsed_s.items()}
    print(f"{'':32}{'tokens/s':>10}{'s':>10}")
    for name, speed in speeds.items():
        print(f"{name:32}{speed:10.0f}{min(elapsed_s[name]):10.2f}")
    write_json(
        options.results / device_slug(device) / "generation.json",
        {
            "clock": "processor time" if device.type == "cpu" else "wall time",
            "config": to_dict(config),
            "new_tokens": NEW_TOKENS,
            "threads": options.threads,
            "tokens_per_s": speeds,
            "all_s": elapsed_s,
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "hardware": to_dict(describe_hardware()),
        },
    )


def _candidates(
    model: TransformerLM, llama: Any, device: torch.device
) -> tuple[dict[str, Callable[[], object]], dict[str, int]]:
    """Return what to time, and how many tokens each generates."""
    functions: dict[str, Callable[[], object]] = {}
    counts: dict[str, int] = {}
    sampling = SamplingConfig(max_new_tokens=NEW_TOKENS)
    for batch_size in (1, 16, 64):
        prompts = torch.randint(0, VOCAB_SIZE, (batch_size, 16), device=device)
        engine = Engine(model, _Numbers(), max_batch_size=batch_size)
        functions[f"engine, batch {batch_size}"] = partial(
            engine.generate, prompts.tolist(), sampling
        )
        functions[f"transformers, batch {batch_size}"] = partial(
            llama.generate,
            prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=NEW_TOKENS,
            do_sample=True,
            top_k=0,
            pad_token_id=0,
            eos_token_id=[],
        )
        for name in ("engine", "transformers"):
            counts[f"{name}, batch {batch_size}"] = batch_size * NEW_TOKENS
    prompt = torch.randint(0, VOCAB_SIZE, (16,)).tolist()
    functions["no cache, batch 1"] = partial(generate, model, prompt, sampling)
    counts["no cache, batch 1"] = NEW_TOKENS
    rollouts = [
        prompt
        for prompt in torch.randint(0, VOCAB_SIZE, (ROLLOUT_PROMPTS, 16)).tolist()
        for _ in range(ROLLOUT_GROUP)
    ]
    functions["engine, 512 rollouts"] = partial(
        Engine(model, _Numbers(), max_batch_size=ROLLOUT_BATCH).generate,
        rollouts,
        SamplingConfig(max_new_tokens=ROLLOUT_TOKENS),
    )
    counts["engine, 512 rollouts"] = len(rollouts) * ROLLOUT_TOKENS
    return functions, counts


if __name__ == "__main__":
    main()

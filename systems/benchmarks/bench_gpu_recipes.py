"""What our recipes for large GPUs do there: tokens a second, share of the peak, memory.

Whole steps as ``basics train`` makes them, on random tokens: forward and backward passes in
micro-batches, clipping, the recipe's optimizer, deterministic. Each recipe is run with the
operations of ``lm_basics`` and with those of this unit, both compiled. Needs tyro besides what
``bench_training_step.py`` needs::

    PYTHONPATH=shared/src:basics/src:systems/src python systems/benchmarks/bench_gpu_recipes.py
"""

import argparse
import gc
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lm_basics.accounting import (
    StepConfig,
    count_parameters,
    training_flops_per_token,
    training_memory,
)
from lm_basics.commands.leaderboard import BEST_RECIPES
from lm_basics.commands.train_recipes import RECIPES, ModelRecipe
from lm_basics.nn.ops import COMPILED_OPS, Ops
from lm_basics.optim import build_optimizer
from lm_basics.peak_flops import find_peak_flops
from lm_basics.training import SerialStrategy
from lm_basics.transformer import TransformerLM
from lm_shared.config import to_dict
from lm_shared.files import write_json
from lm_shared.receipt import code_state, describe_hardware, installed_versions
from lm_shared.tensors import (
    choose_device,
    choose_dtype,
    device_slug,
    require_determinism,
    seed_everything,
)
from lm_systems.kernels.ops import get_ops

CANDIDATES: dict[str, tuple[ModelRecipe, int, Ops]] = {
    f"{name}, {ops_name}": (recipe, vocab_size, ops)
    for name, recipe, vocab_size in (
        ("leaderboard", BEST_RECIPES["openwebtext"].recipe, BEST_RECIPES["openwebtext"].vocab_size),
        ("h100", RECIPES["h100"][1], 50_257),
    )
    for ops_name, ops in (("basics", COMPILED_OPS), ("systems", get_ops("compiled")))
}
WARMUP_STEPS = 2


def main() -> None:
    """Measure, print a table and write the numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--tiny", action="store_true", help="small, on a CPU, to see that it works")
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        parser.exit(2, f"{parser.prog}: error: needs a GPU, and torch finds none\n")
    device = choose_device("cpu" if options.tiny else "cuda")
    require_determinism()
    path = options.results / device_slug(device) / "recipes.json"
    measured: dict[str, Any] = {}
    for name in options.only:
        try:
            recipe, vocab_size, ops = CANDIDATES[name]
            if options.tiny:
                recipe, vocab_size, ops = shrink(recipe), 64, get_ops("fused")
            measured[name] = measure(recipe, vocab_size, ops, device, options.steps)
        except torch.OutOfMemoryError as error:
            measured[name] = {"error": str(error)}
        commit, is_modified = code_state()
        measured[name] |= {"commit": commit, "is_modified": is_modified}
        print(name, measured[name], flush=True)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        # After each: they take long, and what was measured is not lost.
        write_json(
            path,
            {
                "recipes": measured,
                "versions": installed_versions(),
                "hardware": to_dict(describe_hardware()),
            },
        )
    print(f"wrote {path}")


@dataclass
class StepTimes:
    """Seconds of each part, one for each step."""

    passes: list[float]
    clip: list[float]
    update: list[float]


def measure(
    recipe: ModelRecipe, vocab_size: int, ops: Ops, device: torch.device, steps: int
) -> dict[str, Any]:
    """Return what some steps of the recipe take."""
    shape, training = recipe.resolve(vocab_size)
    seed_everything(0)
    model = TransformerLM(shape, ops=ops).to(device)
    dtype = choose_dtype(training.dtype, device)
    strategy = SerialStrategy(
        model,
        build_optimizer(model, training.optimizer),
        dtype=dtype,
        micro_batch_size=training.micro_batch_size,
    )
    first_s, began_at = 0.0, time.perf_counter()
    times = StepTimes([], [], [])
    for step in range(WARMUP_STEPS + steps):
        ids = torch.randint(0, vocab_size, (training.batch_size, shape.context_length + 1))
        ids = ids.to(device)
        marks = [now()]
        strategy.forward_backward(ids[:, :-1], ids[:, 1:]).item()
        marks.append(now())
        strategy.clip(training.max_grad_norm).item()
        marks.append(now())
        strategy.step(1e-3)
        marks.append(now())
        if step == 0:
            first_s = now() - began_at
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
        if step >= WARMUP_STEPS:
            for part, start, end in zip(
                (times.passes, times.clip, times.update), marks[:-1], marks[1:], strict=True
            ):
                part.append(end - start)
    parts = {name: statistics.median(values) for name, values in vars(times).items()}
    tokens = training.batch_size * shape.context_length
    tokens_per_s = tokens / sum(parts.values())
    peak = find_peak_flops(device, dtype)
    foretold = training_memory(
        shape,
        training.micro_batch_size or training.batch_size,
        shape.context_length,
        optimizer="muon",
        step=StepConfig(dtype="bfloat16", autocast_device="cuda"),
    )
    peak_bytes = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    return {
        "parameters": count_parameters(shape),
        "tokens_per_step": tokens,
        "seconds": parts,
        "first_step_s": first_s,
        "tokens_per_s": tokens_per_s,
        "share_of_peak": tokens_per_s
        * training_flops_per_token(shape, shape.context_length)
        / peak.flops_per_s,
        "peak_source": peak.source,
        "peak_memory_gb": None if peak_bytes is None else peak_bytes / 1e9,
        "foretold_memory_uncompiled_gb": foretold.total / 1e9,
        "steps_in_90_minutes": int(5_400 * tokens_per_s / tokens),
        "steps_of_the_recipe": training.steps,
    }


def shrink(recipe: ModelRecipe) -> ModelRecipe:
    """Return the recipe with sizes that a CPU does at once."""
    training = replace(recipe.training, batch_size=4, micro_batch_size=2, dtype="float32")
    return replace(
        recipe, training=training, d_model=32, num_layers=1, num_heads=2, context_length=16
    )


def now() -> float:
    """Return the time at which a GPU has done all that it was told to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()

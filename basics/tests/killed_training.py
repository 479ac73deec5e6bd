"""Trains twice, once without interruption and once killed again and again by SIGKILL.

A program of its own, for ``test_training_resume.py``: forking needs a process without threads, and
spares each of the killed processes the import of torch. Arguments: a folder, a number of kills, a
seed, a dtype, a device.
"""

import json
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from lm_basics.model_config import uniform_transformer
from lm_basics.optim import MuonConfig
from lm_basics.training import (
    RandomWindows,
    SkipStep,
    StepReport,
    TrainingConfig,
    evaluate_loss,
    strategy,
    train,
)
from lm_basics.training.strategy import LossScaler
from lm_basics.transformer import TransformerLM
from lm_shared.tensors import require_determinism, seed_everything

TOKENS = np.minimum(np.arange(3_000) % 29, np.random.default_rng(0).integers(0, 90, 3_000))
DOCUMENT_STARTS = np.arange(0, 3_000, 11)
STEPS_PER_KILL = 6
DEVICE = sys.argv[5]


def config(num_kills: int, dtype: Any) -> TrainingConfig:
    """Return settings that use everything that has a state."""
    return TrainingConfig(
        steps=STEPS_PER_KILL * num_kills + 12,
        batch_size=4,
        micro_batch_size=3,
        optimizer=MuonConfig(),
        # Narrow enough that some steps are skipped.
        on_divergence=SkipStep(grad_norm_factor=1.05, median_steps=8, max_in_a_row=30),
        dtype=dtype,
        ema_decay=0.9,
        data_order=RandomWindows(),
        mask_documents=True,
        validate_every=5,
        checkpoint_every=3,
        keep_checkpoints=2,
        keep_best=True,
    )


def run(settings: TrainingConfig, folder: Path, on_step: Callable[[StepReport], None]) -> None:
    """Train until the end, or until something kills this process."""
    require_determinism()
    seed_everything(0)
    shape = uniform_transformer(
        vocab_size=30, context_length=8, d_model=16, num_layers=1, num_heads=2
    )
    # Draws from every global generator: the record tells whether they were restored.
    draw = [lambda: torch.rand(1, device=DEVICE).item(), np.random.rand, random.random]

    def validate(model: TransformerLM) -> dict[str, float]:
        loss = evaluate_loss(model, TOKENS[:50], first_context=0).nats_per_token
        return {"val_loss": loss} | {f"draw_{i}": one() for i, one in enumerate(draw)}

    # A scale that grows quickly also overflows.
    with mock.patch.object(strategy, "LossScaler", partial(LossScaler, growth_interval=3)):
        train(
            TransformerLM(shape).to(DEVICE),
            TOKENS,
            settings,
            folder=folder,
            document_starts=DOCUMENT_STARTS,
            validate=validate,
            on_step=on_step,
        )


def die(*_: Any) -> None:
    """End this process as nothing can prevent or notice."""
    os.kill(os.getpid(), signal.SIGKILL)


def run_and_die(settings: TrainingConfig, folder: Path, step: int, way: str) -> None:
    """Train and die at ``step``, or soon after it in the way that is named."""
    has_arrived = False
    # Not the global generator, which is part of the run.
    delays = random.Random(step)

    def on_step(report: StepReport) -> None:
        nonlocal has_arrived
        has_arrived = report.step >= step
        if has_arrived and way == "at a step":
            die()
        if has_arrived and way == "at any moment":
            threading.Timer(delays.uniform(0, 0.1), die).start()
        if report.step >= step + 8:
            die()

    def write_half(path: Path, data: bytes) -> int:
        half = data[: len(data) // 2] if has_arrived else data
        with path.open("wb") as file:
            file.write(half)
        if has_arrived and path.suffix == ".safetensors":
            die()
        return len(half)

    def before(original: Callable[..., Any], path: Path, *arguments: Any, **options: Any) -> Any:
        if has_arrived and path.suffix == ".safetensors":
            die()
        return original(path, *arguments, **options)

    change: dict[str, Any] = {
        "writing a checkpoint": {"write_bytes": write_half},
        "renaming a checkpoint": {"replace": lambda *a: before(original_replace, *a)},
        "removing a checkpoint": {"unlink": lambda *a, **o: before(original_unlink, *a, **o)},
    }.get(way, {"write_bytes": Path.write_bytes})
    original_replace, original_unlink = Path.replace, Path.unlink
    with mock.patch.multiple(Path, **change):
        run(settings, folder, on_step)


WAYS = (
    "at a step",
    "writing a checkpoint",
    "at any moment",
    "renaming a checkpoint",
    "removing a checkpoint",
)


def in_child(function: Callable[[], None]) -> int:
    """Run the function in a forked process and return how that ended."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException as error:
            sys.stderr.write(repr(error))
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: Path, num_kills: int, seed: int, dtype: str) -> None:
    """Train both and print how each process ended."""
    settings = config(num_kills, dtype)
    ends = {"straight": in_child(lambda: run(settings, folder / "straight", lambda _: None))}
    rng = np.random.default_rng(seed)
    steps = np.sort(rng.choice(np.arange(1, settings.steps - 9), num_kills, replace=False))
    killed = [
        in_child(partial(run_and_die, settings, folder / "killed", int(step), WAYS[i % len(WAYS)]))
        for i, step in enumerate(steps)
    ]
    ends["resumed"] = in_child(lambda: run(settings, folder / "killed", lambda _: None))
    sys.stdout.write(json.dumps(ends | {"killed": killed}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])

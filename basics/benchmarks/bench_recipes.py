"""How many tokens the best recipe needs for what AdamW with a cosine reaches on the default corpus.

Both train the same widths and depths, on one core each. The baseline is the course's: pre-norm
blocks as the paper has them, AdamW, cosine; batch and rate are the best of six pairs, chosen on a
seed of their own. The recipe adds what the ablations and the log speak for: Muon, normalized
queries and keys, residual branches that start at zero, a smaller embedding at the start, a linear
decay over half of the steps. Each length is a run of its own, because the schedule depends on it;
losses are of held-out tokens, in nats::

    python -m basics.benchmarks.bench_recipes
"""

import argparse
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lm_basics.default_corpus import prepare_default_corpus
from lm_basics.model_config import TransformerConfig, uniform_transformer
from lm_basics.optim import AdamWConfig, CosineSchedule, MuonConfig, WarmupStableDecaySchedule
from lm_basics.training import TrainingConfig, evaluate_loss, train
from lm_basics.transformer import TransformerLM
from lm_shared.files import write_json
from lm_shared.processes import ProcessPool
from lm_shared.receipt import code_state, describe_hardware
from lm_shared.tensors import require_determinism, seed_everything

RESULTS = Path(__file__).parent / "results" / "cpu" / "recipes.json"
BAR = 0.65
SHARES = (0.5, 0.575, 0.65)
# Batch and peak rate of the baseline; of the rates of 16 the ablation found the best.
BASELINES = ((16, 1e-2), (16, 2e-2), (8, 5e-3), (8, 1e-2), (8, 2e-2), (4, 5e-3))
VOCAB_SIZE, CONTEXT, D_MODEL, NUM_LAYERS, NUM_HEADS = 2_048, 128, 96, 4, 3
TOKENS = 400 * 16 * CONTEXT
BATCH_SIZE = 8
HELD_OUT_TOKENS = 65_536
# Another than those of the comparison.
CHOOSING_SEED = 100


def make_model(*, is_best: bool) -> TransformerConfig:
    """Return the shape; the best recipe's differs in norms of queries and keys and at the start."""
    return uniform_transformer(
        vocab_size=VOCAB_SIZE,
        context_length=CONTEXT,
        d_model=D_MODEL,
        num_layers=NUM_LAYERS,
        num_heads=NUM_HEADS,
        qk_norm=is_best,
        zero_init_residual=is_best,
        embedding_std=0.3 if is_best else None,
    )


def baseline(batch_size: int, lr: float, *, seed: int) -> TrainingConfig:
    """Return AdamW with warm-up and a cosine."""
    return TrainingConfig(
        steps=round(TOKENS / (batch_size * CONTEXT)),
        batch_size=batch_size,
        optimizer=AdamWConfig(lr=lr),
        schedule=CosineSchedule(warmup_fraction=0.05),
        dtype="float32",
        seed=seed,
    )


def best(share: float, *, seed: int) -> TrainingConfig:
    """Return the best recipe on a share of the baseline's tokens."""
    return replace(
        baseline(BATCH_SIZE, 0.0, seed=seed),
        steps=round(share * TOKENS / (BATCH_SIZE * CONTEXT)),
        optimizer=MuonConfig(lr=0.02, momentum=0.9, others=AdamWConfig(lr=0.03, weight_decay=0.0)),
        schedule=WarmupStableDecaySchedule(
            warmup_fraction=0.02, decay_fraction=0.5, decay="linear"
        ),
    )


def measure(data: Path, job: tuple[bool, TrainingConfig]) -> dict[str, Any]:
    """Train once and return the held-out loss."""
    is_best, training = job
    torch.set_num_threads(1)
    require_determinism()
    corpus = prepare_default_corpus(data, vocab_size=VOCAB_SIZE)
    seed_everything(training.seed)
    model = TransformerLM(make_model(is_best=is_best))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = train(model, corpus.train.tokens, training, folder=Path(folder) / "run")
    held_out = corpus.validation.tokens[:HELD_OUT_TOKENS]
    loss = evaluate_loss(model, held_out, first_context=corpus.end_of_text)
    measured = {
        "recipe": "best" if is_best else "baseline",
        "seed": training.seed,
        "batch_size": training.batch_size,
        "tokens": result.tokens,
        "loss": loss.nats_per_token,
        "seconds": time.perf_counter() - start,
    }
    print(measured, flush=True)
    return measured


def run(data: Path, num_seeds: int, num_jobs: int) -> dict[str, Any]:
    """Choose the baseline on a seed of its own, then compare on the others."""
    # Before the others come, which only open it.
    prepare_default_corpus(data, vocab_size=VOCAB_SIZE)
    with ProcessPool(num_jobs) as pool:
        measured = partial(measure, data)
        jobs = [(False, baseline(*pair, seed=CHOOSING_SEED)) for pair in BASELINES]
        choice = list(pool.map(measured, jobs))
        pair = BASELINES[int(np.argmin([one["loss"] for one in choice]))]
        seeds = range(num_seeds)
        jobs = [(False, baseline(*pair, seed=seed)) for seed in seeds]
        jobs += [(True, best(share, seed=seed)) for share in SHARES for seed in seeds]
        losses = list(pool.map(measured, jobs))
    return {
        "choice": [{"lr": lr, **one} for (_, lr), one in zip(BASELINES, choice, strict=True)],
        "baseline": {"batch_size": pair[0], "lr": pair[1], "runs": losses[:num_seeds]},
        "best": {
            str(share): losses[(i + 1) * num_seeds : (i + 2) * num_seeds]
            for i, share in enumerate(SHARES)
        },
    }


def summarize(results: dict[str, Any]) -> dict[str, Any]:
    """Return the mean losses, and the least share of those tried that reached the baseline's."""

    def mean(runs: list[dict[str, Any]]) -> float:
        return float(np.mean([one["loss"] for one in runs]))

    baseline_loss = mean(results["baseline"]["runs"])
    means = {share: mean(runs) for share, runs in results["best"].items()}
    reached = [float(share) for share, loss in means.items() if loss <= baseline_loss]
    return {
        "baseline_loss": baseline_loss,
        "best_losses": means,
        "least_share_that_reached": min(reached, default=None),
        "bar": BAR,
    }


def main() -> None:
    """Run and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    commit = code_state()[0]
    with tempfile.TemporaryDirectory() as folder:
        results = run(Path(folder) / "data", options.seeds, options.jobs)
    hardware = describe_hardware()
    summary = summarize(results)
    results |= {
        "summary": summary,
        "device": f"{hardware.cpu}, {hardware.num_cores} cores",
        "commit": commit,
        "torch": torch.__version__,
    }
    write_json(options.output, results)
    print(summary)


if __name__ == "__main__":
    main()

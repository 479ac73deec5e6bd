"""How many tokens the best recipe needs for what AdamW with a cosine reaches on the default corpus.

Both train the same widths and depths on the same windows. The baseline is the course's: pre-norm
blocks as the paper has them, AdamW at the best of several rates, cosine. The recipe adds what the
ablations and the log speak for: Muon, normalized queries and keys, residual branches that start at
zero, a decay to zero at the end. Each length is a run of its own, because the schedule depends on
it; losses are of held-out tokens, in nats::

    uv run python -m basics.benchmarks.bench_recipes
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lm_basics.default_corpus import CorpusTokens, prepare_default_corpus
from lm_basics.model_config import TransformerConfig, uniform_transformer
from lm_basics.optim import AdamWConfig, CosineSchedule, MuonConfig
from lm_basics.training import TrainingConfig, evaluate_loss, train
from lm_basics.transformer import TransformerLM
from lm_shared.files import write_json
from lm_shared.receipt import code_state, describe_hardware
from lm_shared.tensors import require_determinism, seed_everything

RESULTS = Path(__file__).parent / "results" / "cpu" / "recipes.json"
BAR = 0.65
SHARES = (0.4, 0.5, 0.65)
# The best of the ablation of learning rates, and its neighbours.
RATES = (5e-3, 1e-2, 2e-2)
VOCAB_SIZE, CONTEXT, D_MODEL, NUM_LAYERS, NUM_HEADS = 2_048, 128, 96, 4, 3
STEPS, BATCH_SIZE = 400, 16
HELD_OUT_TOKENS = 65_536


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
    )


def baseline(lr: float) -> TrainingConfig:
    """Return AdamW with warm-up and a cosine."""
    return TrainingConfig(
        steps=STEPS,
        batch_size=BATCH_SIZE,
        optimizer=AdamWConfig(lr=lr),
        schedule=CosineSchedule(warmup_fraction=0.05),
        dtype="float32",
    )


def best(share: float) -> TrainingConfig:
    """Return the best recipe on a share of the baseline's tokens."""
    return replace(
        baseline(0.0),
        steps=round(share * STEPS),
        optimizer=MuonConfig(lr=0.02, others=AdamWConfig(lr=0.015, weight_decay=0.0)),
        schedule=CosineSchedule(warmup_fraction=0.03),
    )


def measure(
    corpus: CorpusTokens, model_config: TransformerConfig, training: TrainingConfig
) -> dict[str, Any]:
    """Train once and return the held-out loss."""
    seed_everything(training.seed)
    model = TransformerLM(model_config)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = train(model, corpus.train.tokens, training, folder=Path(folder) / "run")
    held_out = corpus.validation.tokens[:HELD_OUT_TOKENS]
    loss = evaluate_loss(model, held_out, first_context=corpus.end_of_text)
    return {
        "seed": training.seed,
        "tokens": result.tokens,
        "loss": loss.nats_per_token,
        "seconds": time.perf_counter() - start,
    }


def run(corpus: CorpusTokens, num_seeds: int) -> dict[str, Any]:
    """Choose the baseline's rate on a seed of its own, then compare on the others."""
    plain, improved = make_model(is_best=False), make_model(is_best=True)
    sweep = []
    for lr in RATES:
        # Another seed than those of the comparison.
        sweep.append({"lr": lr, **measure(corpus, plain, replace(baseline(lr), seed=100))})
        print(sweep[-1], flush=True)
    rate = min(sweep, key=lambda one: one["loss"])["lr"]
    seeds = []
    for seed in range(num_seeds):
        row: dict[str, Any] = {"seed": seed}
        row["baseline"] = measure(corpus, plain, replace(baseline(rate), seed=seed))
        row["best"] = {
            str(share): measure(corpus, improved, replace(best(share), seed=seed))
            for share in SHARES
        }
        seeds.append(row)
        print(row, flush=True)
    return {"baseline_rates": sweep, "baseline_rate": rate, "seeds": seeds}


def summarize(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean losses, and the least share of those tried that reached the baseline's."""
    baseline_loss = float(np.mean([row["baseline"]["loss"] for row in seeds]))
    means = [float(np.mean([row["best"][str(share)]["loss"] for row in seeds])) for share in SHARES]
    reached = [share for share, mean in zip(SHARES, means, strict=True) if mean <= baseline_loss]
    return {
        "baseline_loss": baseline_loss,
        "best_losses": dict(zip(map(str, SHARES), means, strict=True)),
        "least_share_that_reached": min(reached, default=None),
        "bar": BAR,
    }


def main() -> None:
    """Run and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    require_determinism()
    with tempfile.TemporaryDirectory() as folder:
        corpus = prepare_default_corpus(Path(folder) / "data", vocab_size=VOCAB_SIZE)
        results = run(corpus, options.seeds)
    hardware = describe_hardware()
    summary = summarize(results["seeds"])
    results |= {
        "summary": summary,
        "device": f"{hardware.cpu}, {hardware.num_cores} cores",
        "commit": code_state()[0],
        "torch": torch.__version__,
    }
    write_json(options.output, results)
    print(summary)


if __name__ == "__main__":
    main()

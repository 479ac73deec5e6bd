"""Tiny Shakespeare by characters, in the shape of nanoGPT's run on a CPU.

nanoGPT's README trains 4 layers of width 128 with 4 heads on windows of 64 characters, 12 a step,
for 2,000 steps, and reports a validation loss of 1.88 nats per character. Here a model of at most
as many parameters sees at most as many characters; the first nine tenths of the text are for
training, as there, and every held-out character counts once, in windows of 64 side by side::

    uv run python -m basics.benchmarks.bench_tiny_shakespeare tinyshakespeare.txt
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lm_basics.accounting import count_parameters
from lm_basics.model_config import uniform_transformer
from lm_basics.optim import AdamWConfig, CosineSchedule, MuonConfig
from lm_basics.training import TrainingConfig, evaluate_loss, train
from lm_basics.transformer import TransformerLM
from lm_shared.files import write_json
from lm_shared.tensors import require_determinism, seed_everything

RESULTS = Path(__file__).parent / "results" / "cpu" / "tiny_shakespeare.json"
TRAINING_SHARE = 0.9
PUBLISHED_LOSS, BAR = 1.88, 1.70
CONTEXT, BATCH_SIZE, STEPS, D_MODEL, NUM_LAYERS, NUM_HEADS = 64, 12, 2_000, 128, 4, 4
# Four blocks of 12 d_model^2 (matrices) and 2 d_model (gains of the norms), the final norm, and the
# tables of 65 characters and of 64 positions; the head is the table of characters.
PUBLISHED_PARAMETERS = 4 * (12 * 128**2 + 2 * 128) + 128 + (65 + 64) * 128


def measure(text: str, seed: int) -> dict[str, Any]:
    """Train once and return the losses, in nats per character."""
    characters = sorted(set(text))
    ids = np.array([characters.index(character) for character in text], dtype=np.uint16)
    cut = int(TRAINING_SHARE * len(ids))
    config = uniform_transformer(
        vocab_size=len(characters),
        context_length=CONTEXT,
        d_model=D_MODEL,
        num_layers=NUM_LAYERS,
        num_heads=NUM_HEADS,
        d_ff=320,
        qk_norm=True,
        zero_init_residual=True,
    )
    training = TrainingConfig(
        steps=STEPS,
        batch_size=BATCH_SIZE,
        optimizer=MuonConfig(lr=0.02, others=AdamWConfig(lr=0.01, weight_decay=0.0)),
        schedule=CosineSchedule(),
        dtype="float32",
        seed=seed,
    )
    seed_everything(seed)
    model = TransformerLM(config)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = train(model, ids[:cut], training, folder=Path(folder) / "run")
    held_out = evaluate_loss(model, ids[cut:], first_context=int(ids[cut - 1]))
    return {
        "seed": seed,
        "parameters": count_parameters(config),
        "characters": result.tokens,
        "training_loss": result.final_loss,
        "validation_loss": held_out.nats_per_token,
        "seconds": time.perf_counter() - start,
    }


def main() -> None:
    """Train with a few seeds and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("text", type=Path, help="tinyshakespeare.txt")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    require_determinism()
    text = options.text.read_text(encoding="utf-8")
    runs = []
    for seed in range(options.seeds):
        runs.append(measure(text, seed))
        print(runs[-1], flush=True)
    losses = [run["validation_loss"] for run in runs]
    results = {
        "published_loss": PUBLISHED_LOSS,
        "published_parameters": PUBLISHED_PARAMETERS,
        "bar": BAR,
        "mean_validation_loss": float(np.mean(losses)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "runs": runs,
    }
    write_json(options.output, results)
    print(f"mean {results['mean_validation_loss']:.4f} (bar {BAR}), wrote {options.output}")


if __name__ == "__main__":
    main()

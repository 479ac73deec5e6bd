"""One step of our optimizers beside torch's AdamW, on the parameters of a transformer.

All contenders take turns in one process, each on a model of its own with the same gradients, and
in another order every round. ``ratio`` is the median time over that of torch's fused AdamW; the
median of the ratios inside each round stands beside it, which other load disturbs less. The results
go to ``results/cpu/optimizers.json``::

    python -m basics.benchmarks.bench_optimizers
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lm_basics.model_config import uniform_transformer
from lm_basics.optim import AdamWConfig, MuonConfig, SGDConfig, SOAPConfig, build_optimizer
from lm_basics.transformer import TransformerLM
from lm_shared.files import write_json
from lm_shared.receipt import describe_hardware, installed_versions

RESULTS = Path(__file__).parent / "results" / "cpu" / "optimizers.json"
SHAPE = uniform_transformer(
    vocab_size=4_096, context_length=256, d_model=256, num_layers=6, num_heads=8
)
OURS, PEER = "ours, AdamW", "torch, AdamW fused"
BAR = 1.1
ADAMW = AdamWConfig()
# For information, in some of the rounds only; ten of them are a whole cycle of SOAP's bases.
SLOW = ("ours, Muon", "ours, SOAP")
SLOW_EVERY = 5
# SOAP begins by finding bases, and the first steps fill the memory.
WARMUP_STEPS = 3


def main() -> None:
    """Measure for every number of threads and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    contenders = _make_contenders()
    results = {
        "hardware": dataclasses.asdict(describe_hardware()),
        "versions": installed_versions(),
        "parameters": sum(p.numel() for p in TransformerLM(SHAPE).parameters()),
        "rounds": options.rounds,
        "bar": BAR,
        "threads": {
            str(number): _measure(contenders, number, options.rounds) for number in options.threads
        },
    }
    write_json(options.output, results)
    print(f"wrote {options.output}")


def _make_contenders() -> dict[str, torch.optim.Optimizer]:
    """Return optimizers, each of a model of its own that has gradients."""
    ours = {
        OURS: (ADAMW, "auto"),
        "ours, AdamW plain": (ADAMW, "reference"),
        "ours, SGD": (SGDConfig(), "auto"),
        "ours, Muon": (MuonConfig(), "auto"),
        "ours, SOAP": (SOAPConfig(), "auto"),
    }
    contenders: dict[str, torch.optim.Optimizer] = {
        name: build_optimizer(_make_model(), config, implementation=implementation)
        for name, (config, implementation) in ours.items()
    }
    for name in (PEER, "torch, AdamW foreach"):
        groups = build_optimizer(_make_model(), ADAMW).param_groups
        kind = name.rpartition(" ")[2]
        contenders[name] = torch.optim.AdamW(
            [{key: group[key] for key in ("params", "weight_decay")} for group in groups],
            lr=ADAMW.lr,
            betas=ADAMW.betas,
            eps=ADAMW.eps,
            fused=kind == "fused",
            foreach=kind == "foreach",
        )
    return contenders


def _make_model() -> TransformerLM:
    torch.manual_seed(0)
    model = TransformerLM(SHAPE)
    for parameter in model.parameters():
        parameter.grad = 1e-2 * torch.randn_like(parameter)
    return model


def _measure(
    contenders: Mapping[str, torch.optim.Optimizer], num_threads: int, rounds: int
) -> dict[str, Any]:
    """Return each contender's times, and ours relative to the peer's."""
    torch.set_num_threads(num_threads)
    for optimizer in contenders.values():
        for _ in range(WARMUP_STEPS):
            optimizer.step()
    times: dict[str, dict[int, float]] = {name: {} for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            if name not in SLOW or number % SLOW_EVERY == 0:
                start = time.perf_counter()
                contenders[name].step()
                times[name][number] = 1e3 * (time.perf_counter() - start)
    measured = {name: _summarize(times[name], times[PEER]) for name in names}
    for name, values in measured.items():
        print(f"{num_threads} threads: {name}: {values}", flush=True)
    return {"contenders": measured, "is_bar_met": measured[OURS]["ratio"] <= BAR}


def _summarize(times: Mapping[int, float], peer_times: Mapping[int, float]) -> dict[str, float]:
    """Return statistics of the times by round, in ms."""
    median, peer_median = (statistics.median(of.values()) for of in (times, peer_times))
    return {
        "steps": len(times),
        "median_ms": median,
        "mean_ms": statistics.mean(times.values()),
        "least_ms": min(times.values()),
        "ratio": median / peer_median,
        "ratio_in_rounds": statistics.median(times[i] / peer_times[i] for i in times),
    }


if __name__ == "__main__":
    main()

"""One step of our optimizers beside torch's AdamW, on the parameters of a transformer.

All contenders take turns in one process, each on a model of its own with the same gradients, and
in another order every round. ``ratio`` is the median time over that of torch's fused AdamW; the
median of the ratios inside each round stands beside it, which other load disturbs less. The results
go to ``results/<device>/optimizers.json``::

    python -m basics.benchmarks.bench_optimizers [--device cuda]
"""

import argparse
import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lm_basics.accounting import count_parameters
from lm_basics.model_config import TransformerConfig, uniform_transformer
from lm_basics.optim import AdamWConfig, MuonConfig, SGDConfig, SOAPConfig, build_optimizer
from lm_basics.transformer import TransformerLM
from lm_shared.files import write_json
from lm_shared.receipt import code_state, describe_hardware, installed_versions
from lm_shared.tensors import choose_device, device_slug, synchronizer
from lm_shared.timing import time_interleaved

RESULTS = Path(__file__).parent / "results"
SHAPES = {
    "cpu": uniform_transformer(
        vocab_size=4_096, context_length=256, d_model=256, num_layers=6, num_heads=8
    ),
    "cuda": uniform_transformer(
        vocab_size=32_768, context_length=1_024, d_model=768, num_layers=12, num_heads=12
    ),
    "tiny": uniform_transformer(
        vocab_size=64, context_length=16, d_model=32, num_layers=1, num_heads=2
    ),
}
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
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", help="1 and 2; on a GPU 1")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--tiny", action="store_true", help="a small shape, to see that all works")
    options = parser.parse_args()
    device = choose_device(options.device)
    shape = SHAPES["tiny" if options.tiny else device.type]
    contenders = _make_contenders(shape, device)
    commit, is_modified = code_state()
    results = {
        "hardware": dataclasses.asdict(describe_hardware()),
        "versions": installed_versions(),
        "commit": commit,
        "is_modified": is_modified,
        "parameters": count_parameters(shape),
        "rounds": options.rounds,
        "bar": BAR,
        "threads": {
            str(number): _measure(contenders, device, number, options.rounds)
            for number in options.threads or ([1, 2] if device.type == "cpu" else [1])
        },
    }
    path = options.results / device_slug(device) / "optimizers.json"
    write_json(path, results)
    print(f"wrote {path}")


def _make_contenders(
    shape: TransformerConfig, device: torch.device
) -> dict[str, torch.optim.Optimizer]:
    """Return optimizers, each of a model of its own that has gradients."""
    ours = {
        OURS: (ADAMW, "auto"),
        "ours, AdamW plain": (ADAMW, "reference"),
        "ours, SGD": (SGDConfig(), "auto"),
        "ours, Muon": (MuonConfig(), "auto"),
        "ours, SOAP": (SOAPConfig(), "auto"),
    }
    if device.type == "cuda":
        # Finding its first bases takes longer than all the rest.
        del ours["ours, SOAP"]
    contenders: dict[str, torch.optim.Optimizer] = {
        name: build_optimizer(_make_model(shape, device), config, implementation=implementation)
        for name, (config, implementation) in ours.items()
    }
    for name in (PEER, "torch, AdamW foreach"):
        groups = build_optimizer(_make_model(shape, device), ADAMW).param_groups
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


def _make_model(shape: TransformerConfig, device: torch.device) -> TransformerLM:
    torch.manual_seed(0)
    model = TransformerLM(shape).to(device)
    for parameter in model.parameters():
        parameter.grad = 1e-2 * torch.randn_like(parameter)
    return model


def _measure(
    contenders: Mapping[str, torch.optim.Optimizer],
    device: torch.device,
    num_threads: int,
    rounds: int,
) -> dict[str, Any]:
    """Return each contender's times, and ours relative to the peer's."""
    torch.set_num_threads(num_threads)
    seconds = time_interleaved(
        {name: optimizer.step for name, optimizer in contenders.items()},
        rounds=rounds,
        clock="wall",
        synchronize=synchronizer(device),
        warm_up=WARMUP_STEPS,
        rotate=True,
        every=dict.fromkeys(SLOW, SLOW_EVERY),
    )
    measured = {
        name: _summarize(values, seconds[PEER], SLOW_EVERY if name in SLOW else 1)
        for name, values in seconds.items()
    }
    for name, values in measured.items():
        print(f"{num_threads} threads: {name}: {values}", flush=True)
    return {"contenders": measured, "is_bar_met": measured[OURS]["ratio"] <= BAR}


def _summarize(
    seconds: Sequence[float], peer_seconds: Sequence[float], every: int
) -> dict[str, float]:
    """Return statistics of the times, in ms; only in one of ``every`` rounds there was one."""
    median, peer_median = (statistics.median(of) for of in (seconds, peer_seconds))
    pairs = zip(seconds, peer_seconds[::every], strict=True)
    return {
        "steps": len(seconds),
        "median_ms": 1e3 * median,
        "mean_ms": 1e3 * statistics.mean(seconds),
        "least_ms": 1e3 * min(seconds),
        "ratio": median / peer_median,
        "ratio_in_rounds": statistics.median(own / peer for own, peer in pairs),
    }


if __name__ == "__main__":
    main()

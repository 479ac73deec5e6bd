"""Whole training steps: our operations against Llama in ``transformers``.

A step is forward pass, backward pass, clipping and torch's fused AdamW, the same for all; what
differs is the model. The candidates take turns, on the same batch; medians of wall time count, so
the machine should have nothing else to do. Needs only torch, numpy, einops, jaxtyping, safetensors,
regex, numba and transformers::

    PYTHONPATH=shared/src:basics/src:systems/src python systems/benchmarks/bench_training_step.py
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from lm_basics.accounting import training_flops_per_token
from lm_basics.model_config import (
    MixtureOfExpertsConfig,
    TransformerConfig,
    uniform_transformer,
)
from lm_basics.peak_flops import find_peak_flops
from lm_basics.transformer import TransformerLM
from lm_shared.config import to_dict
from lm_shared.files import write_json
from lm_shared.receipt import code_state, describe_hardware, installed_versions
from lm_shared.tensors import choose_device, device_slug, synchronizer
from lm_shared.timing import time_call, time_interleaved
from lm_systems.kernels import OpsName
from lm_systems.kernels.ops import get_ops

# (d_model, layers, heads, context, batch, vocabulary): a laptop's model, one that fills a GPU, and
# one that shows only that everything works.
SHAPES = {
    "cpu": (256, 6, 8, 256, 32, 4096),
    "cuda": (1024, 12, 16, 1024, 16, 32_768),
    "tiny": (32, 1, 2, 16, 2, 64),
}
NAMES = ("d_model", "num_layers", "num_heads", "context_length", "batch", "vocab_size")
OURS: tuple[OpsName, ...] = ("reference", "fused", "compiled")
BARS = {
    "eager": ("ours fused", "transformers eager", 1.05),
    "compiled": ("ours compiled", "transformers compiled", 1.2),
}


def main() -> None:
    """Measure, print a table and write the numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--skip-compiled", action="store_true")
    parser.add_argument(
        "--tiny", action="store_true", help="small and uncompiled, to see that it works"
    )
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device, dtype = choose_device(), getattr(torch, options.dtype)
    shape = SHAPES["tiny" if options.tiny else device.type]
    steps = make_steps(shape, device, dtype)
    if options.skip_compiled or options.tiny:
        steps = {name: one for name, one in steps.items() if "compiled" not in name}
    wait = synchronizer(device)
    first_call_s = {name: time_call(one, "wall", wait) for name, one in steps.items()}
    elapsed_s = time_interleaved(steps, rounds=options.rounds, clock="wall", synchronize=wait)
    numbers = summarize(shape, elapsed_s, device, dtype)
    show(numbers, first_call_s)
    commit, is_modified = code_state()
    write_json(
        options.results / device_slug(device) / f"training_step_{options.dtype}.json",
        {
            "shape": dict(zip(NAMES, shape, strict=True)),
            "dtype": options.dtype,
            "threads": options.threads,
            **numbers,
            "all_s": elapsed_s,
            "first_call_s": first_call_s,
            "versions": installed_versions(),
            "commit": commit,
            "is_modified": is_modified,
            "hardware": to_dict(describe_hardware()),
        },
    )


def make_steps(
    shape: tuple[int, ...], device: torch.device, dtype: torch.dtype
) -> dict[str, Callable[[], None]]:
    """Return every candidate's step on one batch."""
    config = make_config(shape)
    generator = torch.Generator().manual_seed(0)
    token_ids = torch.randint(0, shape[5], (shape[4], shape[3] + 1), generator=generator)
    inputs, targets = token_ids[:, :-1].to(device), token_ids[:, 1:].to(device)
    steps: dict[str, Callable[[], None]] = {}
    for name in OURS:
        torch.manual_seed(0)
        model = TransformerLM(config, ops=get_ops(name)).to(device)
        loss = model.ops.compile_step(model.objective)
        steps[f"ours {name}"] = make_step(model, loss, (inputs, targets), dtype)
    for name in ("eager", "compiled"):
        llama = make_llama(config)
        llama.to(device)

        def llama_loss(inputs: Tensor, labels: Tensor, llama: Any = llama) -> Tensor:
            return llama(input_ids=inputs, labels=labels, use_cache=False).loss

        loss = torch.compile(llama_loss, dynamic=False) if name == "compiled" else llama_loss
        # It shifts the labels itself.
        steps[f"transformers {name}"] = make_step(llama, loss, (inputs, inputs), dtype)
    return steps


def make_config(shape: tuple[int, ...]) -> TransformerConfig:
    """Return the shape as a Llama that ties its tables."""
    d_model, num_layers, num_heads, context_length, _, vocab_size = shape
    return uniform_transformer(
        vocab_size=vocab_size,
        context_length=context_length,
        d_model=d_model,
        num_layers=num_layers,
        num_heads=num_heads,
        tie_embeddings=True,
    )


def make_llama(config: TransformerConfig) -> torch.nn.Module:
    """Return the same shape; its attention is torch's fused one by default."""
    block = config.block(0)
    feedforward = block.feedforward
    if isinstance(feedforward, MixtureOfExpertsConfig):
        raise TypeError("expected feed-forward layers, got a mixture of experts")
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=feedforward.d_ff,
            num_hidden_layers=config.num_layers,
            num_attention_heads=block.attention.num_heads,
            max_position_embeddings=config.context_length,
            tie_word_embeddings=config.tie_embeddings,
        )
    )


def make_step(
    model: torch.nn.Module,
    loss: Callable[..., Tensor],
    batch: tuple[Tensor, Tensor],
    dtype: torch.dtype,
) -> Callable[[], None]:
    """Return a function that trains one step."""
    device = batch[0].device
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            value = loss(*batch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def summarize(
    shape: tuple[int, ...],
    elapsed_s: dict[str, list[float]],
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, Any]:
    """Return medians, tokens a second, shares of the measured peak, and the bars."""
    median_s = {name: statistics.median(values) for name, values in elapsed_s.items()}
    tokens = shape[3] * shape[4]
    peak = find_peak_flops(device, dtype)
    flops = tokens * training_flops_per_token(make_config(shape), shape[3])
    bars = {
        name: {"bar": bar, "ratio": median_s[theirs] / median_s[ours]}
        for name, (ours, theirs, bar) in BARS.items()
        if ours in median_s and theirs in median_s
    }
    return {
        "median_s": median_s,
        "tokens_per_s": {name: tokens / seconds for name, seconds in median_s.items()},
        "share_of_peak": {
            name: flops / seconds / peak.flops_per_s for name, seconds in median_s.items()
        },
        "peak_flops": peak.flops_per_s,
        "peak_source": peak.source,
        "bars": bars,
    }


def show(numbers: dict[str, Any], first_call_s: dict[str, float]) -> None:
    """Print the table."""
    print(f"{'':24}{'s/step':>10}{'tokens/s':>12}{'of the peak':>13}{'first call s':>14}")
    for name, seconds in numbers["median_s"].items():
        print(
            f"{name:24}{seconds:10.4f}{numbers['tokens_per_s'][name]:12.0f}"
            f"{numbers['share_of_peak'][name]:13.1%}{first_call_s[name]:14.1f}"
        )
    print(f"peak {numbers['peak_flops'] / 1e9:.0f} GFLOP/s, {numbers['peak_source']}")
    for name, bar in numbers["bars"].items():
        print(f"{name}: {bar['ratio']:.2f} times as fast (bar {bar['bar']})")


if __name__ == "__main__":
    main()

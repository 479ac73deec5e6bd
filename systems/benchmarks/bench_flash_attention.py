"""Causal attention of a long sequence: our Triton kernels against torch's fused attention.

The setting is that of the course's leaderboard of 2025: one sequence of 16,384 positions, 16 heads
of width 64, bfloat16. Both run on the same tensors, in turns; their results are compared before
anything is timed. Needs only torch, triton, numpy, einops, jaxtyping, safetensors and regex::

    PYTHONPATH=shared/src:basics/src:systems/src python systems/benchmarks/bench_flash_attention.py
"""

import argparse
import os
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lm_basics.peak_flops import find_peak_flops
from lm_shared.config import to_dict
from lm_shared.files import write_json
from lm_shared.receipt import code_state, describe_hardware, installed_versions
from lm_shared.tensors import choose_device, device_slug, synchronizer
from lm_shared.timing import time_call, time_interleaved
from lm_systems.kernels.flash_attention import FlashAttention

# (batch, heads, positions, width of a head), and one that shows only that everything works.
SHAPES = {"full": (1, 16, 16_384, 64), "tiny": (1, 2, 96, 16)}
NAMES = ("batch", "num_heads", "context_length", "d_head")
# Of a forward pass two products of queries with keys, of a backward pass five.
PRODUCTS = {"forward": 2, "forward and backward": 7}
LARGEST_DIFFERENCE = 0.02
"""Of two results in bfloat16, relative to their length."""


def main() -> None:
    """Compare, measure, print a table and write the numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--tiny", action="store_true", help="small and interpreted, on a CPU")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    if options.tiny:
        # Before the kernels import Triton, at their first call.
        os.environ["TRITON_INTERPRET"] = "1"
    elif not torch.cuda.is_available():
        parser.exit(2, f"{parser.prog}: error: needs a GPU, and torch finds none\n")
    device = choose_device("cpu" if options.tiny else "cuda")
    shape = SHAPES["tiny" if options.tiny else "full"]
    # Interpreted, numbers of bfloat16 are cut.
    dtype = torch.float16 if options.tiny else torch.bfloat16
    functions = make_functions(shape, device, dtype)
    wait = synchronizer(device)
    first_call_s = {name: time_call(one, "wall", wait) for name, one in functions.items()}
    differences = compare(functions)
    elapsed_s = time_interleaved(
        functions, rounds=options.rounds, clock="wall", synchronize=wait, warm_up=3
    )
    numbers = summarize(shape, elapsed_s, device, dtype)
    show(numbers, differences)
    commit, is_modified = code_state()
    path = options.results / device_slug(device) / "flash_attention.json"
    write_json(
        path,
        {
            "shape": dict(zip(NAMES, shape, strict=True)),
            "dtype": str(dtype).removeprefix("torch."),
            **numbers,
            "differences": differences,
            "all_s": elapsed_s,
            "first_call_s": first_call_s,
            "versions": installed_versions(),
            "commit": commit,
            "is_modified": is_modified,
            "hardware": to_dict(describe_hardware()),
        },
    )
    print(f"wrote {path}")


def make_functions(
    shape: tuple[int, ...], device: torch.device, dtype: torch.dtype
) -> dict[str, Callable[[], list[Tensor]]]:
    """Return what to time by ``ours forward`` and so on; each returns what it computes."""
    generator = torch.Generator().manual_seed(0)
    *inputs, upstream = (
        torch.randn(shape, generator=generator).to(device, dtype) for _ in range(4)
    )
    leaves = [x.requires_grad_() for x in inputs]

    def forward(attention: Callable[..., Tensor]) -> list[Tensor]:
        with torch.no_grad():
            return [attention(*leaves)]

    def forward_and_backward(attention: Callable[..., Tensor]) -> list[Tensor]:
        o = attention(*leaves)
        return [o.detach(), *torch.autograd.grad(o, leaves, upstream)]

    def ours(*inputs: Tensor) -> Tensor:
        return FlashAttention.apply(*inputs, True)

    fused = partial(functional.scaled_dot_product_attention, is_causal=True)
    return {
        f"{who} {what}": partial(run, attention)
        for what, run in (("forward", forward), ("forward and backward", forward_and_backward))
        for who, attention in (("ours", ours), ("torch", fused))
    }


def compare(functions: dict[str, Callable[[], list[Tensor]]]) -> dict[str, float]:
    """Return how far the results are apart, relative to their length.

    Raises:
        ValueError: One is farther than rounding explains, or not finite.
    """
    ours, theirs = (functions[f"{who} forward and backward"]() for who in ("ours", "torch"))
    differences = {
        name: ((one.double() - other.double()).norm() / other.double().norm()).item()
        for name, one, other in zip(("o", "d_q", "d_k", "d_v"), ours, theirs, strict=True)
    }
    for name, difference in differences.items():
        # Written so that NaN fails.
        if not difference <= LARGEST_DIFFERENCE:
            raise ValueError(f"{name} differs from torch's by {difference}: nothing is timed")
    return differences


def summarize(
    shape: tuple[int, ...],
    elapsed_s: dict[str, list[float]],
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, Any]:
    """Return medians, speeds by the operations that a causal mask leaves, and ratios to torch."""
    median_s = {name: statistics.median(values) for name, values in elapsed_s.items()}
    batch, num_heads, length, d_head = shape
    # Half of all pairs of positions, two operations for each number of a head.
    product_flops = batch * num_heads * length**2 * d_head
    peak = find_peak_flops(device, dtype)
    return {
        "median_ms": {name: 1e3 * seconds for name, seconds in median_s.items()},
        "tflops_per_s": {
            name: PRODUCTS[name.split(maxsplit=1)[1]] * product_flops / seconds / 1e12
            for name, seconds in median_s.items()
        },
        "times_as_fast_as_torch": {
            what: median_s[f"torch {what}"] / median_s[f"ours {what}"] for what in PRODUCTS
        },
        "peak_flops": peak.flops_per_s,
        "peak_source": peak.source,
    }


def show(numbers: dict[str, Any], differences: dict[str, float]) -> None:
    """Print the table."""
    print(f"{'':28}{'ms':>10}{'TFLOP/s':>10}{'of the peak':>13}")
    for name, milliseconds in numbers["median_ms"].items():
        speed = numbers["tflops_per_s"][name]
        share = 1e12 * speed / numbers["peak_flops"]
        print(f"{name:28}{milliseconds:10.3f}{speed:10.1f}{share:13.1%}")
    for what, ratio in numbers["times_as_fast_as_torch"].items():
        print(f"{what}: {ratio:.2f} times as fast as torch")
    print("differences", ", ".join(f"{name} {one:.1e}" for name, one in differences.items()))


if __name__ == "__main__":
    main()

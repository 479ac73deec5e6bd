"""What devices can do at best.

Dense rates; NVIDIA's data sheets print twice as much, which needs sparse matrices.

======  ==============================================================================
A100    data sheet of the A100 80GB SXM (2021)
H100    architecture white paper, Table 1, H100 SXM (2022)
H200    data sheet of the H200 SXM (2024), whose rates are the H100's
B200    Blackwell architecture brief, HGX B200, and data sheet of the DGX B200 (2024),
        whose 1,440 GB and 64 TB/s are those of eight
======  ==============================================================================

A CPU has no such sheet: ``measure_cpu`` times it.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import torch

MatmulDtype = Literal["float32", "tfloat32", "bfloat16", "float8"]
"""Types of matrix products; ``tfloat32`` is how tensor cores multiply float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One accelerator."""

    name: str
    """What it is called."""
    flops_per_s: Mapping[MatmulDtype, float]
    """Peak rate of matrix products by type."""
    memory_bytes: float
    """Size of its memory."""
    bytes_per_s: float
    """Rate of reading that memory."""

    def peak(self, dtype: MatmulDtype) -> float:
        """Return the peak rate of a type, in FLOP/s.

        Raises:
            ValueError: The device has no rate for the type.
        """
        if dtype not in self.flops_per_s:
            raise ValueError(f"{self.name} has no rate for {dtype}: {', '.join(self.flops_per_s)}")
        return self.flops_per_s[dtype]


_COPIED_BYTES = 64 << 20
_SMALLEST_PRODUCT, _LARGEST_PRODUCT = 128, 2048
_LEAST_DURATION_S = 0.01

DEVICES: Mapping[str, Device] = {
    "a100": Device(
        name="NVIDIA A100 SXM 80 GB",
        flops_per_s={"float32": 19.5e12, "tfloat32": 156e12, "bfloat16": 312e12},
        memory_bytes=80e9,
        bytes_per_s=2.039e12,
    ),
    "h100": Device(
        name="NVIDIA H100 SXM 80 GB",
        flops_per_s={
            "float32": 66.9e12,
            "tfloat32": 494.7e12,
            "bfloat16": 989.4e12,
            "float8": 1978.9e12,
        },
        memory_bytes=80e9,
        bytes_per_s=3.35e12,
    ),
    "h200": Device(
        name="NVIDIA H200 SXM 141 GB",
        flops_per_s={
            "float32": 66.9e12,
            "tfloat32": 494.7e12,
            "bfloat16": 989.4e12,
            "float8": 1978.9e12,
        },
        memory_bytes=141e9,
        bytes_per_s=4.8e12,
    ),
    "b200": Device(
        name="NVIDIA B200 180 GB",
        flops_per_s={
            "float32": 80e12,
            "tfloat32": 1100e12,
            "bfloat16": 2250e12,
            "float8": 4500e12,
        },
        memory_bytes=180e9,
        bytes_per_s=8e12,
    ),
}


def find_device(name: str) -> Device:
    """Return a device by its name; ``cpu`` is this machine, measured in a second or two.

    Raises:
        ValueError: There is no such device; the message holds the nearest name.
    """
    if name.lower() == "cpu":
        return measure_cpu()
    if name.lower() in DEVICES:
        return DEVICES[name.lower()]
    names = [*DEVICES, "cpu"]
    nearest = get_close_matches(name.lower(), names, n=1, cutoff=0.0)[0]
    raise ValueError(f"no device {name!r}: did you mean {nearest}? There are {', '.join(names)}")


def measure_cpu(*, seconds: float = 0.3) -> Device:
    """Time products and copies on this machine, with the threads that torch uses now.

    Args:
        seconds: Time of each measurement; the fastest repetition counts.
    """
    # Larger than the caches; what is copied is read and written.
    source = torch.zeros(_COPIED_BYTES, dtype=torch.uint8)
    target = torch.empty_like(source)
    bytes_per_s = 2 * source.nbytes / _fastest(lambda: target.copy_(source), seconds)
    threads = torch.get_num_threads()
    return Device(
        name=f"this CPU, {threads} thread{'s' * (threads != 1)}, measured",
        flops_per_s={
            "float32": _measure_products(torch.float32, seconds),
            "bfloat16": _measure_products(torch.bfloat16, seconds),
        },
        memory_bytes=float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        bytes_per_s=bytes_per_s,
    )


def _measure_products(dtype: torch.dtype, seconds: float) -> float:
    """Return the FLOP/s of square products, of a size that is slow enough to be timed."""
    size = _SMALLEST_PRODUCT
    # Not the largest at once: without instructions for bfloat16, 1,024 rows take seconds.
    while True:
        a, b = torch.randn(2, size, size).to(dtype)
        duration_s = _fastest(lambda a=a, b=b: a @ b, 0.0)
        if duration_s >= _LEAST_DURATION_S or size >= _LARGEST_PRODUCT:
            return 2 * size**3 / _fastest(lambda a=a, b=b: a @ b, seconds)
        size *= 2


def _fastest(call: Callable[[], object], seconds: float) -> float:
    """Return the least duration of one call, in seconds; the first one is not counted."""
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best

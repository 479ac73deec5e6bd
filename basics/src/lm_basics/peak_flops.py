"""What a device could do at best: its peak in matrix products, to compare a training with.

For GPUs that are listed it is the manufacturer's number for dense products with 16-bit inputs; for
all else it is measured.
"""

import time
from dataclasses import dataclass

import torch

# Dense bfloat16 with float32 accumulation, from the data sheets; the first name that fits counts.
_BFLOAT16_PEAKS = (
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("H200", 989e12),
    ("GH200", 989e12),
    ("B200", 2250e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("L4", 121e12),
)
_MEASURED_S = 0.2
_LEAST_ROUNDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class PeakFlops:
    """Floating-point operations a second, and where the number comes from."""

    flops_per_s: float
    """The peak."""
    source: str
    """``data sheet of …`` or ``measured …``."""


def find_peak_flops(device: torch.device, dtype: torch.dtype) -> PeakFlops:
    """Return the device's peak for products of ``dtype``: listed, or else measured now."""
    if device.type == "cuda" and dtype in (torch.bfloat16, torch.float16):
        listed = listed_peak(torch.cuda.get_device_name(device))
        if listed is not None:
            return listed
    size = 1024 if device.type == "cpu" else 4096
    return PeakFlops(
        flops_per_s=measure_matmul(device, dtype, size=size),
        source=f"measured product of {size:,} x {size:,} matrices",
    )


def listed_peak(gpu_name: str) -> PeakFlops | None:
    """Return the 16-bit peak of a GPU by its name, or None if it is not listed."""
    words = set(gpu_name.replace("-", " ").split())
    # A slice of a GPU (MIG) carries the name of the whole.
    listed = () if "MIG" in words else _BFLOAT16_PEAKS
    for name, flops_per_s in listed:
        if set(name.split()) <= words:
            return PeakFlops(flops_per_s=flops_per_s, source=f"data sheet of {name}")
    return None


def measure_matmul(device: torch.device, dtype: torch.dtype, *, size: int) -> float:
    """Return the FLOPs a second of the fastest of some products of two square matrices.

    It takes about a fifth of a second and leaves the random state alone.
    """
    a = torch.full((size, size), 0.5, dtype=dtype, device=device)
    fastest_s = torch.inf
    began_at = time.perf_counter()
    num_rounds = 0
    while num_rounds < _LEAST_ROUNDS or time.perf_counter() - began_at < _MEASURED_S:
        start_s = time.perf_counter()
        # One number comes back to the CPU, so the device has finished.
        (a @ a)[0, 0].item()
        fastest_s = min(fastest_s, time.perf_counter() - start_s)
        num_rounds += 1
    return 2 * size**3 / fastest_s

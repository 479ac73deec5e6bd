"""What the device at hand does at best, to compare a training or an estimate with.

For GPUs that are listed it is the maker's number for dense products with 16-bit inputs; for all
else it is measured.
"""

import os
from dataclasses import dataclass

import torch

from lm_shared.devices import Device, listed_device
from lm_shared.timing import fastest_s

_MEASURED_S = 0.2
_COPIED_BYTES = 64 << 20
_SMALLEST_PRODUCT, _LARGEST_PRODUCT = 128, 2048
_LEAST_DURATION_S = 0.01


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
        listed = listed_device(torch.cuda.get_device_name(device))
        if listed is not None:
            source = f"data sheet of {listed.name}"
            return PeakFlops(flops_per_s=listed.peak("bfloat16"), source=source)
    size = 1024 if device.type == "cpu" else 4096
    return PeakFlops(
        flops_per_s=measure_matmul(device, dtype, size=size),
        source=f"measured product of {size:,} x {size:,} matrices",
    )


def measure_cpu(*, seconds: float = 0.3) -> Device:
    """Time products and copies on this machine, with the threads that torch uses now.

    Args:
        seconds: Time of each measurement; the fastest repetition counts.
    """
    # Larger than the caches; what is copied is read and written.
    source = torch.zeros(_COPIED_BYTES, dtype=torch.uint8)
    target = torch.empty_like(source)
    copy_s = fastest_s(lambda: target.copy_(source), seconds=seconds)
    threads = torch.get_num_threads()
    return Device(
        name=f"this CPU, {threads} thread{'s' * (threads != 1)}, measured",
        flops_per_s={
            "float32": _measure_products(torch.float32, seconds),
            "bfloat16": _measure_products(torch.bfloat16, seconds),
        },
        memory_bytes=float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        bytes_per_s=2 * source.nbytes / copy_s,
    )


def measure_matmul(
    device: torch.device, dtype: torch.dtype, *, size: int, seconds: float = _MEASURED_S
) -> float:
    """Return the FLOPs a second of the fastest of some products of two square matrices.

    It leaves the random state alone.
    """
    a = torch.full((size, size), 0.5, dtype=dtype, device=device)

    def multiply() -> None:
        # One number comes back to the CPU, so the device has finished.
        (a @ a)[0, 0].item()

    return 2 * size**3 / fastest_s(multiply, seconds=seconds)


def _measure_products(dtype: torch.dtype, seconds: float) -> float:
    """Return the FLOP/s of square products on the CPU, of a size that is slow enough to be timed.

    Not the largest at once: without instructions for bfloat16, 1,024 rows take seconds.
    """
    cpu, size = torch.device("cpu"), _SMALLEST_PRODUCT
    while size < _LARGEST_PRODUCT:
        speed = measure_matmul(cpu, dtype, size=size, seconds=0.0)
        if 2 * size**3 / speed >= _LEAST_DURATION_S:
            break
        size *= 2
    return measure_matmul(cpu, dtype, size=size, seconds=seconds)

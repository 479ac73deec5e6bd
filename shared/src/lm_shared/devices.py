"""What accelerators can do at best, from their makers' data sheets.

Dense rates; NVIDIA's data sheets print twice as much, which needs sparse matrices.

======  ==============================================================================
A100    data sheet of the A100 80GB SXM (2021)
H100    architecture white paper, Table 1, H100 SXM (2022); data sheets of PCIe and NVL
H200    data sheet of the H200 SXM (2024), whose rates are the H100's
GH200   data sheet of the Grace Hopper superchip with 96 GB (2023)
B200    Blackwell architecture brief, HGX B200, and data sheet of the DGX B200 (2024),
        whose 1,440 GB and 64 TB/s are those of eight
L40S    data sheet (2023)
L4      data sheet (2023)
======  ==============================================================================

A CPU has no such sheet: ``lm_basics.peak_flops`` times it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

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


_HOPPER_SXM: Mapping[MatmulDtype, float] = {
    "float32": 66.9e12,
    "tfloat32": 494.7e12,
    "bfloat16": 989.4e12,
    "float8": 1978.9e12,
}

DEVICES: Mapping[str, Device] = {
    "a100": Device(
        name="NVIDIA A100 SXM 80 GB",
        flops_per_s={"float32": 19.5e12, "tfloat32": 156e12, "bfloat16": 312e12},
        memory_bytes=80e9,
        bytes_per_s=2.039e12,
    ),
    "h100": Device(
        name="NVIDIA H100 SXM 80 GB",
        flops_per_s=_HOPPER_SXM,
        memory_bytes=80e9,
        bytes_per_s=3.35e12,
    ),
    "h100-pcie": Device(
        name="NVIDIA H100 PCIe 80 GB",
        flops_per_s={
            "float32": 51e12,
            "tfloat32": 378e12,
            "bfloat16": 756e12,
            "float8": 1513e12,
        },
        memory_bytes=80e9,
        bytes_per_s=2e12,
    ),
    "h100-nvl": Device(
        name="NVIDIA H100 NVL 94 GB",
        flops_per_s={
            "float32": 60e12,
            "tfloat32": 417e12,
            "bfloat16": 835e12,
            "float8": 1670e12,
        },
        memory_bytes=94e9,
        bytes_per_s=3.9e12,
    ),
    "h200": Device(
        name="NVIDIA H200 SXM 141 GB",
        flops_per_s=_HOPPER_SXM,
        memory_bytes=141e9,
        bytes_per_s=4.8e12,
    ),
    "gh200": Device(
        name="NVIDIA GH200 96 GB",
        flops_per_s=_HOPPER_SXM,
        memory_bytes=96e9,
        bytes_per_s=4e12,
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
    "l40s": Device(
        name="NVIDIA L40S 48 GB",
        flops_per_s={
            "float32": 91.6e12,
            "tfloat32": 183e12,
            "bfloat16": 362e12,
            "float8": 733e12,
        },
        memory_bytes=48e9,
        bytes_per_s=0.864e12,
    ),
    "l4": Device(
        name="NVIDIA L4 24 GB",
        flops_per_s={
            "float32": 30.3e12,
            "tfloat32": 60e12,
            "bfloat16": 121e12,
            "float8": 242e12,
        },
        memory_bytes=24e9,
        bytes_per_s=0.3e12,
    ),
}


def find_device(name: str) -> Device:
    """Return a device by its name in ``DEVICES``.

    Raises:
        ValueError: There is no such device; the message holds the nearest name.
    """
    if name.lower() in DEVICES:
        return DEVICES[name.lower()]
    nearest = get_close_matches(name.lower(), DEVICES, n=1, cutoff=0.0)[0]
    raise ValueError(f"no device {name!r}: did you mean {nearest}? There are {', '.join(DEVICES)}")


def listed_device(gpu_name: str) -> Device | None:
    """Return the device behind a name that CUDA gives, or None if it is not listed.

    The device with the most words in the name counts: ``NVIDIA H100 PCIe`` is no ``H100`` SXM.
    """
    words = set(gpu_name.lower().replace("-", " ").split())
    # A slice of a GPU (MIG) carries the name of the whole.
    if "mig" in words:
        return None
    found = [key for key in DEVICES if set(key.split("-")) <= words]
    return DEVICES[max(found, key=len)] if found else None

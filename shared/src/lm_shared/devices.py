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


_TYPES: tuple[MatmulDtype, ...] = ("float32", "tfloat32", "bfloat16", "float8")
_HOPPER_SXM = (66.9, 494.7, 989.4, 1978.9)
# Key, name, GB of memory, TB/s, and TFLOP/s of the types above.
_DATA_SHEETS = (
    ("a100", "NVIDIA A100 SXM 80 GB", 80, 2.039, (19.5, 156, 312)),
    ("h100", "NVIDIA H100 SXM 80 GB", 80, 3.35, _HOPPER_SXM),
    ("h100-pcie", "NVIDIA H100 PCIe 80 GB", 80, 2, (51, 378, 756, 1513)),
    ("h100-nvl", "NVIDIA H100 NVL 94 GB", 94, 3.9, (60, 417, 835, 1670)),
    ("h200", "NVIDIA H200 SXM 141 GB", 141, 4.8, _HOPPER_SXM),
    ("gh200", "NVIDIA GH200 96 GB", 96, 4, _HOPPER_SXM),
    ("b200", "NVIDIA B200 180 GB", 180, 8, (80, 1100, 2250, 4500)),
    ("l40s", "NVIDIA L40S 48 GB", 48, 0.864, (91.6, 183, 362, 733)),
    ("l4", "NVIDIA L4 24 GB", 24, 0.3, (30.3, 60, 121, 242)),
)

DEVICES: Mapping[str, Device] = {
    key: Device(
        name=name,
        # Whole numbers, which products of 1e12 and a fraction are not always.
        flops_per_s={t: float(round(x * 1e12)) for t, x in zip(_TYPES, rates, strict=False)},
        memory_bytes=size * 1e9,
        bytes_per_s=float(round(speed * 1e12)),
    )
    for key, name, size, speed, rates in _DATA_SHEETS
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

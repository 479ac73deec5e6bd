"""Where tensors live: device, number format and random state."""

import importlib.util
import logging
import os
import random
import shutil
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from lm_shared.config import DeviceName, DtypeName

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
logger = logging.getLogger(__name__)

# NumPy's global generator takes 32 bits; torch and Python would take more.
_MAX_SEED = 2**32 - 1


def seed_everything(seed: int) -> None:
    """Set the random state of Python, NumPy and torch, on every device.

    Raises:
        ValueError: ``seed`` is outside of what all three accept.
    """
    if not 0 <= seed <= _MAX_SEED:
        raise ValueError(f"seed must lie between 0 and {_MAX_SEED}, got {seed}")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries that use the global generator must repeat too
    torch.manual_seed(seed)


def require_determinism() -> None:
    """Make this process give the same bits every time on the same machine.

    Without it, the gradient of an embedding adds up in the order in which threads arrive. An
    operation that has no deterministic form on this device raises a ``RuntimeError`` from now on.
    """
    # Read by cuBLAS when it starts; without it two equal products may differ in their last bits.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # The same as torch.use_deterministic_algorithms, without importing seconds of torch's compiler.
    torch.set_deterministic_debug_mode("error")
    # Filling fresh memory finds reads of uninitialized values; it changes no result and costs time.
    settings: Any = torch.utils.deterministic
    settings.fill_uninitialized_memory = False


def compile_for_one_shape(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``torch.compile`` of the function, deterministic if this process must be so."""
    if torch.are_deterministic_algorithms_enabled():
        # Tells the compiler as well.
        torch.use_deterministic_algorithms(True)
    # The compiler loads what builds extensions, which warns of a CUDA toolkit without a GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    return torch.compile(function, dynamic=False)


def choose_device(name: DeviceName = "auto") -> torch.device:
    """Return the named device; ``"auto"`` is the first there is of CUDA, MPS and the CPU.

    Raises:
        ValueError: this machine has no such device.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(candidate for candidate in ("cuda", "mps", "cpu") if available[candidate])
    if name not in available:
        raise ValueError(f"device must be one of {['auto', *available]}, got {name!r}")
    if not available[name]:
        found = [candidate for candidate, is_there in available.items() if is_there]
        raise ValueError(f"device {name!r} was asked for, but this machine only has {found}")
    return torch.device(name)


@cache
def has_triton() -> bool:
    """Tell whether kernels in Triton can be used; warn once where only their compiler is missing.

    On some systems torch comes without Triton, and Triton needs a C compiler for its launcher.
    """
    if importlib.util.find_spec("triton") is None:
        return False
    if any(map(shutil.which, ("gcc", "clang"))):
        return True
    logger.warning("there is no gcc or clang, which Triton needs: slower operations are used")
    return False


def device_slug(device: torch.device) -> str:
    """Return the device's name as a name for a folder: ``cpu``, ``NVIDIA-H100-80GB-HBM3``."""
    if device.type != "cuda":
        return device.type
    return torch.cuda.get_device_name(device).replace(" ", "-")


def choose_dtype(name: DtypeName, device: torch.device) -> torch.dtype:
    """Return the named dtype; ``"auto"`` is bfloat16 where hardware multiplies it fast.

    That is: on CUDA devices with native support, and on CPUs with AMX. On a CPU without AMX
    bfloat16 products are slower than float32 ones.

    Raises:
        ValueError: the name is unknown.
    """
    if name == "auto":
        return torch.bfloat16 if _has_fast_bfloat16(device) else torch.float32
    if name not in _DTYPES:
        raise ValueError(f"dtype must be one of {['auto', *_DTYPES]}, got {name!r}")
    return _DTYPES[name]


def _has_fast_bfloat16(device: torch.device) -> bool:
    # Older devices emulate bfloat16, slower than float32 that they have.
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()


def synchronizer(device: torch.device) -> Callable[[], None] | None:
    """Return a function that waits until a device has done all that it was told, None for a CPU."""
    return None if device.type == "cpu" else partial(torch.accelerator.synchronize, device)

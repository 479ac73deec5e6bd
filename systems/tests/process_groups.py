"""Groups of processes for tests: forked, so that they start in a tenth of a second."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes


def run_group(function: Callable[..., None], size: int, folder: Path, *arguments: Any) -> None:
    """Run ``function(*arguments)`` in ``size`` processes that know each other.

    An error or a warning in one of them is an error here.
    """
    start_processes(
        _run,
        args=(function, size, folder, arguments),
        nprocs=size,
        start_method="fork",
    )


def _run(
    rank: int, function: Callable[..., None], size: int, folder: Path, arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    address = f"file://{folder / f'group-of-{size}'}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=size)
    try:
        torch.manual_seed(0)
        function(*arguments)
    finally:
        dist.destroy_process_group()

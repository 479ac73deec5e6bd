"""Groups of processes for tests: forked, so that they start in a tenth of a second."""

import multiprocessing
import os
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from lm_systems.parallel.team import join


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


def run_team(function: Callable[..., None], size: int, *arguments: Any) -> list[int | None]:
    """Run ``function(team, *arguments)`` in processes that watch each other; return exit codes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_join_and_run, args=(rank, size, port, function, arguments))
        for rank in range(size)
    ]
    for one in processes:
        one.start()
    for one in processes:
        one.join(60)
    return [one.exitcode for one in processes]


def _join_and_run(
    rank: int, size: int, port: int, function: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ |= {name: str(one) for name, one in names.items()} | {"MASTER_ADDR": "127.0.0.1"}
    with join(os.environ) as team:
        function(team, *arguments)

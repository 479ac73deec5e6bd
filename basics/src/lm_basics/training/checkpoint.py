"""Checkpoints of a model and its optimizer, at a path or in an open file."""

import os
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from lm_basics.training.snapshot import Stateful, pack, restore, unpack
from lm_shared.files import write_bytes


@runtime_checkable
class BinaryFile(Protocol):
    """An open binary file, on disk or in memory."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next ``size`` bytes, or all that are left."""
        ...

    def write(self, data: bytes, /) -> int:
        """Append ``data``."""
        ...


def save_checkpoint(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    iteration: int,
    out: os.PathLike[str] | str | BinaryFile,
    *,
    config_hash: str = "",
) -> None:
    """Write model, optimizer state and iteration.

    Args:
        model: Whatever has a ``state_dict`` of tensors.
        optimizer: Its state may hold tensors and JSON values.
        iteration: Steps done.
        out: A path, written atomically, or a binary file.
        config_hash: Identity of the run, checked when loading.
    """
    data = pack(
        {"model": model, "optimizer": optimizer},
        {"iteration": iteration, "config_hash": config_hash},
    )
    if isinstance(out, str | os.PathLike):
        write_bytes(Path(out), data)
    else:
        out.write(data)


def load_checkpoint(
    src: os.PathLike[str] | str | BinaryFile,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    config_hash: str = "",
) -> int:
    """Restore what ``save_checkpoint`` or a training run wrote, in place; return the iteration.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is torn, no checkpoint, of another model, or of another run.
    """
    is_path = isinstance(src, str | os.PathLike)
    name = str(src) if is_path else "the checkpoint"
    data = Path(src).read_bytes() if is_path else src.read()
    states, about = unpack(data, name)
    if config_hash:
        check_identity(about["config_hash"], config_hash, name)
    parts: dict[str, Stateful] = {"model": model}
    if optimizer is not None:
        parts["optimizer"] = optimizer
    restore(parts, states, name)
    return int(about["iteration"])


def check_identity(found: str, expected: str, name: str) -> None:
    """Raise ``ValueError`` where the checkpoint ``name`` belongs to another run."""
    if found != expected:
        raise ValueError(
            f"{name} belongs to another configuration ({found}, expected {expected}): "
            "choose another folder or delete it"
        )

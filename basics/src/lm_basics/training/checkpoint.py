"""Checkpoints: model and optimizer in one safetensors file, never a pickle."""

import json
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from lm_shared.files import write_bytes

_FORMAT = "lm-checkpoint-1"


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
    out: Path | str | BinaryFile,
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
    tensors = {f"model.{name}": _to_saved(value) for name, value in model.state_dict().items()}
    state = optimizer.state_dict()
    plain: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = _to_saved(value)
            else:
                plain.setdefault(str(index), {})[key] = value
    description = {
        "format": _FORMAT,
        "iteration": iteration,
        "config_hash": config_hash,
        "optimizer_state": plain,
        "param_groups": state["param_groups"],
    }
    data = safetensors.torch.save(tensors, {"checkpoint": json.dumps(description)})
    if isinstance(out, Path | str):
        write_bytes(Path(out), data)
    else:
        out.write(data)


def load_checkpoint(
    src: Path | str | BinaryFile,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    config_hash: str = "",
) -> int:
    """Restore what ``save_checkpoint`` wrote, in place, and return the iteration.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is torn, no checkpoint, of another model, or of another run.
    """
    name = str(src) if isinstance(src, Path | str) else "the checkpoint"
    data = Path(src).read_bytes() if isinstance(src, Path | str) else src.read()
    description = _read_description(data, name)
    if config_hash and description["config_hash"] != config_hash:
        raise ValueError(
            f"{name} belongs to another configuration ({description['config_hash']}, "
            f"expected {config_hash}): choose another folder or delete it"
        )
    tensors = safetensors.torch.load(data)
    try:
        model.load_state_dict(
            {key.removeprefix("model."): v for key, v in tensors.items() if key[:6] == "model."}
        )
    except RuntimeError as error:
        raise ValueError(f"{name} does not fit the model: {error}") from error
    if optimizer is not None:
        optimizer.load_state_dict(_optimizer_state(description, tensors))
    return int(description["iteration"])


def _read_description(data: bytes, name: str) -> dict[str, Any]:
    try:
        length = int.from_bytes(data[:8], "little")
        safetensors.deserialize(data)
        description = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["checkpoint"])
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{name} is no whole checkpoint ({error}): delete it") from error
    if description.get("format") != _FORMAT:
        raise ValueError(f"{name} has format {description.get('format')}, expected {_FORMAT}")
    return description


def _optimizer_state(description: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {
        int(index): dict(values) for index, values in description["optimizer_state"].items()
    }
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    return {"state": state, "param_groups": description["param_groups"]}


def _to_saved(value: Tensor) -> Tensor:
    # A copy of its own: safetensors refuses tensors that share memory, as tied weights do.
    return value.detach().to("cpu", copy=True).contiguous()

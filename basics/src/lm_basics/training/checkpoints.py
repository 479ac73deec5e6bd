"""Checkpoints of a model and its optimizer, and those of one run: the last few, and the best one.

A run's checkpoint of step 120 is ``step-00000120.safetensors``. It appears whole or not at all, and
older ones go only when it is on the disk, so that a kill at any moment leaves one to go on from.
"""

import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import nn

from lm_basics.training.snapshot import (
    Stateful,
    TornSnapshotError,
    check_states,
    pack,
    read_about,
    restore,
    unpack,
)
from lm_shared.files import write_bytes

_logger = logging.getLogger(__name__)

FOLDER_NAME = "checkpoints"
EMA_PART = "ema"

KeyT = TypeVar("KeyT")


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


class CheckpointFolder:
    """Saves, finds and removes a run's checkpoints."""

    def __init__(
        self,
        path: Path,
        *,
        identity: str,
        keep: int = 1,
        keep_best: bool = False,
        is_writer: bool = True,
    ) -> None:
        """Look at nothing yet.

        Args:
            path: The folder, made when the first checkpoint is saved.
            identity: Hash of the run's configuration; a checkpoint of another one is refused.
            keep: How many of the last ones stay.
            keep_best: Whether that with the lowest validation loss stays, too.
            is_writer: Whether this process writes them, and not another one of the same run.
        """
        self.path, self.identity, self.keep, self.keep_best = path, identity, keep, keep_best
        self.is_writer = is_writer
        self.is_cut_short = False
        """Whether what follows the step of the newest checkpoint is still to be done."""
        self._losses: dict[int, float | None] = {}
        """Validation loss, where there is one, of each whole checkpoint by its step."""

    def load(self, parts: Mapping[str, Stateful]) -> int:
        """Restore the newest checkpoint and return its step, or 0 where there is none.

        Where the newest is torn, a warning names it and the run goes on from the one before. That
        is safe: the steps in between come out the same again.

        Raises:
            ValueError: One belongs to another run, does not fit, or all are torn.
        """
        paths = _find(self.path)
        for place, path in enumerate(reversed(paths), start=1):
            try:
                states, about = unpack(path.read_bytes(), str(path))
            except TornSnapshotError as error:
                if place == len(paths):
                    raise
                _logger.warning("%s; going on from the checkpoint before it", error)
                continue
            step = self._check(about, path)
            restore(parts, states, str(path))
            self._losses = self._read_losses(paths[: len(paths) - place + 1])
            self.is_cut_short = about.get("is_cut_short", False)
            return step
        return 0

    def save(
        self,
        step: int,
        parts: Mapping[str, Stateful],
        *,
        val_loss: float | None = None,
        is_extra: bool = False,
        is_cut_short: bool = False,
    ) -> None:
        """Write a checkpoint, then remove those that are neither new nor good enough.

        Args:
            step: Steps done.
            parts: The state.
            val_loss: Validation loss, where there is one.
            is_extra: Whether it stands in for the next one, extra too or not, which removes it, and
                takes the place of none.
            is_cut_short: Whether an error ended what follows the step, such as its validation.
        """
        about = {
            "iteration": step,
            "config_hash": self.identity,
            "val_loss": val_loss,
            "is_extra": is_extra,
            "is_cut_short": is_cut_short,
        }
        if self.is_writer:
            write_bytes(self.path / _name(step), pack(parts, about))
        else:
            # What the processes share, they have to gather together.
            check_states(parts)
        self.is_cut_short = is_cut_short
        if not is_extra:
            self._losses[step] = val_loss
        kept = {step, *sorted(self._losses)[-self.keep :]}
        if self.keep_best and (best := _best(self._losses)) is not None:
            kept.add(best)
        # Torn ones are removed here as well: they are not among the losses.
        for path in _find(self.path) if self.is_writer else ():
            if path.name not in map(_name, kept):
                path.unlink()
        self._losses = {step: loss for step, loss in self._losses.items() if step in kept}

    def would_be_best(self, val_loss: float) -> bool:
        """Tell whether a checkpoint with this loss has to be saved because it is the best."""
        others = [loss for loss in self._losses.values() if loss is not None]
        return self.keep_best and val_loss < min(filter(math.isfinite, others), default=math.inf)

    def _check(self, about: Mapping[str, Any], path: Path) -> int:
        check_identity(about["config_hash"], self.identity, str(path))
        step = int(about["iteration"])
        if path.name != _name(step):
            raise ValueError(f"{path} holds step {step}: it was renamed, delete it")
        return step

    def _read_losses(self, paths: list[Path]) -> dict[int, float | None]:
        losses: dict[int, float | None] = {}
        for path in paths:
            try:
                about = read_about(path)
            except TornSnapshotError as error:
                _logger.warning("%s; it is not needed", error)
                continue
            step = self._check(about, path)
            if not about.get("is_extra", False):
                losses[step] = about["val_loss"]
        return losses


def load_best_weights(run_folder: Path, model: nn.Module) -> int:
    """Give ``model`` the weights of a run's checkpoint with the lowest validation loss.

    They are the averaged ones where the run averages its weights: those were validated.

    Returns:
        Steps after which they were saved.

    Raises:
        FileNotFoundError: No checkpoint was saved together with a validation loss.
        ValueError: A checkpoint is torn, or of another model.
    """
    losses = {path: read_about(path)["val_loss"] for path in _find(run_folder / FOLDER_NAME)}
    path = _best(losses)
    if path is None:
        raise FileNotFoundError(
            f"{run_folder / FOLDER_NAME} holds no checkpoint with a validation loss: train with "
            "keep_best=True and validate_every=STEPS"
        )
    states, about = unpack(path.read_bytes(), str(path))
    # The averages name parameters only: whatever else a model's state holds comes from the model.
    average = states.get(EMA_PART, {}).get("averages", {})
    restore({"model": model}, {"model": states["model"] | average}, str(path))
    return int(about["iteration"])


def _best(losses: Mapping[KeyT, float | None]) -> KeyT | None:
    """Return the key of the lowest finite loss, the first of equals."""
    finite = {key: one for key, one in losses.items() if one is not None and math.isfinite(one)}
    return min(finite, key=finite.__getitem__) if finite else None


def _find(folder: Path) -> list[Path]:
    """Return the checkpoints from old to new."""
    return sorted(folder.glob("step-*.safetensors"))


def _name(step: int) -> str:
    return f"step-{step:08d}.safetensors"

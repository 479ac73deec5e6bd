"""TensorBoard and Weights & Biases for ``basics train``, opened when there is something to write.

Opened earlier, they would leave traces of a run that cannot begin, and could not know the step
that it goes on from.
"""

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lm_shared.files import read_json, write_json
from lm_shared.metrics import MetricsSink, Value
from lm_shared.runs import CONFIG_NAME
from lm_shared.sinks import TensorBoardSink, WandbSink, require_sink


class LateSink:
    """Opens a sink at its first line."""

    def __init__(self, open_sink: Callable[[int], MetricsSink]) -> None:
        """Remember how: ``open_sink`` is given the step before that line."""
        self._open_sink = open_sink
        self._sink: MetricsSink | None = None

    def write(self, step: int, values: Mapping[str, Value]) -> None:
        """Pass the values on."""
        if self._sink is None:
            self._sink = self._open_sink(step - 1)
        self._sink.write(step, values)

    def close(self) -> None:
        """Close the sink if it was opened."""
        if self._sink is not None:
            self._sink.close()


def chosen_sinks(folder: Path, *, tensorboard: bool, wandb: str | None) -> list[MetricsSink]:
    """Return the sinks of a run folder.

    Args:
        folder: The run folder; the sinks' own files go into folders of it.
        tensorboard: Whether to write TensorBoard's files.
        wandb: Project at Weights & Biases.

    Raises:
        ValueError: a package is not installed.
    """
    sinks: list[MetricsSink] = []
    if tensorboard:
        require_sink("tensorboard")
        sinks.append(
            LateSink(lambda step: TensorBoardSink(folder / "tensorboard", resumed_at=step or None))
        )
    if wandb is not None:
        require_sink("wandb")
        sinks.append(LateSink(lambda _: _open_wandb(wandb, folder)))
    return sinks


def _open_wandb(project: str, folder: Path) -> WandbSink:
    config: dict[str, Any] = read_json(folder / CONFIG_NAME)
    path = folder / "wandb" / "run.json"
    # A resumed run goes on under the name of its first process.
    if not path.is_file():
        write_json(path, {"id": secrets.token_hex(8)})
    run_id = read_json(path)["id"]
    return WandbSink(project, folder / "wandb", config, run_id=run_id, mode="online")

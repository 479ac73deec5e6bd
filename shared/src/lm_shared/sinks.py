"""Optional second places for metrics; ``metrics.jsonl`` stays the record.

Each needs an extra of this package and says so when it is absent.
"""

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lm_shared.metrics import Value


class TensorBoardSink:
    """Writes event files that ``tensorboard --logdir`` shows.

    ``resumed_at`` is the step that a resumed run goes on from: TensorBoard hides later points of
    the interrupted one.

    Raises:
        ValueError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path | str, *, resumed_at: int | None = None) -> None:
        try:
            tensorboard = importlib.import_module("torch.utils.tensorboard")
        except ImportError as error:
            raise _missing_extra("tensorboard") from error
        purge_step = None if resumed_at is None else resumed_at + 1
        self._writer = tensorboard.SummaryWriter(str(folder), purge_step=purge_step)

    def write(self, step: int, values: Mapping[str, Value]) -> None:
        """Write numbers as scalars and strings as text."""
        for name, value in values.items():
            if isinstance(value, str):
                self._writer.add_text(name, value, step)
            elif value is not None:
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is still held back."""
        self._writer.close()


class WandbSink:
    """Sends metrics to Weights & Biases; ``mode="offline"`` keeps them in ``folder``.

    A run that resumes under the same ``run_id`` goes on in the same place.

    Raises:
        ValueError: W&B is not installed.
    """

    def __init__(
        self,
        project: str,
        folder: Path | str,
        config: Mapping[str, Any],
        *,
        run_id: str | None = None,
        mode: Literal["online", "offline"] = "offline",
    ) -> None:
        try:
            wandb = importlib.import_module("wandb")
        except ImportError as error:
            raise _missing_extra("wandb") from error
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=project,
            dir=str(folder),
            config=dict(config),
            id=run_id,
            resume="allow",
            mode=mode,
        )

    def write(self, step: int, values: Mapping[str, Value]) -> None:
        """Log the values of one step."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def require_sink(name: Literal["tensorboard", "wandb"]) -> None:
    """Check that a sink's package is there, for a run that opens the sink later.

    Raises:
        ValueError: it is not installed.
    """
    if importlib.util.find_spec(name) is None:
        raise _missing_extra(name)


def _missing_extra(name: str) -> ValueError:
    return ValueError(
        f"{name} is not installed: add the extra, by uv run --extra {name} in the workspace, or "
        f"elsewhere by pip install 'lm-shared[{name}]'"
    )

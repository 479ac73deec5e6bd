"""The record of a run over time: ``metrics.jsonl``, one JSON object a line.

Every line has ``step``, ``elapsed_s`` and the values of that step. The file only grows, so a killed
process can damage nothing but its last line; opening the file again cuts such a line off.

TensorBoard and Weights & Biases are second places, each an extra of this package.
"""

import importlib
import importlib.util
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, Self, runtime_checkable

from lm_shared.files import read_json_lines, write_bytes

Value = float | int | str | bool | None

# JSON has no such numbers, and a diverged loss must not end a run. float() reads all three.
_NON_FINITE = ("nan", "inf", "-inf")


@runtime_checkable
class MetricsSink(Protocol):
    """A second place that metrics go to, for example TensorBoard."""

    def write(self, step: int, values: Mapping[str, Value]) -> None:
        """Take the values of one step."""
        ...

    def close(self) -> None:
        """Pass on what is still held back."""
        ...


class MetricsWriter:
    """Appends to a metrics file; usable as a context manager.

    ``elapsed_s`` goes on from the last line that an earlier process left, so it counts the time
    that the kept lines took. Each line is handed to the operating system at once: killing the
    process loses none. ``sync`` waits for the disk.
    """

    def __init__(
        self,
        path: Path | str,
        sinks: Sequence[MetricsSink] = (),
        *,
        before_change: Callable[[], None] | None = None,
    ) -> None:
        """Open the file; ``before_change`` is called once, before a line is added or dropped."""
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._sinks = tuple(sinks)
        self._before_change = before_change
        self.is_changed = False
        """Whether this process has added or dropped lines."""
        self._open()

    def _open(self) -> None:
        lines = _whole_lines(self.path)
        last: dict[str, Any] = lines[-1][1] if lines else {"step": None, "elapsed_s": 0.0}
        self._last_step: int | None = last["step"]
        self._earlier_s: float = last["elapsed_s"]
        self._started_at = time.monotonic()
        self._file = self.path.open("ab")
        self._file.truncate(sum(len(line) for line, _ in lines))

    @property
    def last_step(self) -> int | None:
        """The step of the last line, ``None`` in an empty file."""
        return self._last_step

    @property
    def elapsed_s(self) -> float:
        """Seconds of this process and of the earlier ones whose lines are kept."""
        return self._earlier_s + time.monotonic() - self._started_at

    @property
    def has_sinks(self) -> bool:
        """Whether there are second places."""
        return bool(self._sinks)

    def write(self, *, step: int, **values: Any) -> None:
        """Append one line, as ``append`` does, and pass the values to the sinks."""
        self.append(step=step, **values)
        self.pass_on(step=step, **values)

    def append(self, *, step: int, **values: Any) -> None:
        """Append one line to the file; scalars of torch and NumPy are fine.

        Raises:
            ValueError: ``step`` lies before the last line's, as after resuming without
                ``truncate_after``, or a value has a reserved name.
            TypeError: a value is neither a number nor a string.
        """
        if self._last_step is not None and step < self._last_step:
            raise ValueError(
                f"step {step} follows step {self._last_step} in {self.path}: a resumed run calls "
                "truncate_after(step) first"
            )
        if "elapsed_s" in values:
            raise ValueError(f"elapsed_s is written by itself, got {values['elapsed_s']!r}")
        line = {"step": step, "elapsed_s": round(self.elapsed_s, 3)}
        line |= {name: _to_json(_plain(name, value)) for name, value in values.items()}
        self._note_change()
        # One write per line, so that a kill can tear no more than one.
        self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        self._file.flush()
        self._last_step = step

    def pass_on(self, *, step: int, **values: Any) -> None:
        """Pass the values of a line to the sinks alone."""
        for sink in self._sinks:
            sink.write(step, {name: _plain(name, value) for name, value in values.items()})

    def truncate_after(self, step: int, *, num_lines: int | None = None) -> None:
        """Drop the lines of later steps: a run that resumes at ``step`` will write them again.

        Args:
            step: The last step that stays.
            num_lines: How many lines of it stay; None means all.
        """
        # The rewritten file is a new one: the open handle would go on writing to the old.
        self._file.close()
        lines = _whole_lines(self.path)
        kept = [line for line, values in lines if values["step"] < step]
        kept += [line for line, values in lines if values["step"] == step][:num_lines]
        if len(kept) < len(lines):
            self._note_change()
            write_bytes(self.path, b"".join(kept))
        self._open()

    def _note_change(self) -> None:
        if not self.is_changed and self._before_change is not None:
            self._before_change()
        self.is_changed = True

    def sync(self) -> None:
        """Wait until all lines are on the disk: before a checkpoint that counts on them."""
        os.fsync(self._file.fileno())

    def resume_at(self, step: int, *, num_lines: int | None = None) -> None:
        """Drop the lines after ``step``, that of the checkpoint which a run goes on from.

        Args:
            step: The checkpoint's step.
            num_lines: How many lines of it stay; None means all.

        Raises:
            ValueError: lines up to ``step`` are missing.
        """
        self.truncate_after(step, num_lines=num_lines)
        if step and self._last_step != step:
            raise ValueError(
                f"{self.path} ends at step {self._last_step or 0}, but the checkpoint beside it "
                f"was written after step {step}: the record is damaged, delete {self.path.parent} "
                "to start over"
            )

    def close(self) -> None:
        """Close the file and the sinks."""
        self._file.close()
        for sink in self._sinks:
            sink.close()

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close, whether or not the block failed."""
        self.close()


class FollowedMetrics(MetricsWriter):
    """Stands for a file that another process writes: takes the same calls and writes nothing."""

    def _open(self) -> None:
        self._last_step, self._earlier_s, self._started_at = None, 0.0, time.monotonic()

    def append(self, *, step: int, **values: Any) -> None:
        """Leave it to the other process."""

    def truncate_after(self, step: int, *, num_lines: int | None = None) -> None:
        """Leave it to the other process."""

    def resume_at(self, step: int, *, num_lines: int | None = None) -> None:
        """Leave it to the other process."""

    def sync(self) -> None:
        """Leave it to the other process."""

    def close(self) -> None:
        """Do nothing."""


def read_metrics(path: Path | str) -> list[dict[str, Any]]:
    """Return the lines of a metrics file; a torn last line, as of a killed process, is left out.

    Raises:
        ValueError: another line is damaged.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no metrics file at {path}")
    return [record for _, record in _whole_lines(path)]


def read_whole_metrics(path: Path | str) -> tuple[list[dict[str, Any]], int]:
    """Return the lines of a metrics file that are whole, and how many are not."""
    parsed = [_values(record) for _, record in read_json_lines(path)]
    whole = [values for values in parsed if values is not None]
    return whole, len(parsed) - len(whole)


def _whole_lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Return lines and their values, the last one left out if a kill cut it off.

    Raises:
        ValueError: another line is damaged.
    """
    found: list[tuple[bytes, dict[str, Any]]] = []
    for number, (line, record) in enumerate(read_json_lines(path), start=1):
        if not line.endswith(b"\n"):
            break
        values = _values(record)
        if values is None:
            raise ValueError(
                f"line {number} of {path} is damaged, delete {path.parent} to start over: expected "
                f"an object with step and elapsed_s, got {line[:80]!r}"
            )
        found.append((line, values))
    return found


def _values(record: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the values of a line, or None if it is not one of a metrics file."""
    if record is None or not isinstance(record.get("step"), int):
        return None
    if not isinstance(record.get("elapsed_s"), int | float):
        return None
    return {name: float(one) if one in _NON_FINITE else one for name, one in record.items()}


def _plain(name: str, value: Any) -> Value:
    # Scalars of torch and NumPy know how to become Python numbers.
    plain = value.item() if hasattr(value, "item") else value
    if plain is not None and not isinstance(plain, float | int | str):
        raise TypeError(f"{name}: expected a number or a string, got {value!r}")
    return plain


def _to_json(value: Value) -> Value:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


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

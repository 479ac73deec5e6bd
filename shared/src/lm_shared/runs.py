"""One run, one folder: its configuration, its metrics and, once it is finished, its receipt.

``config.json`` is written first, ``metrics.jsonl`` grows meanwhile, ``receipt.json`` comes last:
a folder without a receipt is an unfinished run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_shared.config import describe_changes, load_config, save_config, to_dict
from lm_shared.files import hash_files, lock_folder, read_json
from lm_shared.metrics import MetricsSink, MetricsWriter, read_metrics
from lm_shared.receipt import (
    Hardware,
    Receipt,
    code_state,
    describe_hardware,
    installed_versions,
    peak_memory,
)

__all__ = [
    "Hardware",
    "MetricsSink",
    "MetricsWriter",
    "Receipt",
    "RunRecord",
    "load_receipt",
    "read_metrics",
    "record_run",
]

CONFIG_NAME = "config.json"
METRICS_NAME = "metrics.jsonl"
RECEIPT_NAME = "receipt.json"


@dataclass(kw_only=True)
class RunRecord:
    """A run in progress."""

    folder: Path
    """Where everything that the run makes goes."""
    metrics: MetricsWriter
    """The open metrics file."""
    flops: float = 0.0
    """Floating-point operations so far."""
    tokens: int = 0
    """Tokens so far."""
    wall_s: float = 0.0
    """Seconds that the run took, as its receipt has them; known when the block has ended."""

    def add(self, *, flops: float = 0.0, tokens: int = 0) -> None:
        """Count work; a resumed run first adds what its checkpoint says was done before."""
        self.flops += flops
        self.tokens += tokens


@contextmanager
def record_run(
    folder: Path | str,
    config: Any,
    *,
    inputs: Sequence[Path | str] = (),
    parents: Sequence[Path | str] = (),
    sinks: Sequence[MetricsSink] = (),
    earlier_s: float = 0.0,
) -> Iterator[RunRecord]:
    """Open a run folder, new or interrupted, and write the receipt when the block succeeds.

    A finished run that is opened again and has nothing left to do keeps its seconds.

    Args:
        folder: The run folder.
        config: What decides the run's result.
        inputs: Files or folders, hashed at the start.
        parents: Folders of earlier runs.
        sinks: Second places for the metrics.
        earlier_s: Seconds of interrupted attempts that left no metrics.

    Raises:
        ValueError: the folder holds a run of another configuration, or another process works in it.
        FileNotFoundError: an input does not exist.
    """
    folder = Path(folder)
    with lock_folder(folder):
        finished_s = _claim_folder(folder, config)
        # Before the run, which may well replace a file that it reads, and take longer than it
        # takes to commit a change of the code.
        input_hashes = {str(path): hash_files([path]) for path in inputs}
        git_commit, git_dirty = code_state()
        with MetricsWriter(folder / METRICS_NAME, sinks) as metrics:
            record = RunRecord(folder=folder, metrics=metrics)
            yield record
            had_nothing_to_do = metrics.last_step is not None and metrics.num_written == 0
            if finished_s is not None and had_nothing_to_do:
                record.wall_s = finished_s
            else:
                record.wall_s = round(earlier_s + metrics.elapsed_s, 3)
        receipt = _make_receipt(
            record, parents, input_hashes, git_commit=git_commit, git_dirty=git_dirty
        )
        save_config(receipt, folder / RECEIPT_NAME)


def _make_receipt(
    record: RunRecord,
    parents: Sequence[Path | str],
    input_hashes: dict[str, str],
    *,
    git_commit: str | None,
    git_dirty: bool | None,
) -> Receipt:
    peak_bytes, peak_gpu_bytes = peak_memory()
    return Receipt(
        git_commit=git_commit,
        git_dirty=git_dirty,
        versions=installed_versions(),
        hardware=describe_hardware(),
        input_hashes=input_hashes,
        wall_s=record.wall_s,
        flops=record.flops,
        tokens=record.tokens,
        peak_bytes=peak_bytes,
        peak_gpu_bytes=peak_gpu_bytes,
        parent_runs=tuple(str(parent) for parent in parents),
    )


def load_receipt(folder: Path | str) -> Receipt:
    """Read the receipt of a finished run.

    Raises:
        FileNotFoundError: there is none: the run is unfinished.
    """
    path = Path(folder) / RECEIPT_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {RECEIPT_NAME}: the run did not finish")
    return load_config(Receipt, path)


def _claim_folder(folder: Path, config: Any) -> float | None:
    """Write the configuration, or check that the earlier run here had the same.

    Return the seconds of a finished run, and take its receipt away: it is unfinished until it ends.
    """
    config_path = folder / CONFIG_NAME
    if not config_path.exists():
        save_config(config, config_path)
        return None
    recorded, wanted = read_json(config_path), to_dict(config)
    if recorded != wanted:
        changes = describe_changes(recorded, wanted)
        raise ValueError(
            f"{folder} holds a run of another configuration ({changes}): choose another folder, or "
            "replace this one by --overwrite"
        )
    finished_s = None
    if (folder / RECEIPT_NAME).is_file():
        finished_s = load_receipt(folder).wall_s
        (folder / RECEIPT_NAME).unlink()
    return finished_s

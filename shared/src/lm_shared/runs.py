"""One run, one folder: its configuration, its metrics and, once it is finished, its receipt.

``config.json`` is written first, ``metrics.jsonl`` grows meanwhile, ``receipt.json`` comes last:
a folder without a receipt is an unfinished run.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lm_shared.config import load_config, refuse_changes, save_config, to_dict
from lm_shared.files import claim_folder, hash_files, lock_folder, read_json, resolve_path
from lm_shared.metrics import FollowedMetrics, MetricsSink, MetricsWriter, read_metrics
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
    "check_runs",
    "claim_run",
    "follow_run",
    "load_receipt",
    "read_metrics",
    "record_run",
]

CONFIG_NAME = "config.json"
METRICS_NAME = "metrics.jsonl"
RECEIPT_NAME = "receipt.json"
RUN_PARTS = (CONFIG_NAME, METRICS_NAME, RECEIPT_NAME, "checkpoints", "model")
"""Names in every run folder, for ``clear_folder``."""
OTHER_RUN = "a run of another configuration"
"""What ``refuse_changes`` calls a folder that is taken."""


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


def claim_run(
    folder: Path | str,
    *,
    parts: Sequence[str] = (),
    contents: Sequence[str] = (),
    inputs: Iterable[Path] = (),
) -> Path:
    """Return the absolute path of a folder that is free for a run, or holds one that may go on.

    Args:
        folder: The run folder.
        parts: Patterns of names that may be there before the run begins.
        contents: Patterns of names that it may hold besides ``RUN_PARTS``.
        inputs: Files that it is made from.

    Raises:
        ValueError: the folder holds something else, the working folder or an input.
    """
    return claim_folder(
        folder,
        "a run",
        parts=parts,
        markers=(CONFIG_NAME, (METRICS_NAME, RECEIPT_NAME)),
        contents=(*RUN_PARTS, *contents),
        overwrite=True,
        inputs=inputs,
    )


def check_runs(folders: Sequence[Path]) -> None:
    """Refuse what cannot be read as runs beside each other.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no folder is given, one is given twice, or one holds no run.
    """
    if not folders:
        raise ValueError("expected at least one run folder, got none")
    resolved = [resolve_path(folder) for folder in folders]
    for folder, path in zip(folders, resolved, strict=True):
        if resolved.count(path) > 1:
            raise ValueError(f"the run {folder} is given twice")
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no run folder {folder}")
        if not any((folder / name).is_file() for name in (CONFIG_NAME, METRICS_NAME)):
            raise ValueError(f"{folder} is no run folder: it has no {CONFIG_NAME} and no metrics")


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

    A finished run that is opened again keeps its receipt as it is until a line of the metrics is
    added or dropped; one without metrics is done again as a whole.

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
        finished = _claim_folder(folder, config)
        # Before the run, which may well replace a file that it reads, and take longer than it
        # takes to commit a change of the code.
        input_hashes = {str(path): hash_files([path]) for path in inputs}
        git_commit, git_dirty = code_state()
        receipt_path = folder / RECEIPT_NAME
        remove_receipt = partial(receipt_path.unlink, missing_ok=True)
        with MetricsWriter(folder / METRICS_NAME, sinks, before_change=remove_receipt) as metrics:
            if metrics.last_step is None:
                finished = None
                remove_receipt()
            record = RunRecord(folder=folder, metrics=metrics)
            yield record
            if finished is not None and not metrics.is_changed:
                record.wall_s = finished.wall_s
                return
            record.wall_s = round(earlier_s + metrics.elapsed_s, 3)
        receipt = _make_receipt(
            record, parents, input_hashes, git_commit=git_commit, git_dirty=git_dirty
        )
        save_config(receipt, receipt_path)


def follow_run(folder: Path | str) -> RunRecord:
    """Return the record of a run that another process of the same run keeps: nothing is written."""
    folder = Path(folder)
    return RunRecord(folder=folder, metrics=FollowedMetrics(folder / METRICS_NAME))


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


def _claim_folder(folder: Path, config: Any) -> Receipt | None:
    """Write the configuration, or check that the earlier run here had the same.

    Return the receipt of a finished run.
    """
    config_path = folder / CONFIG_NAME
    if not config_path.exists():
        save_config(config, config_path)
        # With both of them a folder is known as a run, however early this one is killed.
        (folder / METRICS_NAME).touch()
        return None
    refuse_changes(folder, OTHER_RUN, read_json(config_path), to_dict(config))
    return load_receipt(folder) if (folder / RECEIPT_NAME).is_file() else None

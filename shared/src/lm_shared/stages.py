"""Stages of a long job that can be killed at any moment and run again.

Each stage owns a folder. When it ends, ``stage.json`` records its result, the hash of every file it
left, and a key made of its configuration and of the stages it read. Running the job again reuses a
stage whose key is unchanged, continues one that was interrupted, and starts over one whose
configuration or inputs are different now.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lm_shared.config import to_dict
from lm_shared.files import hash_file, lock_folder, read_json, write_json
from lm_shared.receipt import peak_bytes, reset_peak
from lm_shared.runs import record_run

RECORD_NAME = "stage.json"
STARTED_NAME = "started.json"

# They hold times, so doing the same again leaves others.
_TIMED_NAMES = ("receipt.json", "metrics.jsonl")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRecord:
    """A finished stage, as ``stage.json`` holds it."""

    name: str
    """The stage."""
    key: str
    """Hash of the configuration and of the keys of the stages that were read."""
    result: dict[str, Any]
    """What the stage's function returned: JSON values."""
    elapsed_s: float
    """Seconds of all attempts, those that were interrupted included."""
    peak_bytes: int
    """Most main memory of the process while the stage ran."""
    outputs: dict[str, str]
    """Relative path of each file the stage left -> its SHA-256."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A finished stage, as the next ones see it."""

    folder: Path
    """Where its files are."""
    record: StageRecord
    """Its result and identity."""
    is_reused: bool
    """Whether an earlier run of the job had done it."""

    @property
    def result(self) -> dict[str, Any]:
        """What the stage's function returned."""
        return self.record.result


class StageRunner:
    """Runs the stages of one job in one folder."""

    def __init__(
        self,
        folder: Path,
        *,
        on_start: Callable[[str], None] | None = None,
        on_end: Callable[[Stage], None] | None = None,
    ) -> None:
        """Prepare the job.

        Args:
            folder: Holds one folder per stage.
            on_start: Called with a stage's name before it works; not for reused ones.
            on_end: Called with each finished stage.
        """
        self.folder = folder
        self.stages: list[Stage] = []
        self._on_start = on_start
        self._on_end = on_end

    def run(
        self,
        name: str,
        function: Callable[[Path], dict[str, Any]],
        *,
        config: Any,
        reads: Sequence[Stage] = (),
    ) -> Stage:
        """Return stage ``name``, done now or earlier.

        Args:
            name: Also the name of its folder.
            function: Does the work in the folder it is given and returns JSON values; when it is
                called again after an interruption, the folder holds what it had left there.
            config: A dataclass with everything that decides the result, the inputs apart.
            reads: Stages whose files or results ``function`` uses.

        Raises:
            ValueError: A file of a finished stage is missing or was changed.
        """
        key = hash_stage(name, config, reads)
        folder = self.folder / name
        stage = _reuse(folder, key)
        if stage is None:
            if self._on_start is not None:
                self._on_start(name)
            with lock_folder(self.folder):
                stage = _work(folder, name, key, function, config, reads)
        self.stages.append(stage)
        if self._on_end is not None:
            self._on_end(stage)
        return stage


def hash_stage(name: str, config: Any, reads: Sequence[Stage]) -> str:
    """Return the identity of a stage: 64 hex digits."""
    parts = {
        "name": name,
        "config": to_dict(config),
        "reads": {stage.record.name: [stage.record.key, _lasting(stage)] for stage in reads},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _lasting(stage: Stage) -> dict[str, str]:
    """Return the outputs that are the same when the stage is done again."""
    return {
        path: digest
        for path, digest in stage.record.outputs.items()
        if Path(path).name not in _TIMED_NAMES
    }


def _reuse(folder: Path, key: str) -> Stage | None:
    """Return the stage if it is finished, has this key, and all its files are as it left them."""
    if not (folder / RECORD_NAME).exists():
        return None
    record = _read_record(folder / RECORD_NAME)
    if record.key != key:
        return None
    for relative, expected in record.outputs.items():
        path = folder / relative
        if not path.is_file() or hash_file(path) != expected:
            fault = "was changed or damaged" if path.is_file() else "is missing"
            raise ValueError(
                f"{path} {fault} after stage {record.name} had finished: delete {folder} to do "
                "that stage again, or start over with --fresh"
            )
    return Stage(folder=folder, record=record, is_reused=True)


def _work(
    folder: Path,
    name: str,
    key: str,
    function: Callable[[Path], dict[str, Any]],
    config: Any,
    reads: Sequence[Stage],
) -> Stage:
    earlier_s = _claim(folder, key)
    reset_peak()
    parents = [stage.folder for stage in reads]
    with record_run(folder, config, parents=parents, earlier_s=earlier_s) as run:
        result = function(folder)
        run.add(flops=float(result.get("flops", 0)), tokens=int(result.get("tokens", 0)))
    record = StageRecord(
        name=name,
        key=key,
        result=result,
        elapsed_s=run.wall_s,
        peak_bytes=peak_bytes(),
        outputs=_hash_outputs(folder),
    )
    write_json(folder / RECORD_NAME, asdict(record))
    # Last: whoever kills the process before this line loses no finished work.
    (folder / STARTED_NAME).unlink()
    return Stage(folder=folder, record=record, is_reused=False)


def _claim(folder: Path, key: str) -> float:
    """Prepare the folder for work on ``key``; return the seconds that earlier attempts took."""
    started_path = folder / STARTED_NAME
    if started_path.exists():
        started = read_json(started_path)
        if _is_start_of(started, key):
            # The last file written tells how long the interrupted attempt lived at least.
            last = max(path.stat().st_mtime for path in folder.rglob("*"))
            earlier_s = started["earlier_s"] + max(0.0, last - started["at"])
            write_json(started_path, {"key": key, "at": time.time(), "earlier_s": earlier_s})
            _logger.info("%s was interrupted: going on", folder)
            return earlier_s
    # First: what is left of the folder after a kill must not pass for a start of this stage.
    started_path.unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    write_json(started_path, {"key": key, "at": time.time(), "earlier_s": 0.0})
    return 0.0


def _read_record(path: Path) -> StageRecord:
    try:
        return StageRecord(**read_json(path))
    except TypeError as error:
        raise ValueError(
            f"{path} is no record of a stage ({error}): delete {path.parent} to do that stage "
            "again, or start over with --fresh"
        ) from error


def _is_start_of(started: Any, key: str) -> bool:
    expected = {"key", "at", "earlier_s"}
    return isinstance(started, dict) and set(started) == expected and started["key"] == key


def _hash_outputs(folder: Path) -> dict[str, str]:
    """Hash every file that a stage left, except the records of the stage itself."""
    ignored = {folder / name for name in (RECORD_NAME, STARTED_NAME, *_TIMED_NAMES)}
    return {
        path.relative_to(folder).as_posix(): hash_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path not in ignored
    }

"""A run that is killed and started again ends with the same bits."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from lm_shared.testing.processes import run_python

PROGRAM = Path(__file__).with_name("killed_training.py")


def _record(folder: Path) -> list[dict[str, Any]]:
    # As it is written: nan would not equal itself.
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: one for name, one in line.items() if name != "elapsed_s"} for line in lines]


@pytest.mark.parametrize(
    ("num_kills", "dtype", "device"),
    [
        (2, "float16", "cpu"),
        pytest.param(20, "float32", "cpu", marks=pytest.mark.slow),
        pytest.param(20, "float16", "cpu", marks=pytest.mark.slow),
        pytest.param(4, "bfloat16", "cuda", marks=pytest.mark.gpu),
        pytest.param(4, "float16", "cuda", marks=pytest.mark.gpu),
    ],
)
def test_a_killed_run_ends_with_the_bits_of_an_uninterrupted_one(
    num_kills: int, dtype: str, device: str, tmp_path: Path
) -> None:
    result = run_python([PROGRAM, tmp_path, str(num_kills), "1", dtype, device], timeout_s=600)
    assert result.returncode == 0, result.stderr
    ends = json.loads(result.stdout)
    assert ends["killed"] == [-signal.SIGKILL] * num_kills, result.stderr
    assert (ends["straight"], ends["resumed"]) == (0, 0), result.stderr
    straight, killed = _record(tmp_path / "straight"), _record(tmp_path / "killed")
    assert killed == straight
    # The record has something to compare of everything that has a state.
    assert len({line["draw_0"] for line in straight if "draw_0" in line}) > 3
    reasons = {line["skipped"] for line in straight if "skipped" in line}
    assert "spike of the gradient" in reasons
    assert ("float16 overflow" in reasons) == (dtype == "float16")
    # Weights, moments, averages, scale, guard and generators: whole files, byte by byte.
    kept = [
        {path.name: path.read_bytes() for path in (tmp_path / run / "checkpoints").iterdir()}
        for run in ("straight", "killed")
    ]
    assert kept[0] == kept[1]
    assert len(kept[0]) in (2, 3)

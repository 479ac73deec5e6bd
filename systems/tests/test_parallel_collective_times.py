"""Rates follow from the times, and processes that were started do all that was asked."""

import json
from pathlib import Path

import pytest
import torch

from lm_systems.commands.main import main
from lm_systems.parallel.collective_times import CollectiveTimes, time_collectives


def test_rates_are_those_of_a_ring() -> None:
    times = CollectiveTimes(
        kind="all_reduce", num_processes=4, num_bytes=1000, elapsed_s=[1.0, 3.0]
    )
    assert times.algorithm_bytes_per_s == 500
    assert times.bus_bytes_per_s == 2 * 3 / 4 * 500


def test_every_collective_and_size_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = "--sizes 0.001 0.01 --warmup 0 --rounds 2 --device cpu"
    with pytest.raises(SystemExit) as stopped:
        main(["bench-collectives", *options.split()])
    captured = capsys.readouterr()
    assert stopped.value.code == 0, captured.err
    assert "reduce-scatter" in captured.out
    rows = json.loads(Path("runs/bench-collectives/collectives.json").read_text())["times"]
    assert [(row["kind"], row["num_bytes"], len(row["elapsed_s"])) for row in rows] == [
        (kind, size, 2)
        for size in (1000, 10_000)
        for kind in ("all_reduce", "all_gather", "reduce_scatter")
    ]
    assert all(min(row["elapsed_s"]) > 0 for row in rows)


@pytest.mark.parametrize(
    ("num_processes", "size", "message"),
    [(1, 1000, "nobody to talk to"), (2, 7, "a number for each process")],
)
def test_what_no_group_can_do_is_refused(num_processes: int, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        time_collectives(num_processes, [size], device="cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_each_process_needs_a_gpu_of_its_own() -> None:
    more = torch.cuda.device_count() + 1
    with pytest.raises(ValueError, match=f"{max(2, more)} processes need as many GPUs"):
        time_collectives(max(2, more), [1000], device="cuda")

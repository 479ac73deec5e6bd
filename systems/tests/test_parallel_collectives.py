"""What is counted against what really leaves a process."""

import sys
from pathlib import Path

import pytest
import torch

from lm_systems.parallel.collectives import Collectives
from systems.tests.process_groups import run_group

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/io")


@pytest.mark.parametrize("size", [2, 4])
def test_counted_bytes_are_those_that_a_ring_sends(size: int, tmp_path: Path) -> None:
    run_group(_compare_bytes, size, tmp_path)


def _compare_bytes() -> None:
    collectives = Collectives()
    whole, part = torch.ones(1_000_000), torch.ones(1_000_000 // collectives.size)
    calls = {
        "all_reduce": lambda: collectives.average(whole),
        "all_gather": lambda: collectives.gather(part),
        "reduce_scatter": lambda: collectives.scatter_average(whole),
    }
    for name, call in calls.items():
        collectives.total(torch.ones(1))
        counted, written = collectives.bytes_sent[name], _bytes_written()
        call().wait()
        sent = _bytes_written() - written
        # gloo reduces and scatters by an all-reduce, of which it throws most away.
        factor = 2 if name == "reduce_scatter" else 1
        expected = factor * (collectives.bytes_sent[name] - counted)
        assert sent == pytest.approx(expected, rel=0.02), name


def _bytes_written() -> int:
    return int(Path("/proc/self/io").read_text().split("wchar: ")[1].split()[0])

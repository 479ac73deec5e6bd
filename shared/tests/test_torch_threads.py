"""Shares that run on torch's own threads."""

import signal
import sys
import threading
import time

import pytest

from lm_shared import torch_threads
from lm_shared.testing.processes import run_python
from lm_shared.torch_threads import run_on_torch_threads

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="torch uses GNU OpenMP on Linux alone")


@pytest.fixture(params=[True, False], ids=["with", "without"])
def _with_and_without_openmp(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not request.param:
        monkeypatch.setattr(torch_threads, "_find_entry", lambda: None)


@pytest.mark.parametrize("num_shares", [0, 1, 2, 7])
@pytest.mark.usefixtures("_with_and_without_openmp")
def test_every_share_is_done_once(num_shares: int) -> None:
    done: list[int] = []
    run_on_torch_threads(done.append, num_shares)
    assert sorted(done) == list(range(num_shares))


@LINUX
def test_shares_run_side_by_side() -> None:
    # Each waits for the other.
    barrier = threading.Barrier(2)
    run_on_torch_threads(lambda _: barrier.wait(timeout=60), 2)


@LINUX
def test_the_threads_are_those_of_torch() -> None:
    program = """
import os, threading
import torch
from lm_shared.torch_threads import run_on_torch_threads

def threads():
    return set(os.listdir("/proc/self/task"))

torch.set_num_threads(2)
(torch.ones(1_000_000) * 2).sum()
before = threads()
barrier = threading.Barrier(2)
run_on_torch_threads(lambda _: barrier.wait(60), 2)
print(len(threads() - before))
"""
    result = run_python(["-c", program], environment={"OMP_NUM_THREADS": "2"})
    assert (result.returncode, result.stdout) == (0, "0\n"), result.stderr


@pytest.mark.parametrize("num_shares", [1, 3])
@pytest.mark.usefixtures("_with_and_without_openmp")
def test_an_error_in_a_share_is_raised_when_all_are_done(num_shares: int) -> None:
    done: list[int] = []

    def fail_first(index: int) -> None:
        if index == 0:
            raise ValueError("share 0")
        done.append(index)

    with pytest.raises(ValueError, match="share 0"):
        run_on_torch_threads(fail_first, num_shares)
    assert sorted(done) == list(range(1, num_shares))


@pytest.mark.parametrize("num_shares", [1, 2])
def test_ctrl_c_waits_until_all_shares_are_done(num_shares: int) -> None:
    done: list[int] = []

    def press(index: int) -> None:
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.01)
        done.append(index)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_on_torch_threads(press, num_shares)
    assert sorted(done) == list(range(num_shares))
    assert signal.getsignal(signal.SIGINT) is handler


@LINUX
def test_a_share_that_a_signal_swallowed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if the handler of another signal had raised before the first call of each thread.
    monkeypatch.setattr(torch_threads, "_find_entry", lambda: lambda body, *_: None)
    with pytest.raises(RuntimeError, match="0 of 2 shares were done"):
        run_on_torch_threads(print, 2)

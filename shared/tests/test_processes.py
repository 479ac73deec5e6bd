"""Functions in other processes."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from lm_shared.processes import ProcessPool, WorkerDiedError, map_in_threads, num_available_cores


def _later_first(item: int) -> tuple[int, int]:
    """Return the item; early ones take longest."""
    time.sleep(0.02 * max(0, 3 - item))
    return item, os.getpid()


def _refuse(item: int) -> int:
    if item == 2:
        raise LookupError(f"no {item} here")
    return item


def _die(item: int, how: signal.Signals) -> int:
    if item == 1:
        os.kill(os.getpid(), how)
        time.sleep(10)
    return item


def test_results_come_in_order_from_several_processes() -> None:
    with ProcessPool(2) as pool:
        results = list(pool.map(_later_first, range(8)))
        again = list(pool.map(_later_first, range(4, 6)))
    assert [item for item, _ in results] == list(range(8))
    assert os.getpid() not in {process for _, process in results}
    assert len({process for _, process in results}) == 2
    assert {process for _, process in again} <= {process for _, process in results}


def test_items_are_drawn_as_the_work_goes_on() -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for item in range(100):
            drawn += 1
            yield item

    with ProcessPool(1) as pool:
        assert next(pool.map(abs, items())) == 0
        assert drawn == 3


def test_an_error_of_the_function_is_raised_in_its_turn() -> None:
    with ProcessPool(2) as pool:
        results = pool.map(_refuse, range(4))
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(LookupError, match="no 2 here"):
            next(results)


@pytest.mark.parametrize(
    ("how", "said"), [(signal.SIGKILL, "SIGKILL, as"), (signal.SIGSEGV, "SIGSEGV$")]
)
def test_a_dead_worker_is_named(how: signal.Signals, said: str) -> None:
    with (
        pytest.raises(WorkerDiedError, match=rf"process \d+ was ended by {said}"),
        ProcessPool(2) as pool,
    ):
        list(pool.map(partial(_die, how=how), range(4)))


def test_those_that_the_pool_ended_are_not_named() -> None:
    with pytest.raises(WorkerDiedError) as caught, ProcessPool(3) as pool:
        list(pool.map(partial(_die, how=signal.SIGKILL), range(6)))
    assert str(caught.value).count("process ") == 1


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ((-signal.SIGTERM, 3), "done: process 1 ended with code 3$"),
        ((-signal.SIGTERM, -signal.SIGTERM), "0 was ended by SIGTERM, process 1 was ended by SIGT"),
        ((-signal.SIGKILL, 0), "done: process 0 was ended by SIGKILL, as happens when memory"),
        ((0, 0), "cause unknown"),
    ],
)
def test_the_first_to_end_are_named(codes: tuple[int, int], said: str) -> None:
    ended = [
        SimpleNamespace(pid=pid, exitcode=code, join=lambda: None) for pid, code in enumerate(codes)
    ]
    with ProcessPool(1) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "_processes", ended)
        assert re.search(said, pool._describe_death())


def test_an_end_that_is_written_down_late_is_waited_for() -> None:
    class Late:
        pid = 7
        codes: ClassVar = [None, None, -signal.SIGSEGV]

        def join(self) -> None:
            """Return at once: another thread has waited for the process already."""

        @property
        def exitcode(self) -> int | None:
            return self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]

    with ProcessPool(1) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "_processes", [Late()])
        assert "process 7 was ended by SIGSEGV" in pool._describe_death()


def test_there_is_somebody_to_work() -> None:
    assert 1 <= num_available_cores() <= (os.cpu_count() or 1)
    with pytest.raises(ValueError, match="num_processes=0"):
        ProcessPool(0)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_threads_keep_the_order_too(num_threads: int) -> None:
    results = list(map_in_threads(_later_first, range(6), num_threads))
    assert results == [(item, os.getpid()) for item in range(6)]


_SCRIPT = """\
import sys
from functools import partial
from pathlib import Path
from lm_shared.processes import ProcessPool
sys.path.insert(0, sys.argv[2])
from notes import note

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    try:
        with ProcessPool(2) as pool:
            print(list(pool.map(partial(note, folder), [1, 1, 1])))
    except KeyboardInterrupt:
        print("stopped")
        sys.exit(130)
"""
_NOTES = """\
import os, time

def note(folder, item):
    (folder / f"{os.getpid()}.pid").touch()
    time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_with_their_parent(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "main.py").write_text(_SCRIPT)
    (tmp_path / "notes.py").write_text(_NOTES)
    notes = tmp_path / "pids"
    notes.mkdir()
    # A session of its own, so that the signal reaches all processes as Ctrl-C in a terminal does.
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "main.py", notes, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(list(notes.iterdir())) < 2:
        assert parent.poll() is None, parent.communicate()
        time.sleep(0.02)
    workers = [int(one.stem) for one in notes.iterdir()]
    if how == signal.SIGINT:
        os.killpg(parent.pid, how)
    else:
        parent.kill()
    began = time.monotonic()
    output, errors = parent.communicate(timeout=20)
    assert parent.returncode == (130 if how == signal.SIGINT else -how)
    if how == signal.SIGINT:
        assert (output, errors) == ("stopped\n", "")
    while any(map(_is_alive, workers)):
        assert time.monotonic() - began < 20
        time.sleep(0.02)


def _is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"

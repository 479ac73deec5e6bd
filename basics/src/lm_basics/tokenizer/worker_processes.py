"""Processes that encode, for plain Python: its threads would only wait for each other."""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial

from lm_basics.tokenizer.fast.threads import run_in_order
from lm_basics.tokenizer.part_encoding import EncodedPart, PartEncoder
from lm_basics.tokenizer.texts import Part

WORTH_STARTING_BYTES = 1 << 22
"""Text that one process of plain Python takes longer for than others take to start."""

_WAITING_PER_PROCESS = 2


def are_worth_starting(num_bytes: int) -> bool:
    """Return whether there is enough text."""
    return num_bytes >= WORTH_STARTING_BYTES


def encode_in_processes(
    encoder: PartEncoder, parts: Iterable[Part], num_processes: int
) -> Iterator[EncodedPart]:
    """Yield the encoded parts in their order.

    The processes are spawned, not forked: a fork would copy the locks of the caller's threads.
    """
    context = multiprocessing.get_context("spawn")
    # With every part goes the encoder, of which a process makes use once. As an argument of the
    # processes' start it would be more than a pipe holds, and they would start one by one.
    encode = partial(_encode, pickle.dumps(encoder))
    with ProcessPoolExecutor(num_processes, context, _end_with_parent) as pool:
        _start_all(pool, num_processes)
        yield from run_in_order(pool, encode, parts, _WAITING_PER_PROCESS * num_processes)


def _start_all(pool: ProcessPoolExecutor, num_processes: int) -> None:
    """Start processes that ignore Ctrl-C, which reaches all processes of a terminal.

    The parent decides what becomes of the work. They inherit this, for it is in their first second,
    full of imports, that they would print the most.
    """
    is_main = threading.current_thread() is threading.main_thread()
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN) if is_main else None
    try:
        for _ in range(num_processes):
            pool.submit(os.getpid)
    finally:
        if is_main:
            signal.signal(signal.SIGINT, earlier)


def _end_with_parent() -> None:
    """Watch the parent, which may be killed without a chance to end its processes."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _encode(pickled: bytes, part: Part) -> EncodedPart:
    return _load(pickled).encode(part)


@lru_cache(maxsize=1)
def _load(pickled: bytes) -> PartEncoder:
    return pickle.loads(pickled)

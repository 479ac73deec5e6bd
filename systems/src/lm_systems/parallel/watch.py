"""Which of several processes ended first, and why.

Every process holds a connection to process 0, on which both tell the steps they have done. When a
process ends, however it does, the kernel closes its side: process 0 sees that at once, whatever its
own computation waits for, and tells the others. So nobody guesses from a heart that beats late.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO

_logger = logging.getLogger(__name__)

GRACE_S = 10.0
"""Seconds in which a process may end by itself once another one has; then it is ended."""
_TIMEOUT_S = 60.0


class Watch:
    """This process's view of the others."""

    def __init__(
        self, rank: int, size: int, *, host: str, exchange: Callable[[Any], list[Any]]
    ) -> None:
        """Connect.

        Args:
            rank: Number of this process.
            size: How many there are.
            host: Address of process 0.
            exchange: Returns the values of all processes, in their order.
        """
        self.rank, self.size = rank, size
        self.step = 0
        self.news: str | None = None
        """What happened first, if anything did."""
        self._has_news = threading.Event()
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._left = False
        if rank == 0:
            with socket.create_server((host, 0), backlog=size) as server:
                server.settimeout(_TIMEOUT_S)
                exchange(server.getsockname()[1])
                for _ in range(size - 1):
                    self._follow(server.accept()[0], self._hear_worker)
        else:
            port = exchange(None)[0]
            connection = socket.create_connection((host, port), timeout=_TIMEOUT_S)
            self._follow(connection, self._hear_first)
            self._send(f"rank {rank}")

    def tell_step(self, step: int) -> None:
        """Tell how far this process is."""
        self.step = step
        self._send(f"step {step}")

    def tell_error(self, error: BaseException) -> None:
        """Tell that this process fails."""
        words = " ".join(f"{type(error).__name__}: {error}".split())
        if self.rank:
            self._send(f"error {words}")
        else:
            self._learn(f"rank 0 of {self.size} failed after step {self.step}: {words}")

    def wait_for_news(self, timeout_s: float) -> str | None:
        """Return what happened first, as soon as it is known."""
        self._has_news.wait(timeout_s)
        return self.news

    def leave(self) -> None:
        """Tell that the end of this process is none to worry about."""
        self._left = True
        self._send("done")

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()

    def _follow(self, connection: socket.socket, hear: Callable[[TextIO], None]) -> None:
        connection.settimeout(None)
        self._connections.append(connection)

        def listen() -> None:
            try:
                with connection.makefile(encoding="utf-8") as lines:
                    hear(lines)
            except (OSError, ValueError):
                # Closed here, or cut in the middle of a line: both have been heard of.
                pass

        threading.Thread(target=listen, daemon=True).start()

    def _hear_worker(self, lines: TextIO) -> None:
        """Follow one process from process 0."""
        rank, step = "?", 0
        for line in _until_cut(lines):
            kind, _, words = line.partition(" ")
            if kind == "rank":
                rank = words
            elif kind == "step":
                step = int(words)
            elif kind == "done":
                return
            else:
                self._learn(f"rank {rank} of {self.size} failed after step {step}: {words}")
                return
        self._learn(f"rank {rank} of {self.size} ended after step {step}")

    def _hear_first(self, lines: TextIO) -> None:
        """Follow process 0, which knows of the others."""
        step = 0
        for line in _until_cut(lines):
            kind, _, words = line.partition(" ")
            if kind == "step":
                step = int(words)
                continue
            if kind == "news":
                self._learn(words)
            return
        self._learn(f"rank 0 of {self.size} ended after step {step}")

    def _learn(self, news: str) -> None:
        with self._lock:
            if self.news is not None or self._left:
                return
            self.news = news
        self._has_news.set()
        if self.rank == 0:
            self._send(f"news {news}")
        # A computation may wait for the lost process for ever.
        timer = threading.Timer(GRACE_S, self._end)
        timer.daemon = True
        timer.start()

    def _end(self) -> None:
        _logger.error("%s", self.news)
        os._exit(1)

    def _send(self, line: str) -> None:
        for connection in self._connections:
            try:
                connection.sendall(f"{line}\n".encode())
            except OSError:
                # Whoever is gone is heard of where that is listened for.
                continue


def _until_cut(lines: TextIO) -> Iterator[str]:
    """Yield whole lines until the connection ends."""
    try:
        for line in lines:
            if line.endswith("\n"):
                yield line.rstrip("\n")
    except OSError:
        return

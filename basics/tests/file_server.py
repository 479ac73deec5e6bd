"""A web server on this machine that misbehaves as it is told."""

import hashlib
import http.server
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Misbehaviour:
    """What the server does wrong in one answer."""

    status: int | None = None
    """Answer with this error instead."""
    headers: dict[str, str] = field(default_factory=dict)
    """Sent along with an error or a redirect."""
    break_after: int | None = None
    """Bytes of the body after which the connection ends; None sends all."""
    with_reset: bool = False
    """Whether it ends by a reset, as of a cable that is pulled."""
    ignores_range: bool = False
    """Whether the whole file is sent where a part was asked for."""
    wrong_first: int = 0
    """By how much the part sent begins too late."""


GOOD = Misbehaviour()


class FileServer:
    """Files by their path, and what the server does wrong, one answer after the other."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.plan: deque[Misbehaviour] = deque()
        self.requests: list[tuple[str, str | None, str | None]] = []
        """Path, Range and If-Range."""
        self.headers: dict[str, str] = {}
        """Sent with every file."""
        self.has_etag = True
        self.has_length = True
        self.checks_if_range = True
        self.url = ""

    def etag(self, content: bytes) -> str:
        return f'"{hashlib.md5(content).hexdigest()}"'


@contextmanager
def serve() -> Iterator[FileServer]:
    """Run a server on a free port of this machine."""
    state = FileServer()

    class Handler(_Handler):
        server_state = state

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    server_state: FileServer

    def do_GET(self) -> None:
        state = self.server_state
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        state.requests.append((self.path, wanted, condition))
        plan = state.plan.popleft() if state.plan else GOOD
        content = state.files.get(self.path)
        if plan.status is not None or content is None:
            self.send_response(plan.status or 404)
            for name, value in plan.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        etag = state.etag(content)
        is_same = condition in (None, etag) or not state.checks_if_range
        first = 0
        if wanted is not None and is_same and not plan.ignores_range:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if first >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            first += plan.wrong_first
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if state.has_etag:
            self.send_header("ETag", etag)
        if state.has_length:
            self.send_header("Content-Length", str(len(content) - first))
        for name, value in state.headers.items():
            self.send_header(name, value)
        self.end_headers()
        body = content[first:]
        self.wfile.write(body if plan.break_after is None else body[: plan.break_after])
        if plan.with_reset and plan.break_after is not None:
            self.wfile.flush()
            linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Stay silent."""

"""The parts of the Hugging Face Hub that a download asks, on this machine."""

import hashlib
import http.server
import json
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

COMMIT = "c" * 40


class FakeHub:
    """Files of data sets by ``owner/name/file``, and what the hub does wrong, one by one."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.announced: dict[str, bytes] = {}
        """What the hub says that a file is, where that is a lie."""
        self.plan: deque[int | str] = deque()
        """Of the next answers with content: a status, or ``cut``."""
        self.ranges: list[str] = []
        """What was asked for."""
        self.url = ""


@contextmanager
def serve_hub() -> Iterator[FakeHub]:
    """Run a hub on a free port of this machine."""
    hub = FakeHub()

    class Handler(_Handler):
        state = hub

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    state: FakeHub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        path = urlsplit(self.path).path
        repo = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/paths-info/[^/]+", path)
        assert repo, path
        files = [name for name in self.state.files if name.startswith(f"{repo[1]}/")]
        found = [self._describe(name) for name in files if name.rpartition("/")[2] in body]
        self._send(200, json.dumps(found).encode())

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if found := re.fullmatch(r"/datasets/(.+?/.+?)/resolve/[^/]+/(.*)", path):
            self._send_file(f"{found[1]}/{found[2]}")
        elif found := re.match(r"/api/datasets/([^/]+/[^/]+)/tree/", path):
            files = [name for name in self.state.files if name.startswith(f"{found[1]}/")]
            self._send(200, json.dumps([self._describe(name) for name in files]).encode())
        elif found := re.match(r"/api/datasets/([^/]+/[^/]+)", path):
            info = {"id": found[1], "sha": COMMIT, "siblings": [], "tags": [], "private": False}
            self._send(200, json.dumps(info).encode())
        else:
            self._send(404, b"{}")

    def _describe(self, name: str) -> dict[str, object]:
        content = self.state.announced.get(name, self.state.files[name])
        digest = hashlib.sha256(content).hexdigest()
        return {
            "type": "file",
            "path": name.split("/", 2)[2],
            "size": len(content),
            "oid": hashlib.sha1(content).hexdigest(),
            "lfs": {"oid": digest, "size": len(content), "pointerSize": 130},
        }

    def _send_file(self, name: str) -> None:
        content, wanted = self.state.files[name], self.headers["Range"]
        self.state.ranges.append(wanted)
        fault = self.state.plan.popleft() if self.state.plan else None
        if isinstance(fault, int):
            self._send(fault, b"")
            return
        first, last = map(int, wanted.removeprefix("bytes=").split("-"))
        part = content[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part[: len(part) // 2] if fault == "cut" else part)

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Stay silent."""

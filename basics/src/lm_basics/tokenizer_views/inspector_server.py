"""The web server of the tokenizer inspector, for the person in front of this computer.

``GET /`` is the page. ``POST /tokenize`` with ``{"text": ..., "special": true}`` answers what each
tokenizer makes of the text; what is refused gets ``{"error": ...}``. Other pages in the same
browser must not reach it: requests need a local host name or the number of an address, which
keeps out names that an attacker's DNS server lets point here, and JSON as content type, which no
form of another page can send.
"""

import errno
import ipaddress
import json
import logging
import re
import socket
import socketserver
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from lm_basics.tokenizer.text_tokenizer import TextTokenizer
from lm_basics.tokenizer_views.inspector import Inspection, inspect_text
from lm_basics.tokenizer_views.inspector_page import inspector_page

MAX_REQUEST_BYTES = 1_000_000
"""Largest body of a request."""
MAX_SHOWN_TOKENS = 2_000
"""Tokens in an answer, per tokenizer: more would make the page slow to draw."""

_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_MAX_DISCARDED_BYTES = 64 * MAX_REQUEST_BYTES
_CHUNK_BYTES = 1 << 16

logger = logging.getLogger(__name__)


class InspectorServer(ThreadingHTTPServer):
    """Serves the page; ``serve_forever`` runs it.

    Args:
        tokenizers: the columns of the page, by name.
        host: address to listen on; with another one than the default, others may reach the page.
        port: 0 takes a free one, ``server_port`` tells which.

    Raises:
        ValueError: there is no tokenizer, no host, or no such port.
        OSError: the port is in use, or not allowed; the message names it.
    """

    # Two servers on one port would take turns, so that a page shows either one's tokenizers.
    allow_reuse_port = False

    def __init__(
        self, tokenizers: Mapping[str, TextTokenizer], *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        if not tokenizers:
            raise ValueError("expected at least one tokenizer, got none")
        if not 0 <= port < 1 << 16:
            raise ValueError(f"expected a port from 0 to 65535, got {port}")
        self.tokenizers = dict(tokenizers)
        self.page = inspector_page()
        if not host:
            raise ValueError("expected an address to listen on, got ''; 0.0.0.0 stands for all")
        self.allowed_hosts = frozenset({*_LOCAL_NAMES, host.lower()})
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            reason = error.strerror or str(error)
            hint = "; port 0 takes a free one" if error.errno == errno.EADDRINUSE else ""
            raise OSError(error.errno, f"port {port} of {host}: {reason}{hint}") from error

    @property
    def address(self) -> str:
        """The address of the page on this computer."""
        host = str(self.server_address[0])
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return (
            f"http://[{host}]:{self.server_port}/"
            if ":" in host
            else f"http://{host}:{self.server_port}/"
        )

    def is_allowed(self, host: str) -> bool:
        """Return whether a request may name this host: one of ours, or the number of an address."""
        if host in self.allowed_hosts:
            return True
        try:
            ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True

    def server_bind(self) -> None:
        """Bind without asking a name server for this computer's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log; a browser that no longer waits for an answer is no error."""
        is_gone = isinstance(sys.exception(), ConnectionError)
        level = logging.DEBUG if is_gone else logging.ERROR
        logger.log(level, "A request from %s failed.", client_address, exc_info=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Response:
    status: HTTPStatus = HTTPStatus.OK
    content_type: str
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)


class _RefusedError(Exception):
    """A request that gets no answer, and why."""

    def __init__(self, status: HTTPStatus, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class _Handler(BaseHTTPRequestHandler):
    """One request; the connection ends with the response, as in HTTP/1.0."""

    timeout = 30
    server_version = "lm-basics"
    sys_version = ""
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(message)s\n"

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        logger.debug(format, *args)

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", self._server.page.content_security_policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    @property
    def _server(self) -> InspectorServer:
        return cast(InspectorServer, self.server)

    def _respond(self) -> None:
        try:
            response = self._find_response()
        except _RefusedError as refused:
            response = _json_response(
                {"error": str(refused)}, status=refused.status, headers=refused.headers
            )
        body = response.body.encode()
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _find_response(self) -> _Response:
        # Read before anything is refused: closing on unread bytes would discard the response.
        body = self._read_body()
        self._check_host()
        path = self.path.partition("?")[0]
        if path not in _ROUTES:
            raise _RefusedError(HTTPStatus.NOT_FOUND, f"there is no {path!a} here")
        method, find = _ROUTES[path]
        if self.command != method:
            raise _RefusedError(
                HTTPStatus.METHOD_NOT_ALLOWED, f"{path} answers to {method} only", Allow=method
            )
        if method == "POST" and self.headers.get_content_type() != "application/json":
            raise _RefusedError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected the content type application/json"
            )
        return find(self._server, body)

    def _read_body(self) -> bytes:
        if "Transfer-Encoding" in self.headers:
            raise _RefusedError(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        length = self.headers.get("Content-Length", "0")
        if not re.fullmatch("[0-9]{1,18}", length):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, f"Content-Length is {length!a}")
        num_bytes = int(length)
        if num_bytes > MAX_REQUEST_BYTES:
            self._discard(min(num_bytes, _MAX_DISCARDED_BYTES))
            raise _RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"a request may have {MAX_REQUEST_BYTES:,} bytes, this one has {num_bytes:,}",
            )
        return self.rfile.read(num_bytes)

    def _discard(self, num_bytes: int) -> None:
        while num_bytes > 0 and (chunk := self.rfile.read(min(num_bytes, _CHUNK_BYTES))):
            num_bytes -= len(chunk)

    def _check_host(self) -> None:
        hosts = self.headers.get_all("Host", [])
        names = [re.sub(r":[0-9]*\Z", "", host).lower() for host in hosts]
        if len(names) != 1 or not self._server.is_allowed(names[0]):
            raise _RefusedError(
                HTTPStatus.FORBIDDEN,
                f"expected a host of {sorted(self._server.allowed_hosts)}, got {names!a}",
            )


def _send_page(server: InspectorServer, body: bytes) -> _Response:
    return _Response(content_type="text/html; charset=utf-8", body=server.page.html)


def _tokenize(server: InspectorServer, body: bytes) -> _Response:
    text, reads_special_tokens = _parse_question(body)
    try:
        inspections = {
            name: inspect_text(
                tokenizer,
                text,
                reads_special_tokens=reads_special_tokens,
                max_tokens=MAX_SHOWN_TOKENS,
            )
            for name, tokenizer in server.tokenizers.items()
        }
    except ValueError as error:
        raise _RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    # Every inspection knows the size of the same text.
    first = next(iter(inspections.values()))
    answer = {
        "num_characters": first.num_characters,
        "num_bytes": first.num_bytes,
        "tokenizers": [_to_json(name, one) for name, one in inspections.items()],
    }
    return _json_response(answer)


_ROUTES: Mapping[str, tuple[str, Callable[[InspectorServer, bytes], _Response]]] = {
    "/": ("GET", _send_page),
    "/tokenize": ("POST", _tokenize),
}


def _parse_question(body: bytes) -> tuple[str, bool]:
    """Return the text, and whether it may spell special tokens."""
    try:
        question = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise _RefusedError(HTTPStatus.BAD_REQUEST, f"expected JSON in UTF-8: {error}") from error
    match question:
        case {"text": str(text), "special": bool(special), **rest} if not rest:
            return text, special
        case {"text": str(text), **rest} if not rest:
            return text, True
    raise _RefusedError(
        HTTPStatus.BAD_REQUEST, 'expected {"text": string, "special": true or false}'
    )


def _to_json(name: str, inspection: Inspection) -> dict[str, Any]:
    return {
        "name": name,
        "vocab_size": inspection.vocab_size,
        "num_tokens": inspection.num_tokens,
        "bytes_per_token": inspection.bytes_per_token,
        "is_lossless": inspection.is_lossless,
        "tokens": [
            {
                "id": token.token_id,
                "bytes": token.data.hex(),
                "start": token.start_byte,
                "special": token.is_special,
                "cut": token.cut_characters,
                "pieces": [[piece.kind, piece.text, piece.shown] for piece in token.pieces],
            }
            for token in inspection.tokens
        ],
    }


def _json_response(
    value: Any, *, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> _Response:
    # ASCII, so that no surrogate in a name or message stops it from being sent.
    return _Response(
        status=status,
        content_type="application/json",
        body=json.dumps(value),
        headers=headers or {},
    )

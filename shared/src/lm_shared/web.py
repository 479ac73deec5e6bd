"""Pages that a person works in: a web app on this computer, for the person in front of it.

    app = make_app(
        [page_route("/", "lm_basics.tokenizer_views", "inspector.html"),
         json_route("/tokenize", answer)],
        static=["lm_basics.tokenizer_views"],
    )
    with WebServer(app, port=0) as server:
        server.run(lambda: print(server.address))

Other pages in the same browser must not reach it, and nothing on its pages comes from elsewhere.
Requests need a local host name or the number of an address, which keeps out names that an
attacker's DNS server lets point here; what changes or asks must be JSON, which no form of another
page can send; scripts and styles are files of the packages, under ``/static``. What is refused gets
``{"error": ...}``. Any ASGI app can be served so.
"""

import errno
import ipaddress
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import BaseRoute, Mount, Route
    from starlette.staticfiles import StaticFiles
except ImportError as error:
    raise ImportError("pages need starlette and uvicorn: install lm-shared[web]") from error
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lm_shared.report import render_template

MAX_REQUEST_BYTES = 1_000_000
"""Largest body of a request."""

CONTENT_SECURITY_POLICY = "; ".join(
    [
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"),
        *(
            "img-src 'self' data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ),
        # With these the browser refuses to parse any string as HTML, even for the page's script.
        *("require-trusted-types-for 'script'", "trusted-types 'none'"),
    ]
)
"""What a browser may load for a page: its own files, and nothing that is written into it."""

_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_MAX_DISCARDED_BYTES = 64 * MAX_REQUEST_BYTES
_SHUTDOWN_S = 2


class WebServer:
    """A port of this computer on which an app answers; a context manager that gives it back.

    Args:
        app: the app, of ``make_app`` or any other.
        host: address to listen on; with another one than the default, others may reach the app.
        port: 0 takes a free one, ``port`` tells which.
        policy: value of the header Content-Security-Policy.

    Raises:
        ValueError: there is no host, or no such port.
        OSError: the port is in use, or not allowed; the message names it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        policy: str = CONTENT_SECURITY_POLICY,
    ) -> None:
        if not 0 <= port < 1 << 16:
            raise ValueError(f"expected a port from 0 to 65535, got {port}")
        if not host:
            raise ValueError("expected an address to listen on, got ''; 0.0.0.0 stands for all")
        self._socket = _listen(host, port)
        self._host: str = self._socket.getsockname()[0]
        self.port: int = self._socket.getsockname()[1]
        guarded = _Guard(app, frozenset({*_LOCAL_NAMES, host.lower()}), policy)
        self._server = _Server(
            uvicorn.Config(
                guarded,
                log_config=None,
                log_level="warning",
                access_log=False,
                lifespan="off",
                ws="none",
                http="h11",
                server_header=False,
                timeout_graceful_shutdown=_SHUTDOWN_S,
            )
        )

    @property
    def address(self) -> str:
        """The address of the first page on this computer."""
        own = {"0.0.0.0": "127.0.0.1", "::": "::1"}
        host = own.get(self._host, self._host)
        return f"http://[{host}]:{self.port}/" if ":" in host else f"http://{host}:{self.port}/"

    def run(self, on_start: Callable[[], object] = lambda: None) -> None:
        """Answer until Ctrl-C, which is the way to end it and no error.

        Args:
            on_start: called as soon as it answers; whoever is told of the address here may press
                Ctrl-C at once.
        """
        self._server.on_start = on_start
        try:
            self._server.run(sockets=[self._socket])
        except KeyboardInterrupt:
            return

    @contextmanager
    def running(self) -> Iterator["WebServer"]:
        """Answer in a thread for as long as the block lasts."""
        thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        thread.start()
        try:
            while not self._server.started and thread.is_alive():
                time.sleep(0.005)
            yield self
        finally:
            self._server.should_exit = True
            thread.join()

    def __enter__(self) -> "WebServer":
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()


class _Server(uvicorn.Server):
    """A server that tells when it has started."""

    on_start: Callable[[], object] = staticmethod(lambda: None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self.on_start()


class JsonResponse(JSONResponse):
    """JSON in ASCII, so that half of a surrogate pair in it does not stop it from being sent."""

    def render(self, content: Any) -> bytes:
        """Return the bytes of the body."""
        return json.dumps(content).encode()


def make_app(routes: Sequence[BaseRoute], *, static: Sequence[str] = ()) -> Starlette:
    """Return an app that answers to routes, and with JSON to everything else.

    Args:
        routes: of ``page_route``, ``json_route`` and Starlette.
        static: packages whose folder ``static`` is served under ``/static``, with that of
            lm_shared, which has ``report.css``.
    """
    files = StaticFiles(packages=[(package, "static") for package in ("lm_shared", *static)])
    app = Starlette(
        routes=[*routes, Mount("/static", files)],
        exception_handlers={HTTPException: _answer_refusal, Exception: _answer_failure},
    )
    app.router.redirect_slashes = False
    return app


def page_route(path: str, package: str, template: str, **values: object) -> Route:
    """Return a route to a page, rendered once from a template of a package."""
    html = render_template(package, template, **values)

    async def show(request: Request) -> Response:
        return HTMLResponse(html)

    return Route(path, show)


def json_route(path: str, answer: Callable[[Any], Any]) -> Route:
    """Return a route to which JSON is posted, and which answers with JSON.

    Args:
        path: of the route.
        answer: gets what was asked, in a thread of its own; its ``ValueError`` is an answer too,
            with status 422. For another status it raises Starlette's ``HTTPException``.
    """

    async def respond(request: Request) -> Response:
        body = await request.body()
        try:
            question = json.loads(body.decode())
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, f"expected JSON in UTF-8: {error}") from error
        try:
            return JsonResponse(await run_in_threadpool(answer, question))
        except ValueError as error:
            raise HTTPException(422, str(error)) from error

    return Route(path, respond, methods=["POST"])


class _Guard:
    """Stands before an app: refuses what other pages may send, limits and labels the rest."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], policy: str) -> None:
        self._app = app
        self._hosts = hosts
        self._headers = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_labelled(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
            await send(message)

        headers = Headers(scope=scope)
        refusal = self._check(scope["method"], headers)
        if refusal is None:
            await self._app(scope, receive, send_labelled)
            return
        # Read before the answer: closing on unread bytes would discard it.
        await _discard_body(receive)
        await refusal(scope, receive, send_labelled)

    def _check(self, method: str, headers: Headers) -> Response | None:
        """Return what is answered to a request that the app must not see."""
        hosts = [re.sub(r":[0-9]*\Z", "", host).lower() for host in headers.getlist("host")]
        if len(hosts) != 1 or not self._is_allowed(hosts[0]):
            return _refusal(403, f"expected a host of {sorted(self._hosts)}, got {hosts!a}")
        if "transfer-encoding" in headers:
            return _refusal(411, "expected a Content-Length")
        num_bytes = int(headers.get("content-length", "0"))
        if num_bytes > MAX_REQUEST_BYTES:
            most = f"a request may have {MAX_REQUEST_BYTES:,} bytes"
            return _refusal(413, f"{most}, this one has {num_bytes:,}")
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if method not in ("GET", "HEAD") and content_type != "application/json":
            return _refusal(415, "expected the content type application/json")
        return None

    def _is_allowed(self, host: str) -> bool:
        """Return whether a request may name this host: one of ours, or the number of an address."""
        if host in self._hosts:
            return True
        try:
            ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        hint = "; port 0 takes a free one" if error.errno == errno.EADDRINUSE else ""
        raise OSError(error.errno, f"port {port} of {host}: {reason}{hint}") from error


async def _discard_body(receive: Receive) -> None:
    num_bytes = 0
    while num_bytes < _MAX_DISCARDED_BYTES:
        message = await receive()
        num_bytes += len(message.get("body", b""))
        if not message.get("more_body", False):
            return


async def _answer_refusal(request: Request, error: Exception) -> Response:
    """Say why a request has no answer: no such path, no such method, or what a route found."""
    refused = error if isinstance(error, HTTPException) else HTTPException(500)
    path, message = request.url.path, refused.detail
    if message == HTTPStatus(refused.status_code).phrase:
        allowed = (refused.headers or {}).get("Allow")
        message = f"{path} answers to {allowed} only" if allowed else f"there is no {path!a} here"
    return _refusal(refused.status_code, message, refused.headers)


async def _answer_failure(request: Request, error: Exception) -> Response:
    """Say that the fault is ours; uvicorn logs the error."""
    return _refusal(500, f"{request.url.path} failed: {type(error).__name__}; see the log")


def _refusal(status: int, message: str, headers: Any = None) -> Response:
    return JsonResponse({"error": message}, status, headers=headers)

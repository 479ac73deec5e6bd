"""Apps on loopback: who is answered, what is refused, how it ends."""

import http.client
import json
import signal
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from lm_shared.testing.browser import JSON_HEADERS, Answer, post_json, request
from lm_shared.testing.processes import start_python
from lm_shared.web import MAX_REQUEST_BYTES, WebServer, json_route, make_app

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PAGE = """<!doctype html><html lang="en"><title>t</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="static/report.css"><p style="color: red">text</p>
<script>document.title = "ran"</script><script src="https://elsewhere.example/x.js"></script>"""


def answer(question: Any) -> Any:
    match question:
        case "absent":
            raise HTTPException(404, "no such thing")
        case "wrong":
            raise ValueError("not that")
        case "broken":
            raise KeyError("secret")
    return {"question": question, "thread": threading.current_thread().name}


async def show(request: Request) -> Response:
    return HTMLResponse(PAGE)


APP = make_app([Route("/", show), json_route("/ask", answer)])


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with WebServer(APP) as server, server.running():
        yield server


def ask(server: WebServer, question: object) -> Answer:
    return post_json(server, "/ask", question)


def test_json_is_answered_in_a_thread_and_in_ascii(server: WebServer) -> None:
    response = ask(server, "</script>é\u2028\ud800")
    assert response.status == 200
    assert response.body.isascii()
    assert response.headers["Content-Type"] == "application/json"
    found = json.loads(response.body)
    assert found["question"] == "</script>é\u2028\ud800"
    assert found["thread"] != threading.current_thread().name


def test_every_answer_carries_the_policy(server: WebServer) -> None:
    for response in (
        *(request(server, "GET", "/"), request(server, "GET", "/static/report.css")),
        *(request(server, "GET", "/x"), request(server, "GET", "/", headers={"Host": "a.b"})),
    ):
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "Server" not in response.headers


def test_static_files_are_those_of_the_packages_alone(server: WebServer) -> None:
    assert (
        request(server, "GET", "/static/report.css").headers["Content-Type"].startswith("text/css")
    )
    for path in (
        "/static/../report.py",
        "/static/%2e%2e/report.py",
        "/static/",
        "/static//etc/passwd",
    ):
        assert request(server, "GET", path).status == 404


@pytest.mark.parametrize("body", [b"", b"{", b'"\xff"', b"[" * 200_000, b"9" * 5000])
def test_bad_json_is_refused(server: WebServer, body: bytes) -> None:
    response = request(server, "POST", "/ask", body, JSON_HEADERS)
    assert response.status == 400
    assert response.error.startswith("expected JSON in UTF-8")


@pytest.mark.parametrize(
    ("question", "status", "error"),
    [
        ("wrong", 422, "not that"),
        ("absent", 404, "no such thing"),
        ("broken", 500, "/ask failed: KeyError; see the log"),
    ],
)
def test_errors_are_json(server: WebServer, question: str, status: int, error: str) -> None:
    response = ask(server, question)
    assert (response.status, response.error) == (status, error)


@pytest.mark.parametrize("num_bytes", [MAX_REQUEST_BYTES + 1, 5 * MAX_REQUEST_BYTES])
def test_large_requests_are_refused_with_an_answer(server: WebServer, num_bytes: int) -> None:
    response = request(server, "POST", "/ask", b"x" * num_bytes, JSON_HEADERS)
    assert response.status == 413
    assert f"this one has {num_bytes:,}" in response.error


def test_the_largest_request_is_answered(server: WebServer) -> None:
    assert ask(server, "x" * (MAX_REQUEST_BYTES - 2)).status == 200


@pytest.mark.parametrize("length", ["-1", "1e3", "x", "9" * 30])
def test_lengths_that_are_no_numbers_are_refused(server: WebServer, length: str) -> None:
    response = request(server, "POST", "/ask", None, JSON_HEADERS | {"Content-Length": length})
    assert response.status == 400


def test_bodies_of_unknown_length_are_refused(server: WebServer) -> None:
    headers = JSON_HEADERS | {"Transfer-Encoding": "chunked"}
    assert request(server, "POST", "/ask", b"0\r\n\r\n", headers).status == 411


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_what_a_form_of_another_page_can_send_is_refused(
    server: WebServer, content_type: str
) -> None:
    response = request(server, "POST", "/ask", '{"text": "a"}', {"Content-Type": content_type})
    assert (response.status, response.error) == (415, "expected the content type application/json")
    assert response.headers["Content-Type"] == "application/json"


def test_a_charset_may_follow_the_content_type(server: WebServer) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert request(server, "POST", "/ask", "1", headers).status == 200


def test_unknown_paths_are_not_found_and_shown_as_data(server: WebServer) -> None:
    for path in ("/x", "/ask/", "/favicon.ico", "/<script>"):
        response = request(server, "GET", path)
        assert (response.status, response.error) == (404, f"there is no '{path}' here")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/ask", "POST"), ("POST", "/", "GET, HEAD"), ("DELETE", "/", "GET, HEAD")],
)
def test_other_methods_are_refused(server: WebServer, method: str, path: str, allowed: str) -> None:
    response = request(server, method, path, None, JSON_HEADERS)
    assert response.status == 405
    assert sorted(response.headers["Allow"].split(", ")) == allowed.split(", ")
    assert response.error.startswith(f"{path} answers to ")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:8000", "[::1]:8000"])
def test_local_names_are_answered(server: WebServer, host: str) -> None:
    assert request(server, "GET", "/", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "evil.example:8000", "127.0.0.1.nip.io"),
        *("", "x@localhost", "localhost:80:90"),
    ],
)
def test_names_that_were_pointed_here_are_refused(server: WebServer, host: str) -> None:
    for method, path in (("GET", "/"), ("POST", "/ask"), ("GET", "/absent")):
        response = request(server, method, path, headers={"Host": host})
        assert response.status == 403
        assert "expected a host of" in response.error


def test_two_hosts_or_none_are_refused(server: WebServer) -> None:
    for hosts in (b"Host: localhost\r\nHost: evil.example\r\n", b""):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n" + hosts + b"\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 40")


def test_another_address_to_listen_on_is_answered_too() -> None:
    with WebServer(APP, host="127.0.0.2") as server:
        assert server.address == f"http://127.0.0.2:{server.port}/"


def test_an_address_of_the_sixth_version_is_answered() -> None:
    try:
        server = WebServer(APP, host="::1")
    except OSError as error:
        pytest.skip(f"needs IPv6: {error}")
    with server, server.running():
        assert server.address == f"http://[::1]:{server.port}/"
        connection = http.client.HTTPConnection("::1", server.port, timeout=20)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()


def test_other_computers_reach_an_app_by_number_when_it_listens_to_all() -> None:
    with WebServer(APP, host="0.0.0.0") as server, server.running():
        assert server.address == f"http://127.0.0.1:{server.port}/"
        for host in ("192.0.2.7", "192.0.2.7:8000", "[2001:db8::1]:8000"):
            assert request(server, "GET", "/", headers={"Host": host}).status == 200
        assert request(server, "GET", "/", headers={"Host": "evil.example"}).status == 403


def test_a_client_that_leaves_does_not_end_the_server(server: WebServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
    assert ask(server, "a").status == 200


def test_impossible_servers_are_refused(server: WebServer) -> None:
    for port in (-1, 65536):
        with pytest.raises(ValueError, match=f"from 0 to 65535, got {port}"):
            WebServer(APP, port=port)
    with pytest.raises(ValueError, match="expected an address to listen on, got ''"):
        WebServer(APP, host="")
    taken = f"port {server.port} of 127.0.0.1: Address already in use; port 0 takes a free one"
    with pytest.raises(OSError, match=taken):
        WebServer(APP, port=server.port)


def test_a_port_is_free_again_behind_the_block() -> None:
    with WebServer(APP) as server, server.running():
        port = server.port
        request(server, "GET", "/")
    with WebServer(APP, port=port) as again, again.running():
        assert request(again, "GET", "/").status == 200


_SCRIPT = """\
from lm_shared.web import WebServer, make_app

with WebServer(make_app([])) as server:
    server.run(lambda: print(server.address, flush=True))
    print("ended")
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_without_a_traceback(how: signal.Signals) -> None:
    with start_python(["-c", _SCRIPT]) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rstrip("/\n").rpartition(":")[2])
        # An open connection, as a browser keeps, does not hold it up.
        with socket.create_connection(("127.0.0.1", port), timeout=20):
            process.send_signal(how)
            output = process.stdout.read()
            code = process.wait(20)
    assert (output, code) == (("ended\n", 0) if how == signal.SIGINT else ("", -how))


@pytest.mark.browser
def test_a_browser_runs_nothing_that_is_written_into_a_page(
    browser: "Browser", server: WebServer
) -> None:
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(server.address)
    assert page.title() == "t"
    assert page.locator("p").evaluate("p => getComputedStyle(p).color") != "rgb(255, 0, 0)"
    page.close()
    for blocked in ("inline style", "inline script", "elsewhere.example"):
        assert any(blocked in one for one in said), said

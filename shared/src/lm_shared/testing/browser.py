"""What asks an app of ``lm_shared.web`` in tests: plain requests, and a real browser.

The browser is Debian's chromium. One serves all tests of a session; each test gets a ``page`` of
its own, on which no script may fail, no dialog open, and nothing come from elsewhere:

    with WebServer(app) as server, server.running():
        page.goto(server.address)
        assert request(server, "GET", "/nowhere").status == 404
"""

import http.client
import json
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

    from lm_shared.web import WebServer

JSON_HEADERS = {"Content-Type": "application/json"}
# The last five keep the browser from calling its maker's servers.
_OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
_TIMEOUT_MS = 15_000  # both cores may be busy with other tests


class Answer:
    """What came back: status, headers and body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """Why the request was refused."""
        return self.json["error"]


def request(
    server: "WebServer",
    method: str,
    path: str,
    body: bytes | str | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """Ask a running server, and read its whole answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def post_json(server: "WebServer", path: str, question: object) -> Answer:
    """Post something as JSON."""
    return request(server, "POST", path, json.dumps(question), JSON_HEADERS)


def lacks_browser() -> str | None:
    """Return what is missing, ``None`` where pages can be opened."""
    return None if shutil.which("chromium") else "needs the program chromium"


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Start chromium, once for all tests that this process runs."""
    # The package has no builds for some systems.
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    if reason := lacks_browser():
        pytest.skip(reason)
    sync_api.expect.set_options(timeout=_TIMEOUT_MS)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=_OPTIONS
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: "Browser") -> "Iterator[Page]":
    """Open a page, and fail the test for what must not happen on it."""
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    page.set_default_timeout(_TIMEOUT_MS)
    problems: list[str] = []
    hosts: set[str] = set()

    def dismiss(dialog: "Dialog") -> None:
        problems.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.on("pageerror", lambda error: problems.append(str(error)))
    # A breach of the policy is an error on the console.
    page.on("console", lambda message: problems.append(message.text))
    page.on("request", lambda request: hosts.add(request.url.split("/")[2].split(":")[0]))
    yield page
    page.close()
    problems = [one for one in problems if not one.startswith("Failed to load resource")]
    if problems or hosts - {"127.0.0.1"}:
        pytest.fail(f"the page has the problems {problems}, and asked {sorted(hosts)}")

"""The inspector over HTTP."""

import base64
import hashlib
import json
import re
import socket
from collections.abc import Iterator

import pytest

from basics.tests.inspector_client import JSON, request, served, tokenize, trained_byte_pairs
from lm_basics.tokenizer import (
    END_OF_TEXT,
    ByteTokenizer,
    CharacterTokenizer,
    Tokenizer,
)
from lm_basics.tokenizer_views.inspector_page import inspector_page
from lm_basics.tokenizer_views.inspector_server import (
    MAX_REQUEST_BYTES,
    MAX_SHOWN_TOKENS,
    InspectorServer,
)


@pytest.fixture(scope="module")
def byte_pairs() -> Tokenizer:
    return trained_byte_pairs()


@pytest.fixture(scope="module")
def server(byte_pairs: Tokenizer) -> Iterator[InspectorServer]:
    tokenizers = {"<b>ours</b>": byte_pairs, "bytes": ByteTokenizer(), "c": CharacterTokenizer()}
    with served(InspectorServer(tokenizers)) as server:
        yield server


def test_every_tokenizer_answers_in_the_order_given(
    server: InspectorServer, byte_pairs: Tokenizer
) -> None:
    text = f"the cat ß{END_OF_TEXT}"
    response = tokenize(server, {"text": text})
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json"
    ours, bytes_, characters = response.json["tokenizers"]
    assert [one["name"] for one in (ours, bytes_, characters)] == ["<b>ours</b>", "bytes", "c"]
    assert [token["id"] for token in ours["tokens"]] == byte_pairs.encode(text)
    assert [token["id"] for token in bytes_["tokens"]] == list(text.encode())
    assert [token["id"] for token in characters["tokens"]] == list(map(ord, text))
    assert b"".join(bytes.fromhex(token["bytes"]) for token in ours["tokens"]) == text.encode()
    assert ours["tokens"][-1] == {
        "id": byte_pairs.special_token_ids[END_OF_TEXT],
        "bytes": END_OF_TEXT.encode().hex(),
        "start": len("the cat ß".encode()),
        "special": True,
        "cut": "",
        "pieces": [["text", END_OF_TEXT, END_OF_TEXT]],
    }
    assert (response.json["num_characters"], response.json["num_bytes"]) == (22, 23)
    assert ours["bytes_per_token"] == 23 / ours["num_tokens"]
    assert ours["vocab_size"] == 265


def test_special_tokens_can_be_left_unread(server: InspectorServer) -> None:
    question = {"text": END_OF_TEXT, "special": False}
    tokens = tokenize(server, question).json["tokenizers"][0]["tokens"]
    assert len(tokens) > 1
    assert not any(token["special"] for token in tokens)


def test_no_text_is_an_answer_without_tokens(server: InspectorServer) -> None:
    for one in tokenize(server, {"text": ""}).json["tokenizers"]:
        assert (one["tokens"], one["num_tokens"], one["bytes_per_token"]) == ([], 0, None)


def test_answers_hold_a_bounded_number_of_tokens(server: InspectorServer) -> None:
    # Quotes and backslashes would leave less room for the text.
    text = "é" * ((MAX_REQUEST_BYTES - 20) // len(json.dumps("é")[1:-1]))
    response = tokenize(server, {"text": text})
    assert response.status == 200
    for one in response.json["tokenizers"]:
        assert len(one["tokens"]) == MAX_SHOWN_TOKENS
        assert one["num_tokens"] >= len(text)


def test_answers_are_ascii_and_no_html(server: InspectorServer) -> None:
    response = tokenize(server, {"text": "</script>é\u2028"})
    assert response.body.isascii()
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "expected JSON"),
        (b"{", "expected JSON"),
        (b'{"text": "\xff"}', "expected JSON in UTF-8"),
        (b"[" * 200_000, "expected JSON"),
        (b"9" * 5000, "expected JSON"),
        (b'"text"', "expected {"),
        (b'{"text": 1}', "expected {"),
        (b'{"text": null}', "expected {"),
        (b"{}", "expected {"),
        (b'{"text": "a", "special": "yes"}', "expected {"),
        (b'{"text": "a", "other": 1}', "expected {"),
    ],
)
def test_bad_json_is_refused(server: InspectorServer, body: bytes, message: str) -> None:
    response = request(server, "POST", "/tokenize", body, JSON)
    assert response.status == 400
    assert message in response.json["error"]


def test_half_of_a_surrogate_pair_is_a_clear_error(server: InspectorServer) -> None:
    response = request(server, "POST", "/tokenize", rb'{"text": "ab\ud800"}', JSON)
    assert response.status == 422
    assert "half of a surrogate pair, U+D800, at character 2" in response.json["error"]


@pytest.mark.parametrize("num_bytes", [MAX_REQUEST_BYTES + 1, 5 * MAX_REQUEST_BYTES])
def test_large_requests_are_refused_with_an_answer(server: InspectorServer, num_bytes: int) -> None:
    response = request(server, "POST", "/tokenize", b"x" * num_bytes, JSON)
    assert response.status == 413
    assert f"this one has {num_bytes:,}" in response.json["error"]


@pytest.mark.parametrize("length", ["-1", "1e3", "x", "9" * 30])
def test_lengths_that_are_no_numbers_are_refused(server: InspectorServer, length: str) -> None:
    response = request(server, "POST", "/tokenize", None, JSON | {"Content-Length": length})
    assert response.status == 400
    assert f"Content-Length is '{length}'" in response.json["error"]


def test_bodies_of_unknown_length_are_refused(server: InspectorServer) -> None:
    headers = JSON | {"Transfer-Encoding": "chunked"}
    assert request(server, "POST", "/tokenize", None, headers).status == 411


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_what_a_form_of_another_page_can_send_is_refused(
    server: InspectorServer, content_type: str
) -> None:
    headers = {"Content-Type": content_type}
    assert request(server, "POST", "/tokenize", '{"text": "a"}', headers).status == 415


def test_unknown_paths_are_not_found_and_shown_as_data(server: InspectorServer) -> None:
    for path in ("/x", "/tokenize/", "/../inspector.js", "/favicon.ico", "/<script>"):
        response = request(server, "GET", path)
        assert response.status == 404
        assert response.headers["Content-Type"] == "application/json"
        assert response.json == {"error": f"there is no '{path}' here"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("GET", "/tokenize", "POST"), ("POST", "/", "GET")]
)
def test_other_methods_are_refused(
    server: InspectorServer, method: str, path: str, allowed: str
) -> None:
    response = request(server, method, path)
    assert (response.status, response.headers["Allow"]) == (405, allowed)


def test_methods_that_no_path_has_are_refused_without_html(server: InspectorServer) -> None:
    for method in ("PUT", "DELETE", "OPTIONS", "<b>"):
        response = request(server, method, "/")
        assert response.status == 501
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:8000", "[::1]:8000"])
def test_local_names_are_answered(server: InspectorServer, host: str) -> None:
    assert request(server, "GET", "/", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil.example:8000",
        "127.0.0.1.nip.io",
        "",
        "x@localhost",
    ],
)
def test_names_that_were_pointed_here_are_refused(server: InspectorServer, host: str) -> None:
    for method, path in (("GET", "/"), ("POST", "/tokenize"), ("GET", "/absent")):
        response = request(server, method, path, headers={"Host": host})
        assert response.status == 403
        assert "expected a host of" in response.json["error"]


def test_two_hosts_are_refused(server: InspectorServer) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.0 403 ")


def test_another_address_to_listen_on_is_answered_too() -> None:
    with InspectorServer({"bytes": ByteTokenizer()}, host="127.0.0.2") as server:
        assert server.address == f"http://127.0.0.2:{server.server_port}/"
        assert server.allowed_hosts == {"localhost", "127.0.0.1", "[::1]", "127.0.0.2"}


def test_other_computers_reach_a_page_by_number_when_it_listens_to_all() -> None:
    with served(InspectorServer({"bytes": ByteTokenizer()}, host="0.0.0.0")) as server:
        assert server.address == f"http://127.0.0.1:{server.server_port}/"
        for host in ("192.0.2.7", "192.0.2.7:8000", "[2001:db8::1]:8000"):
            assert request(server, "GET", "/", headers={"Host": host}).status == 200
        assert request(server, "GET", "/", headers={"Host": "evil.example"}).status == 403
    with pytest.raises(ValueError, match="expected an address to listen on, got ''"):
        InspectorServer({"bytes": ByteTokenizer()}, host="")


def test_the_policy_names_the_only_script_and_style_of_the_page(server: InspectorServer) -> None:
    response = request(server, "GET", "/?x=1")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    text = response.body.decode()
    policy = response.headers["Content-Security-Policy"]
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_the_page_loads_nothing_and_parses_no_text_as_html() -> None:
    page = inspector_page().html
    for name in ("://", " src=", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"):
        assert name not in page
    assert not re.search(r"\son\w+=|\beval\(|\bstyle=", page)


def test_a_client_that_leaves_does_not_end_the_server(server: InspectorServer) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        connection.sendall(
            b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
        )
    assert tokenize(server, {"text": "a"}).status == 200


def test_a_port_in_use_is_named(server: InspectorServer) -> None:
    port = server.server_port
    with pytest.raises(OSError, match=f"port {port} of 127.0.0.1: Address already in use"):
        InspectorServer({"bytes": ByteTokenizer()}, port=port)


def test_impossible_servers_are_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 65535, got 65536"):
        InspectorServer({"bytes": ByteTokenizer()}, port=65536)
    with pytest.raises(ValueError, match="at least one tokenizer"):
        InspectorServer({})

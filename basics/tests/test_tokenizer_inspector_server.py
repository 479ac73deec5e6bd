"""The inspector over HTTP, and the command that starts it."""

import base64
import hashlib
import http.client
import json
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from lm_basics.commands.tokenizer_page import serve_tokenizer_page
from lm_basics.tokenizer import (
    END_OF_TEXT,
    ByteTokenizer,
    CharacterTokenizer,
    Tokenizer,
    save_vocabulary,
    train_bpe_from_texts,
)
from lm_basics.tokenizer.inspector_page import inspector_page
from lm_basics.tokenizer.inspector_server import (
    MAX_REQUEST_BYTES,
    MAX_SHOWN_TOKENS,
    InspectorServer,
)
from lm_basics.tokenizer.tiktoken_file import ranks_from_tokenizer, write_rank_file
from lm_shared.testing.processes import start_python

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def byte_pairs() -> Tokenizer:
    vocab, merges = train_bpe_from_texts(["the cat sat on the mat " * 9], 265, [END_OF_TEXT])
    return Tokenizer(vocab, merges, [END_OF_TEXT])


@pytest.fixture(scope="module")
def server(byte_pairs: Tokenizer) -> Iterator[InspectorServer]:
    tokenizers = {"<b>ours</b>": byte_pairs, "bytes": ByteTokenizer(), "c": CharacterTokenizer()}
    with served(InspectorServer(tokenizers)) as server:
        yield server


@contextmanager
def served(server: InspectorServer) -> Iterator[InspectorServer]:
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Response:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(
    server: InspectorServer,
    method: str,
    path: str,
    body: bytes | str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        return Response(connection.getresponse())
    finally:
        connection.close()


def tokenize(server: InspectorServer, question: object) -> Response:
    return request(server, "POST", "/tokenize", json.dumps(question), JSON)


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


COMMAND = """
import sys
from lm_basics.commands.tokenizer_page import serve_tokenizer_page
from lm_shared.command_line import run_command
sys.exit(run_command("basics", serve_tokenizer_page))
"""


@contextmanager
def command(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Run the command and yield its process and output; whatever happens, it ends."""
    with start_python(["-c", COMMAND, *arguments]) as process:
        timer = threading.Timer(60, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            yield process, process.stdout
        finally:
            process.kill()
            timer.cancel()


def test_the_command_shows_what_users_have_until_it_is_interrupted(
    byte_pairs: Tokenizer, tmp_path: Path
) -> None:
    files = tmp_path / "vocab.json", tmp_path / "merges.txt"
    save_vocabulary(byte_pairs.vocab, byte_pairs.merges, *files, special_tokens=[END_OF_TEXT])
    byte_pairs.save(tmp_path / "folder")
    ranks = ranks_from_tokenizer(byte_pairs)
    write_rank_file(ranks, tmp_path / "cl100k_base.tiktoken")
    write_rank_file(ranks, tmp_path / "0a1b")
    arguments = [tmp_path / "folder", f"ours={tmp_path / 'folder'}", "--port", "0"]
    arguments += ["--gpt2-vocab", files[0], "--gpt2-merges", files[1], "--rank-file"]
    arguments += [tmp_path / "cl100k_base.tiktoken", f"o200k_base={tmp_path / '0a1b'}"]
    with command(*arguments) as (process, output):
        line = output.readline()
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/ shows (.*); Ctrl-C ends it\n", line)
        assert found is not None, line + output.read()
        assert found[2] == "folder, ours, gpt2, cl100k_base, o200k_base"
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=20)
        connection.request("POST", "/tokenize", json.dumps({"text": "the cat"}), JSON)
        answer = json.load(connection.getresponse())
        connection.close()
        process.send_signal(signal.SIGINT)
        assert output.read() == "ended\n"
        assert process.wait() == 0
    expected = byte_pairs.encode("the cat")
    for one in answer["tokenizers"]:
        assert [token["id"] for token in one["tokens"]] == expected


def test_without_a_tokenizer_the_command_shows_three_kinds() -> None:
    with command("--port", "0") as (process, output):
        line = output.readline()
        process.send_signal(signal.SIGINT)
        rest = output.read()
        assert process.wait() == 0
    assert "shows characters, bytes, byte pairs of Python's manual" in line, line + rest


def test_a_port_in_use_is_one_line_of_the_command(server: InspectorServer) -> None:
    with command("--port", str(server.server_port)) as (process, output):
        printed = output.read()
        assert process.wait() == 2
    assert printed == (
        f"basics: error: port {server.server_port} of 127.0.0.1: Address already in use; "
        "port 0 takes a free one\n"
    )


def test_arguments_that_name_no_tokenizer_are_refused(
    byte_pairs: Tokenizer, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    byte_pairs.save(folder)
    with pytest.raises(FileNotFoundError, match="absent"):
        serve_tokenizer_page(("ours=absent",))
    with pytest.raises(ValueError, match="expected a path or name=path, got '=absent'"):
        serve_tokenizer_page(("=absent",))
    with pytest.raises(ValueError, match="expected different names, got folder, folder"):
        serve_tokenizer_page((str(folder), str(folder)))
    with pytest.raises(ValueError, match="needs both files"):
        serve_tokenizer_page(gpt2_vocab=tmp_path / "vocab.json")
    with pytest.raises(FileNotFoundError, match=r"there is no rank file .*other\.tiktoken"):
        serve_tokenizer_page(rank_file=(str(tmp_path / "other.tiktoken"),))
    (tmp_path / "other.tiktoken").touch()
    with pytest.raises(ValueError, match=r"expected one of r50k_base, .*, got 'other'; for other"):
        serve_tokenizer_page(rank_file=(str(tmp_path / "other.tiktoken"),))


def test_a_folder_with_an_equals_sign_in_its_name_is_found(
    byte_pairs: Tokenizer, tmp_path: Path
) -> None:
    byte_pairs.save(tmp_path / "lr=3")
    with pytest.raises(ValueError, match="got lr=3, lr=3"):
        serve_tokenizer_page((str(tmp_path / "lr=3"), str(tmp_path / "lr=3")))

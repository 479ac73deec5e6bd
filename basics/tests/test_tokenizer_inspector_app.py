"""The inspector over HTTP."""

import json
import re
from collections.abc import Iterator

import pytest

from basics.tests.inspector_client import tokenize, trained_byte_pairs
from lm_basics.tokenizer import (
    END_OF_TEXT,
    ByteTokenizer,
    CharacterTokenizer,
    Tokenizer,
)
from lm_basics.tokenizer_views.inspector_app import MAX_SHOWN_TOKENS, inspector_app
from lm_shared.testing.browser import request
from lm_shared.web import MAX_REQUEST_BYTES, WebServer

STATIC = ["report.css", "inspector.css", "inspector.js"]


@pytest.fixture(scope="module")
def byte_pairs() -> Tokenizer:
    return trained_byte_pairs()


@pytest.fixture(scope="module")
def server(byte_pairs: Tokenizer) -> Iterator[WebServer]:
    tokenizers = {"<b>ours</b>": byte_pairs, "bytes": ByteTokenizer(), "c": CharacterTokenizer()}
    with WebServer(inspector_app(tokenizers)) as server, server.running():
        yield server


def test_every_tokenizer_answers_in_the_order_given(
    server: WebServer, byte_pairs: Tokenizer
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


def test_special_tokens_can_be_left_unread(server: WebServer) -> None:
    question = {"text": END_OF_TEXT, "special": False}
    tokens = tokenize(server, question).json["tokenizers"][0]["tokens"]
    assert len(tokens) > 1
    assert not any(token["special"] for token in tokens)


def test_no_text_is_an_answer_without_tokens(server: WebServer) -> None:
    for one in tokenize(server, {"text": ""}).json["tokenizers"]:
        assert (one["tokens"], one["num_tokens"], one["bytes_per_token"]) == ([], 0, None)


def test_answers_hold_a_bounded_number_of_tokens(server: WebServer) -> None:
    # Quotes and backslashes would leave less room for the text.
    text = "é" * ((MAX_REQUEST_BYTES - 20) // len(json.dumps("é")[1:-1]))
    response = tokenize(server, {"text": text})
    assert response.status == 200
    for one in response.json["tokenizers"]:
        assert len(one["tokens"]) == MAX_SHOWN_TOKENS
        assert one["num_tokens"] >= len(text)


def test_a_page_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one tokenizer"):
        inspector_app({})


def test_the_page_loads_its_own_files_and_parses_no_text_as_html(server: WebServer) -> None:
    response = request(server, "GET", "/?x=1")
    assert (response.status, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    page = response.body.decode()
    files = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert files == ["data:,", *(f"static/{name}" for name in STATIC)]
    for name in STATIC:
        file = request(server, "GET", f"/static/{name}")
        assert file.status == 200
        page += file.body.decode()
    for name in ("://", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"):
        assert name not in page
    assert not re.search(r"\son\w+=|\beval\(|\bstyle=", page)

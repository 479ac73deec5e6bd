"""An inspector that serves while a test asks it, and what asks."""

import http.client
import json
from typing import Any

from lm_basics.tokenizer import END_OF_TEXT, Tokenizer, train_bpe_from_texts
from lm_shared.web import WebServer

JSON = {"Content-Type": "application/json"}


def trained_byte_pairs() -> Tokenizer:
    vocab, merges = train_bpe_from_texts(["the cat sat on the mat " * 9], 265, [END_OF_TEXT])
    return Tokenizer(vocab, merges, [END_OF_TEXT])


class Response:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(
    server: WebServer,
    method: str,
    path: str,
    body: bytes | str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        return Response(connection.getresponse())
    finally:
        connection.close()


def tokenize(server: WebServer, question: object) -> Response:
    return request(server, "POST", "/tokenize", json.dumps(question), JSON)

import pytest

from lm_data.crawl.http_message import parse_content_type, parse_message

LINES = [b"HTTP/1.1 200 OK", b"content-type: text/html; charset=utf-8", b"Server: x"]


@pytest.mark.parametrize(
    "header",
    [
        b"\r\n".join(LINES) + b"\r\n\r\n",
        b"\n".join(LINES) + b"\n\n",
        b"\r\n".join(LINES) + b"\n\r\n",
        b"\n".join(LINES) + b"\r\n\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + b"\r\n".join(LINES) + b"\r\n\r\n",
        b"\r\n" + b"\r\n".join(LINES).replace(b" text", b"\r\n text") + b"\r\n\r\n",
    ],
)
def test_body_begins_behind_the_blank_line(header):
    message = parse_message(header + b"<p>a\n\nb</p>")
    assert message.body == b"<p>a\n\nb</p>"
    assert (message.status, message.content_type, message.charset) == (200, "text/html", "utf-8")


def test_without_a_header_all_is_body():
    message = parse_message(b"<p>HTTP/1.1 200\n\ntext")
    assert (message.status, message.content_type, message.charset) == (None, "", None)
    assert message.body == b"<p>HTTP/1.1 200\n\ntext"
    assert parse_message(b"").body == b""
    assert parse_message(b"HTTP/1.0 204 None").status == 204


def test_repeated_fields_are_joined_and_the_body_declares_nothing():
    message = parse_message(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: GZIP\r\nContent-Encoding: br\r\n"
        b"Transfer-Encoding: Chunked\r\n\r\nContent-Type: text/plain\r\n"
    )
    assert (message.content_encoding, message.transfer_encoding) == ("gzip, br", "chunked")
    assert message.content_type == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text/html", ("text/html", None)),
        ("text/html, text/html; charset=utf-8", ("text/html", "utf-8")),
        ("Text/HTML;Charset='UTF-8'", ("text/html", "utf-8")),
        ('text/html; charset = "koi8-r"; x', ("text/html", "koi8-r")),
        ("text/html;;charset=utf-8,*/*", ("text/html", "utf-8")),
        ('text/html; title="a, b/c"', ("text/html", None)),
        ("text/html;charset=latin1,application/xhtml+xml", ("application/xhtml+xml", "latin1")),
        ("html", ("", None)),
        ("", ("", None)),
    ],
)
def test_content_type_is_read_as_browsers_do(value, expected):
    assert parse_content_type(value) == expected

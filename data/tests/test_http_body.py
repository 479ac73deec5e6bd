import gzip
import zlib

import pytest

from lm_data.crawl.http_body import decode_body

BODY = b"<html>" + b"text " * 500


def compress(body):
    """A gzip member without the time of day: parallel workers must see the same test names."""
    return gzip.compress(body, mtime=0)


def chunk(body, size):
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    lines = [b"%x;name=value\r\n%s\r\n" % (len(part), part) for part in parts]
    return b"".join(lines) + b"0\r\n\r\n"


def raw_deflate(body):
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(body) + deflater.flush()


@pytest.mark.parametrize(
    ("payload", "transfer", "content"),
    [
        (BODY, "", ""),
        (BODY, "", "identity"),
        (chunk(BODY, 7), "chunked", ""),
        (compress(BODY), "", "gzip"),
        (zlib.compress(BODY), "", "deflate"),
        (raw_deflate(BODY), "", "deflate"),
        (chunk(compress(BODY), 11), "chunked", "gzip"),
        (compress(BODY[:9]) + compress(b"") + compress(BODY[9:]), "", "gzip"),
        (compress(BODY) + b"\r\n", "", "gzip"),
    ],
)
def test_encodings_are_undone(payload, transfer, content):
    decoded = decode_body(
        payload, transfer_encoding=transfer, content_encoding=content, max_size=10**6
    )
    assert decoded == (BODY, True)


@pytest.mark.parametrize(
    ("transfer", "content"), [("chunked", ""), ("", "gzip"), ("", "br"), ("", "deflate")]
)
def test_body_that_does_not_fit_its_headers_is_returned_as_it_is(transfer, content):
    decoded = decode_body(
        BODY, transfer_encoding=transfer, content_encoding=content, max_size=10**6
    )
    assert decoded == (BODY, False)


def test_inflating_stops_at_the_limit():
    bomb = gzip.compress(bytes(10**7))
    assert decode_body(bomb, content_encoding="gzip", max_size=10**5) == (bomb, False)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"5\r\nab",
        b"zz\r\nab\r\n",
        b"-1\r\n\r\n",
        b"3\r\nabc",
        b"+3\r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"0_3\r\nabc\r\n0\r\n\r\n",
        b" 3\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabcde0\r\n\r\n",
    ],
)
def test_broken_chunks_are_recognized(payload):
    assert decode_body(payload, transfer_encoding="chunked", max_size=100) == (payload, False)


@pytest.mark.parametrize("whole", [compress(BODY), compress(BODY) * 2])
@pytest.mark.parametrize("num_missing", [1, 8, 30])
def test_cut_off_body_is_not_decoded(whole, num_missing):
    cut = whole[:-num_missing]
    assert decode_body(cut, content_encoding="gzip", max_size=10**6) == (cut, False)


def test_raw_deflate_is_no_gzip():
    body = raw_deflate(BODY)
    assert decode_body(body, content_encoding="gzip", max_size=10**6) == (body, False)


def test_limit_holds_for_all_members_together():
    body = compress(BODY) * 3
    for excess, is_decoded in ((0, True), (1, False)):
        size = 3 * len(BODY) - excess
        assert decode_body(body, content_encoding="gzip", max_size=size)[1] == is_decoded


def test_empty_body_has_nothing_to_undo():
    assert decode_body(b"", content_encoding="gzip", max_size=10) == (b"", True)

import gzip
import zlib

import pyarrow as pa
import pytest

from lm_data.crawl.http_body import CUT_OFF, OVERSIZED, UNDECODABLE, decode_body, is_binary

BODY = b"<html>" + b"".join(b"word %d " % (n * n) for n in range(400))


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


def compress_with(codec, body):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(body)
    return sink.getvalue().to_pybytes()


BROTLI = compress_with("brotli", BODY)
ZSTD = compress_with("zstd", BODY)


def decode(payload, transfer="", content="", max_size=10**6):
    return decode_body(
        payload, transfer_encoding=transfer, content_encoding=content, max_size=max_size
    )


@pytest.mark.parametrize(
    ("payload", "transfer", "content"),
    [
        (BODY, "", ""),
        (BODY, "", "identity"),
        (chunk(BODY, 7), "chunked", ""),
        (chunk(BODY, 7).replace(b"\r\n", b"\n"), "Chunked", ""),
        (b" %x \r\n%s\r\n0\r\nExpires: 0\r\n\r\n" % (len(BODY), BODY), "chunked", ""),
        (compress(BODY), "", "gzip"),
        (compress(BODY), "", "X-GZIP"),
        (zlib.compress(BODY), "", "deflate"),
        (raw_deflate(BODY), "", "deflate"),
        (BROTLI, "", "br"),
        (ZSTD, "", "zstd"),
        (compress_with("zstd", BODY[:9]) + compress_with("zstd", BODY[9:]), "", "zstd"),
        (chunk(compress(BODY), 11), "chunked", "gzip"),
        (chunk(compress(BODY), 11), "gzip, chunked", ""),
        (compress(compress(BODY)), "", "gzip, gzip"),
        (compress_with("brotli", compress(BODY)), "", "gzip, br"),
        (compress(BODY[:9]) + compress(b"") + compress(BODY[9:]), "", "gzip"),
        (compress(BODY) + b"\r\n", "", "gzip"),
    ],
)
def test_encodings_are_undone(payload, transfer, content):
    assert decode(payload, transfer, content) == (BODY, None)


@pytest.mark.parametrize(
    ("transfer", "content"),
    [("chunked", ""), ("", "gzip"), ("", "br"), ("", "zstd"), ("", "deflate"), ("", "compress")],
)
def test_text_that_was_stored_decoded_stays_as_it_is(transfer, content):
    assert decode(BODY, transfer, content) == (BODY, None)


@pytest.mark.parametrize(("text", "content"), [(b"11 is how", "br"), (b"20 is how", "deflate")])
def test_text_that_begins_like_an_encoding_without_header_stays(text, content):
    body = text + b" the text of this page begins, and so on and on."
    assert decode(body, content=content) == (body, None)


@pytest.mark.parametrize(
    ("payload", "content"),
    [
        (compress(BODY), "compress"),
        (BROTLI, "exi"),
        (compress(BROTLI), "exi, gzip"),
        (BROTLI, "gzip"),
        (compress(BODY), "br"),
        (raw_deflate(BODY), "gzip"),
    ],
)
def test_what_cannot_be_decoded_is_told(payload, content):
    body, problem = decode(payload, content=content)
    assert problem == UNDECODABLE
    assert is_binary(body)


@pytest.mark.parametrize("content", ["gzip", "br", "zstd"])
def test_inflating_stops_at_the_limit(content):
    zeros = bytes(10**7)
    bomb = (
        compress(zeros)
        if content == "gzip"
        else compress_with({"br": "brotli"}.get(content, content), zeros)
    )
    assert decode(bomb, content=content, max_size=10**5) == (b"", OVERSIZED)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", b""),
        (b"zz\r\nab\r\n", None),
        (b"-1\r\n\r\n", None),
        (b"+3\r\nabc\r\n0\r\n\r\n", None),
        (b"0x3\r\nabc\r\n0\r\n\r\n", None),
        (b"0_3\r\nabc\r\n0\r\n\r\n", None),
        (b"3\r\nabcde0\r\n\r\n", None),
        (b"5\r\nab", b"ab"),
        (b"3\r\nabc", b"abc"),
        (b"3\r\nabc\r\n", b"abc"),
        (b"3\r\nabc\r\nzz\r\n", b"abc"),
        (b"3\r\nabc\r\n2\r\ndefg", b"abcde"),
    ],
)
def test_broken_chunks_keep_what_they_hold_and_no_sizes(payload, expected):
    decoded = (payload, None) if expected in (None, b"") else (expected, CUT_OFF)
    assert decode(payload, "chunked") == decoded


@pytest.mark.parametrize(
    ("whole", "content"),
    [
        (compress(BODY), "gzip"),
        (compress(BODY[:50]) + compress(BODY[50:]), "gzip"),
        (zlib.compress(BODY), "deflate"),
        (raw_deflate(BODY), "deflate"),
        (BROTLI, "br"),
    ],
)
def test_cut_off_body_keeps_what_can_be_decoded(whole, content):
    for num_missing in (9, 30, len(whole) // 2):
        body, problem = decode(whole[:-num_missing], content=content)
        assert problem == CUT_OFF
        assert BODY.startswith(body)
        assert len(body) > 0.8 * len(BODY) * (1 - num_missing / len(whole)) - 100


def test_cut_off_zstd_keeps_its_blocks():
    # A block of this library holds 128 kB.
    long = b"".join(b"word %d " % (n * n) for n in range(30_000))
    body, problem = decode(compress_with("zstd", long)[:-100], content="zstd")
    assert problem == CUT_OFF
    assert long.startswith(body)
    assert len(body) >= 128 << 10


def test_gzip_with_a_wrong_checksum_keeps_its_text():
    damaged = bytearray(compress(BODY))
    damaged[-6] ^= 1
    assert decode(bytes(damaged), content="gzip") == (BODY, CUT_OFF)


def test_limit_holds_for_all_members_together():
    body = compress(BODY) * 3
    for excess, problem in ((0, None), (1, OVERSIZED)):
        assert decode(body, content="gzip", max_size=3 * len(BODY) - excess)[1] == problem


def test_empty_body_has_nothing_to_undo():
    assert decode(b"", content="gzip") == (b"", None)


@pytest.mark.parametrize("text", ["abc", "\u65e5\u672c\u8a9e", "caf\u00e9 \u2014"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "gb18030"])
def test_text_is_not_binary_in_any_encoding(text, encoding):
    assert not is_binary((f"<html><body><p>{text}</p></body></html>" * 20).encode(encoding))


def test_images_and_compressed_data_are_binary():
    assert is_binary(b"\x89PNG\r\n\x1a\n" + bytes(range(32)) * 4)
    assert is_binary(compress(BODY))

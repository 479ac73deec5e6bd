import gzip
import random
from pathlib import Path

import pyarrow as pa
import pytest
from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from lm_data.crawl import decompression
from lm_data.crawl.warc import CrawlCounts, find_crawl_files, iterate_responses
from lm_data.sample_crawl.crawl import FetchedPage, write_warc

# Small inputs that went wrong lie beside the repository where there are any.
CASES = Path(__file__).parents[3] / "shared" / "cases"
PAGES = [
    FetchedPage(url=f"https://a.example/{n}", date="2026-01-01T00:00:00Z", body=b"<p>%d</p>" % n)
    for n in range(10)
]


@pytest.fixture
def warc_path(tmp_path):
    path = tmp_path / "a.warc.gz"
    write_warc(path, PAGES, file_date="2026-01-01T00:00:00Z")
    return path


def find_members(data):
    positions, start = [], data.find(b"\x1f\x8b\x08")
    while start >= 0:
        positions.append(start)
        start = data.find(b"\x1f\x8b\x08", start + 1)
    return positions


def read(path, **options):
    counts = CrawlCounts()
    return list(iterate_responses(path, counts, **options)), counts


def test_responses_come_back_as_written(warc_path):
    responses, counts = read(warc_path)
    assert [response.url for response in responses] == [page.url for page in PAGES]
    assert [response.body for response in responses] == [page.body for page in PAGES]
    assert {response.status for response in responses} == {200}
    assert {response.content_type for response in responses} == {"text/html"}
    assert {response.charset for response in responses} == {"utf-8"}
    assert counts == CrawlCounts(records=11, responses=10)


def test_damaged_record_costs_only_itself(warc_path):
    data = bytearray(warc_path.read_bytes())
    start = find_members(bytes(data))[5]
    data[start + 60 : start + 90] = b"\xff" * 30
    warc_path.write_bytes(data)
    responses, counts = read(warc_path)
    assert len(responses) == 9
    assert counts.damaged >= 1
    assert counts.truncated == 0


def test_cut_off_file_gives_what_is_whole_and_counts_the_rest(warc_path):
    data = warc_path.read_bytes()
    # An incompressible body, so that the cut falls inside it and not inside the header.
    long_page = FetchedPage(
        url="https://a.example/long",
        date="2026-01-01T00:00:00Z",
        body=random.Random(0).randbytes(50_000),
    )
    other = warc_path.with_name("b.warc.gz")
    write_warc(other, [*PAGES, long_page], file_date="2026-01-01T00:00:00Z")
    warc_path.write_bytes(other.read_bytes()[: len(data) + 2000])
    responses, counts = read(warc_path)
    assert len(responses) == 10
    assert counts.truncated + counts.damaged == 1


def test_response_over_the_limit_is_left_out_and_counted(warc_path):
    size = len(gzip.decompress(warc_path.read_bytes()))
    assert len(read(warc_path, max_body_size=size)[0]) == 10
    responses, counts = read(warc_path, max_body_size=20)
    assert responses == []
    assert counts.oversized == 10


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        (b"Content-Encoding: gzip", gzip.compress(b"<p>text</p>", mtime=0)),
        (b"Transfer-Encoding: chunked", b"b\r\n<p>text</p>\r\n0\r\n\r\n"),
    ],
)
def test_the_encodings_that_the_header_declares_are_undone(header, payload, tmp_path):
    record = WarcRecord()
    record.init_headers(WarcRecordType.response)
    record.headers["Content-Type"] = "application/http; msgtype=response"
    record.set_bytes_content(b"HTTP/1.1 200 OK\r\n" + header + b"\r\n\r\n" + payload)
    with (tmp_path / "a.warc").open("wb") as stream:
        record.write(stream)
    ((response,), counts) = read(tmp_path / "a.warc")
    assert response.body == b"<p>text</p>"
    assert counts.undecodable == 0


def test_a_response_of_just_the_limit_is_read(warc_path):
    records = ArchiveIterator(
        str(warc_path), WarcRecordType.response, parse_http=False, fsspec_args=False
    )
    (size,) = {record.content_length for record in records}
    assert len(read(warc_path, max_body_size=size)[0]) == 10
    assert read(warc_path, max_body_size=size - 1)[1].oversized == 10


@pytest.mark.parametrize("scan_size", range(3, 9))
def test_a_member_is_found_on_the_edge_of_what_is_read_at_once(warc_path, scan_size, monkeypatch):
    monkeypatch.setattr(decompression, "SCAN_SIZE", scan_size)
    data = warc_path.read_bytes()
    cut = find_members(data)[5]
    for num_bytes in range(scan_size):
        warc_path.write_bytes(
            data[:cut] + gzip.compress(b"", mtime=0) + b"x" * num_bytes + data[cut:]
        )
        responses, counts = read(warc_path)
        assert len(responses) == 10
        assert counts.damaged == (num_bytes > 0)


def test_file_that_is_no_warc_is_counted_as_damage(tmp_path):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"this is not a crawl " * 50)
    assert read(path) == ([], CrawlCounts(damaged=1))
    path.write_bytes(b"")
    assert read(path) == ([], CrawlCounts())


def test_counts_of_files_add_up(warc_path):
    total = CrawlCounts(damaged=2)
    total.add(read(warc_path)[1])
    assert total == CrawlCounts(records=11, responses=10, damaged=2)


def test_crawl_files_are_found_in_folders_and_lists_in_order(tmp_path, warc_path):
    second = tmp_path / "0.warc"
    second.touch()
    (tmp_path / "truth.jsonl").touch()
    assert find_crawl_files(tmp_path) == [second, warc_path]
    assert find_crawl_files([warc_path, second, warc_path]) == [second, warc_path]


def test_missing_crawl_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no crawl at .*nowhere"):
        find_crawl_files(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no WARC file at"):
        next(iterate_responses(tmp_path / "a.warc"))
    with pytest.raises(ValueError, match="no WARC file"):
        find_crawl_files(tmp_path)


@pytest.mark.parametrize(
    ("name", "num_responses", "damage"),
    [
        ("cc2020.warc.gz", 16, (0, 0)),
        ("cc2020.warc.lz4", 16, (0, 0)),
        ("cc2020_clipped.warc.gz", 0, (1, 0)),
        ("clueweb_quirk.warc.gz", 29, (0, 0)),
        ("iana2014.warc.gz", 48, (0, 0)),
        ("archiveorg2008.warc.gz", 299, (0, 0)),
        ("edge/example-iana.org-chunked.warc", 1, (0, 0)),
        ("edge/transfer_compression_gzip.warc.gz", 1, (0, 0)),
        ("whirlwind.warc.wet.gz", 0, (0, 0)),
    ],
)
def test_real_crawls_are_read(web_folder, name, num_responses, damage):
    responses, counts = read(web_folder / name)
    assert len(responses) == counts.responses == num_responses
    assert (counts.truncated, counts.damaged) == damage


def test_flipped_bytes_in_a_real_crawl_cost_one_page(web_folder, tmp_path):
    data = bytearray((web_folder / "cc2020.warc.gz").read_bytes())
    data[60_000:60_040] = bytes(40)
    path = tmp_path / "flipped.warc.gz"
    path.write_bytes(data)
    responses, counts = read(path)
    assert len(responses) == 15
    assert counts.damaged >= 1


@pytest.mark.parametrize("num_empty", [1, 3])
@pytest.mark.parametrize("place", [0, 5, 10])
def test_empty_members_do_not_end_a_file(place, num_empty, warc_path):
    data = warc_path.read_bytes()
    cut = find_members(data)[place]
    empty = gzip.compress(b"", mtime=0) * num_empty
    warc_path.write_bytes(data[:cut] + empty + data[cut:] + empty)
    responses, counts = read(warc_path)
    assert len(responses) == 10
    assert counts == CrawlCounts(records=11, responses=10)


def test_garbage_between_and_instead_of_members_is_damage(warc_path):
    data = warc_path.read_bytes()
    cut = find_members(data)[5]
    warc_path.write_bytes(b"\x1f\x8b\x08" + bytes(range(100, 200)))
    assert read(warc_path) == ([], CrawlCounts(damaged=1))
    warc_path.write_bytes(data[:cut] + gzip.compress(b"", mtime=0) + b"garbage" + data[cut:])
    responses, counts = read(warc_path)
    assert len(responses) == 10
    assert counts.damaged == 1


def test_padding_behind_an_empty_member_is_no_damage(warc_path):
    warc_path.write_bytes(warc_path.read_bytes() + gzip.compress(b"", mtime=0) + bytes(512))
    responses, counts = read(warc_path)
    assert (len(responses), counts.damaged) == (10, 0)


def test_file_that_is_one_member_is_read_once(warc_path):
    warc_path.write_bytes(gzip.compress(gzip.decompress(warc_path.read_bytes())))
    assert len(read(warc_path)[0]) == 10


@pytest.mark.parametrize("scan_size", [100, 1 << 20])
def test_padding_between_members_is_no_damage(warc_path, scan_size, monkeypatch):
    monkeypatch.setattr(decompression, "SCAN_SIZE", scan_size)
    data = warc_path.read_bytes()
    cut = find_members(data)[5]
    warc_path.write_bytes(data[:cut] + gzip.compress(b"", mtime=0) + bytes(512) + data[cut:])
    responses, counts = read(warc_path)
    assert (len(responses), counts.damaged) == (10, 0)


@pytest.mark.parametrize("num_bytes", [11, 20, 40])
def test_a_last_member_that_holds_no_whole_header_is_damage(warc_path, num_bytes):
    data = warc_path.read_bytes()
    warc_path.write_bytes(data[: find_members(data)[-1] + num_bytes])
    responses, counts = read(warc_path)
    assert len(responses) == 9
    assert counts.damaged + counts.truncated == 1


@pytest.mark.parametrize("kind", ["damaged", "truncated", "whole"])
def test_what_is_lost_is_logged(warc_path, kind, caplog):
    data = warc_path.read_bytes()
    plain = gzip.decompress(data)
    path = warc_path.with_name("b.warc") if kind == "truncated" else warc_path
    path.write_bytes({"damaged": b"no crawl " * 99, "truncated": plain[:-20], "whole": data}[kind])
    _, counts = read(path)
    assert (counts.damaged > 0, counts.truncated > 0) == (kind == "damaged", kind == "truncated")
    assert ("damaged" in caplog.text) == (kind != "whole")


def make_record(number, body=None, *, length=None, version=b"WARC/1.0"):
    body = b"<p>page %d</p>\r\n\r\nmore\r\n" % number * 20 if body is None else body
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + body
    size = len(block) if length is None else length
    lines = [
        version,
        b"WARC-Type: response",
        b"WARC-Target-URI: https://a.example/%d" % number,
        b"WARC-Record-ID: <urn:uuid:%d>" % number,
        b"Content-Type: application/http; msgtype=response",
        *([] if size == b"" else [b"Content-Length: %d" % size]),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + block + b"\r\n\r\n"


def pack(records, form):
    """The bytes of a file: plain, one gzip member, or one member or frame per record."""
    if form in ("plain", "one"):
        data = b"".join(records)
        return data if form == "plain" else gzip.compress(data, mtime=0)
    return b"".join(compress_with(form, record) for record in records)


def compress_with(codec, data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def list_numbers(responses):
    return [int(response.url.rsplit("/", 1)[1]) for response in responses]


FORMS = ("plain", "one", "gzip", "zstd", "lz4")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("length", [b"", 0, 30, 100, 10**3, 10**5, 10**9, 10**15])
def test_a_wrong_length_neither_loses_nor_swallows_a_record(form, length, tmp_path):
    for wrong in (0, 2, 4):
        records = [make_record(n, length=length if n == wrong else None) for n in range(5)]
        (tmp_path / "a").write_bytes(pack(records, form))
        responses, counts = read(tmp_path / "a")
        # A record that claims more than the file holds is as good as cut off.
        is_cut = wrong == 4 and length not in (b"", 0, 30, 100)
        assert list_numbers(responses) == list(range(5 - is_cut))
        assert {response.body.count(b"more") for response in responses} == {20}
        assert counts.damaged + counts.truncated == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "broken",
    [
        make_record(2, version=b"XARC/1.0"),
        make_record(2).split(b"\r\n", 1)[1],
        b"garbage between\r\nrecords\r\n\r\n",
        make_record(2)[:60] + b"\r\n",
    ],
)
def test_a_broken_header_costs_one_record(form, broken, tmp_path):
    records = [make_record(n) for n in range(5)]
    records[2] = broken
    (tmp_path / "a").write_bytes(pack(records, form))
    responses, counts = read(tmp_path / "a")
    assert list_numbers(responses) == [0, 1, 3, 4]
    assert (counts.damaged, counts.truncated, counts.records) == (1, 0, 4)


@pytest.mark.parametrize("form", ["gzip", "zstd", "lz4"])
def test_damaged_compression_costs_one_record(form, tmp_path):
    rng = random.Random(0)
    members = [compress_with(form, make_record(n, rng.randbytes(999))) for n in range(5)]
    members[2] = members[2][:100] + b"\xff" * 40
    (tmp_path / "a").write_bytes(b"".join(members))
    responses, counts = read(tmp_path / "a")
    assert list_numbers(responses) == [0, 1, 3, 4]
    assert (counts.damaged, counts.truncated) == (1, 0)


@pytest.mark.parametrize("form", ["one", "zstd", "lz4"])
def test_damage_in_a_file_of_one_member_keeps_what_stands_before(form, tmp_path):
    rng = random.Random(0)
    plain = b"".join(make_record(n, rng.randbytes(41_000)) for n in range(20))
    whole = gzip.compress(plain, mtime=0) if form == "one" else compress_with(form, plain)
    (tmp_path / "a").write_bytes(whole[: len(whole) // 2 - 9_000])
    responses, counts = read(tmp_path / "a")
    # Frames are read in blocks of 64 or 128 kB.
    assert len(responses) >= (9 if form == "one" else 6)
    assert list_numbers(responses) == list(range(len(responses)))
    assert counts.damaged + counts.truncated == 1


def test_no_cut_of_a_file_of_one_member_goes_unnoticed(tmp_path):
    rng = random.Random(0)
    whole = pack([make_record(n, rng.randbytes(99)) for n in range(3)], "one")
    for size in range(20, len(whole) - 8, 7):
        (tmp_path / "a").write_bytes(whole[:size])
        responses, counts = read(tmp_path / "a")
        assert len(responses) < 3 or size > len(whole) - 16
        assert counts.damaged + counts.truncated == 1


def test_a_page_about_crawls_is_not_taken_apart(tmp_path):
    inner = make_record(9)
    records = [make_record(0), make_record(1, inner * 3), make_record(2, version=b"x")]
    (tmp_path / "a").write_bytes(b"".join([*records, make_record(3)]))
    responses, _ = read(tmp_path / "a")
    assert list_numbers(responses) == [0, 1, 3]
    assert responses[1].body == inner * 3


def test_a_page_compressed_once_more_than_declared_is_text(tmp_path):
    (tmp_path / "a").write_bytes(make_record(0, gzip.compress(b"<p>text</p>", mtime=0)))
    assert read(tmp_path / "a")[0][0].body == b"<p>text</p>"


@pytest.mark.parametrize("path", sorted(path.name for path in CASES.glob("warc/*")))
def test_one_damaged_header_of_the_cases_costs_one_record(path):
    responses, counts = read(CASES / "warc" / path)
    markers = [f"site{n}" for n in (1, 3, 4)]
    assert all(any(marker in response.url for response in responses) for marker in markers)
    assert counts.damaged == 1


@pytest.mark.parametrize("path", sorted(path.name for path in CASES.glob("http/*")))
def test_bodies_of_the_cases_are_text(path):
    ((response,), _) = read(CASES / "http" / path)
    assert (response.status, response.content_type) == (200, "text/html")
    assert response.body.startswith(b"<html><head><title>p1</title></head><body><p>marker1 ")
    body = response.body.removesuffix(b"</p></body></html>").decode()
    assert body.count("sentence number") >= 10
    assert "\r\n" not in body

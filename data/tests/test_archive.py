import base64
import hashlib
import zlib

from fastwarc.warc import ArchiveIterator, WarcRecordType

from lm_data.crawl.archive import FetchedPage, write_warc

DATE = "2026-02-03T04:05:06Z"
PAGES = [
    FetchedPage(url="https://a.example/\u00e9", date=DATE, body="<p>caf\u00e9</p>".encode()),
    FetchedPage(
        url="https://a.example/gone",
        date=DATE,
        body=b"",
        status_line="404 Not Found",
        content_type="text/plain",
    ),
]


def test_records_have_the_form_of_common_crawl(tmp_path):
    size = write_warc(tmp_path / "a.warc.gz", PAGES, file_date=DATE)
    assert size == (tmp_path / "a.warc.gz").stat().st_size
    records = list(ArchiveIterator(str(tmp_path / "a.warc.gz"), fsspec_args=False))
    kinds = [record.record_type for record in records]
    assert kinds == [WarcRecordType.warcinfo, WarcRecordType.response, WarcRecordType.response]
    assert records[1].headers["WARC-Target-URI"] == PAGES[0].url
    assert records[1].headers["WARC-Date"] == DATE
    assert records[2].http_headers.status_code == 404
    assert records[2].http_content_type == "text/plain"
    assert len({record.record_id for record in records}) == 3


def test_digests_are_those_of_the_content(tmp_path):
    write_warc(tmp_path / "a.warc.gz", PAGES, file_date=DATE)
    verified = ArchiveIterator(
        str(tmp_path / "a.warc.gz"), fsspec_args=False, verify_digests=True, parse_http=False
    )
    records = list(verified)
    assert len(records) == 3
    expected = base64.b32encode(hashlib.sha1(PAGES[0].body).digest()).decode()
    path = str(tmp_path / "a.warc.gz")
    found = [
        record.headers["WARC-Payload-Digest"]
        for record in ArchiveIterator(path, fsspec_args=False)
        if record.record_type == WarcRecordType.response
    ]
    assert found[0] == f"sha1:{expected}"


def test_every_record_is_a_gzip_member_of_its_own(tmp_path):
    write_warc(tmp_path / "a.warc.gz", PAGES, file_date=DATE)
    data, members = (tmp_path / "a.warc.gz").read_bytes(), 0
    while data:
        inflater = zlib.decompressobj(31)
        assert inflater.decompress(data).startswith(b"WARC/1.0\r\n")
        data, members = inflater.unused_data, members + 1
    assert members == 3


def test_same_pages_give_the_same_bytes(tmp_path):
    for name in ("x", "y"):
        write_warc(tmp_path / name / "a.warc.gz", PAGES, file_date=DATE)
    first, second = ((tmp_path / name / "a.warc.gz").read_bytes() for name in ("x", "y"))
    assert first == second

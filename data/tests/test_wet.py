import gzip

import pytest
from fastwarc.warc import WarcRecord, WarcRecordType

from lm_data.convert.html import HtmlConfig
from lm_data.crawl.warc import CrawlCounts, find_crawl_files
from lm_data.crawl.wet import is_wet, iterate_extracted_texts
from lm_data.pipeline.run import curate
from lm_data.pipeline.steps import CurateConfig, convert_extracted
from lm_data.sample_crawl.sources import read_messages
from lm_data.shards import iterate_texts, list_shards, read_shard


def write_wet(path, texts):
    """Write texts as Common Crawl does: a gzip member per record, other records between."""
    with path.open("wb") as stream:
        for number, text in enumerate(texts):
            for kind in (WarcRecordType.warcinfo, WarcRecordType.conversion):
                record = WarcRecord()
                record.init_headers(record_type=kind)
                record.headers["WARC-Target-URI"] = f"https://a.example/{number}"
                record.headers["WARC-Date"] = "2026-01-01T00:00:00Z"
                record.headers["WARC-Identified-Content-Language"] = "eng,deu"
                record.headers["Content-Type"] = "text/plain"
                record.set_bytes_content(text if isinstance(text, bytes) else text.encode())
                with gzip.GzipFile(fileobj=stream, mode="wb", mtime=0) as member:
                    record.write(member)


@pytest.fixture
def wet_path(tmp_path):
    path = tmp_path / "a.warc.wet.gz"
    write_wet(path, ["One\n\u00e9", b"broken \xff", ""])
    return path


def test_texts_come_back_as_written(wet_path):
    counts = CrawlCounts()
    pages = list(iterate_extracted_texts(wet_path, counts))
    assert [page.text for page in pages] == ["One\n\u00e9", "broken \ufffd", ""]
    assert [page.url for page in pages] == [f"https://a.example/{number}" for number in range(3)]
    assert {page.languages for page in pages} == {"eng,deu"}
    assert len({page.record_id for page in pages}) == 3
    assert counts == CrawlCounts(records=6, responses=3)


def test_texts_over_the_limit_are_left_out_and_counted(wet_path):
    counts = CrawlCounts()
    assert [page.text for page in iterate_extracted_texts(wet_path, counts, max_body_size=4)] == [
        ""
    ]
    assert counts.oversized == 2


def test_a_text_becomes_a_document_without_the_step_from_bytes(wet_path):
    documents = [
        convert_extracted(page, HtmlConfig()) for page in iterate_extracted_texts(wet_path)
    ]
    assert documents[0].text == "One\n\u00e9"
    assert documents[0].measurements["crawl_languages"] == "eng,deu"
    assert documents[0].measurements["num_body_bytes"] == len("One\n\u00e9".encode())
    assert (documents[2].dropped_by, documents[2].reason) == ("html", "no_text")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CC-MAIN-0.warc.wet.gz", True),
        ("a.wet", True),
        ("a.warc.gz", False),
        ("wet.warc.gz", False),
    ],
)
def test_wet_files_are_known_by_their_name(name, expected):
    assert is_wet(name) == expected


def test_wet_files_are_curated(tmp_path):
    messages = [message.text for message in read_messages(4)]
    (tmp_path / "crawl").mkdir()
    write_wet(tmp_path / "crawl" / "0.warc.wet.gz", [*messages, "Too short."])
    assert len(find_crawl_files(tmp_path / "crawl")) == 1
    receipt = curate(tmp_path / "crawl", tmp_path / "documents", CurateConfig())
    assert (receipt.documents_in, receipt.documents_kept) == (5, 4)
    texts = [
        text
        for split in ("train", "validation")
        for text in iterate_texts(tmp_path / "documents", split)
    ]
    assert {text[:40] for text in texts} == {text.strip()[:40] for text in messages}
    (path,) = list_shards(tmp_path / "documents", "dropped")
    assert [document.text for document in read_shard(path)] == ["Too short."]


def test_a_real_wet_file_is_read(web_folder):
    (page,) = iterate_extracted_texts(web_folder / "whirlwind.warc.wet.gz")
    assert page.url == "https://an.wikipedia.org/wiki/Escopete"
    assert page.languages == "spa"
    assert page.text.startswith("Escopete - Biquipedia, a enciclopedia libre\n")
    assert page.num_bytes == 4456

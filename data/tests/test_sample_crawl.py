import base64
import hashlib
import json
import os
import subprocess
import sys
import zlib
from collections import Counter
from dataclasses import replace

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from lm_data.crawl.warc import CrawlCounts, iterate_responses
from lm_data.sample_crawl.crawl import FetchedPage, write_sample_crawl, write_warc
from lm_data.sample_crawl.pages import (
    CRAWL_RECIPES,
    PageTruth,
    SampleCrawlConfig,
    read_truth,
    write_truth,
)
from lm_data.sample_crawl.sources import (
    LANGUAGES,
    list_modules,
    read_messages,
    render_documentation,
)
from lm_data.sample_crawl.templates import JUNK_KINDS
from lm_shared.files import hash_files

SMALL = replace(
    CRAWL_RECIPES["smoke"][1], num_messages=4, num_modules=2, num_foreign_pages=3, num_junk_pages=11
)


def test_every_page_of_the_truth_is_in_the_crawl_once(sample):
    counts = CrawlCounts()
    urls = [one.url for path in sample.receipt.paths for one in iterate_responses(path, counts)]
    assert sorted(urls) == sorted(page.url for page in read_truth(sample.receipt.truth_path))
    assert len(urls) == len(set(urls)) == sample.receipt.num_pages
    assert (counts.damaged, counts.truncated, counts.undecodable) == (0, 0, 0)


def test_crawl_holds_every_kind_of_page(sample):
    kinds = sample.receipt.pages_by_kind
    assert kinds.keys() >= {"message", "documentation", "exact_duplicate", "near_duplicate"}
    assert kinds.keys() >= {"other_language", *JUNK_KINDS}
    assert kinds["message"] == 25


def test_languages_take_turns(sample):
    truth = read_truth(sample.receipt.truth_path)
    counts = Counter(page.source for page in truth if page.kind == "other_language")
    assert counts == dict.fromkeys(LANGUAGES, 2)


def test_a_crawl_replaces_an_earlier_one(tmp_path):
    config = replace(SMALL, num_modules=0, num_foreign_pages=1, num_junk_pages=1)
    for num_shards in (2, 1):
        write_sample_crawl(tmp_path / "crawl", replace(config, num_shards=num_shards))
    assert len(list((tmp_path / "crawl").glob("*.warc.gz"))) == 1


def test_duplicates_name_an_original_of_the_crawl(sample):
    truth = {page.url: page for page in read_truth(sample.receipt.truth_path)}
    copies = {page.duplicate_of: page for page in truth.values() if page.duplicate_of is not None}
    assert len(copies) >= 3
    for original, page in copies.items():
        assert truth[original].name == page.name
        assert truth[original].duplicate_of is None


def test_same_configuration_gives_the_same_bytes_in_another_process(tmp_path):
    # Another working folder, time zone, locale, hash seed and home: none of them may show.
    first = write_sample_crawl(tmp_path / "first", SMALL)
    program = (
        "from test_program import SMALL, write_sample_crawl\n"
        f"write_sample_crawl({str(tmp_path / 'second')!r}, SMALL)\n"
    )
    (tmp_path / "test_program.py").write_text(
        "from lm_data.sample_crawl.pages import SampleCrawlConfig\n"
        "from lm_data.sample_crawl.crawl import write_sample_crawl\n"
        f"SMALL = {SMALL!r}\n"
    )
    changed = {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7", "HOME": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={**os.environ, **changed}, check=True
    )
    assert hash_files([first.paths[0].parent]) == hash_files([tmp_path / "second"])


def test_another_seed_gives_another_crawl(tmp_path):
    first = write_sample_crawl(tmp_path / "a", SMALL)
    second = write_sample_crawl(tmp_path / "b", replace(SMALL, seed=1))
    assert hash_files(first.paths) != hash_files(second.paths)


def test_messages_are_spread_over_the_years():
    messages = read_messages(10)
    years = [int(message.date[:4]) for message in messages]
    assert years == sorted(years)
    assert years[0] == 1790
    assert years[-1] > 1990
    assert len(read_messages()) == 249


def test_documentation_holds_nothing_of_this_machine():
    pages = render_documentation(12)
    assert list(pages) == list_modules()[:12]
    for page in pages.values():
        assert sys.base_prefix not in page
        assert 'href="file:' not in page
        assert " at 0x" not in page.replace("&nbsp;", " ")


def test_truth_comes_back_as_written(tmp_path):
    rows = [
        PageTruth(
            url="https://a.example/\u00e9",
            kind="message",
            source="sotu",
            name="x",
            expected="keep",
            personal_data=("a@b.example",),
            num_emails=1,
        )
    ]
    write_truth(tmp_path / "truth.jsonl", rows)
    assert read_truth(tmp_path / "truth.jsonl") == rows
    with (tmp_path / "truth.jsonl").open("a") as file:
        file.write(json.dumps({"url": "x"}) + "\n")
    with pytest.raises(ValueError, match=r"truth\.jsonl, line 2"):
        read_truth(tmp_path / "truth.jsonl")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_junk_pages": -1}, "num_junk_pages=-1 is negative"),
        ({"near_duplicate_share": 1.5}, r"near_duplicate_share=1\.5"),
        ({"num_shards": 0}, "num_shards=0"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        SampleCrawlConfig(**fields)


def test_more_texts_than_there_are_cannot_be_had(tmp_path):
    with pytest.raises(ValueError, match="num_messages=250 is not between 1 and 249"):
        write_sample_crawl(tmp_path / "a", replace(SMALL, num_messages=250))
    with pytest.raises(ValueError, match="num_modules=1000 is not between 0 and"):
        render_documentation(1000)
    assert not (tmp_path / "a").exists()


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

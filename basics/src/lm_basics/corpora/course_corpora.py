"""The texts of the course "CS336: Language Modeling from Scratch", as it publishes them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lm_basics.corpora.checksum_file import check_record, checksum_path, record_checksum
from lm_basics.corpora.http_download import download_file
from lm_basics.corpora.unpacking import unpack_gzip
from lm_shared.choices import check_choice
from lm_shared.files import lock_folder

HUGGING_FACE = "https://huggingface.co"

CorpusName = Literal["tinystories", "openwebtext"]
"""What the command line calls them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """Files of one data set on Hugging Face."""

    dataset: str
    """Owner and name of the data set."""
    files: tuple[str, ...]
    """Training text, then validation text; those that end in .gz are unpacked."""


CORPORA: Mapping[str, Corpus] = {
    "tinystories": Corpus(
        dataset="roneneldan/TinyStories",
        files=("TinyStoriesV2-GPT4-train.txt", "TinyStoriesV2-GPT4-valid.txt"),
    ),
    "openwebtext": Corpus(
        dataset="stanford-cs336/owt-sample",
        files=("owt_train.txt.gz", "owt_valid.txt.gz"),
    ),
}


def download_corpus(
    name: str,
    folder: Path,
    *,
    endpoint: str = HUGGING_FACE,
    report: Callable[[str, int, int], None] | None = None,
) -> list[Path]:
    """Download a corpus and return its text files; what is there already is only checked.

    Beside each text lies its SHA-256. A packed file is removed once its text is there.

    Args:
        name: Which corpus, a ``CorpusName``.
        folder: Where its files go.
        endpoint: Address of Hugging Face, or of a mirror of it.
        report: Told ``(file, done, total)`` in bytes; while a file is unpacked, the name is that
            of its text.

    Raises:
        ValueError: An unknown name, a file that is not what it should be, or another process works
            in ``folder``.
        OSError: The network or the disk; the message says what to do.
    """
    check_choice("corpus", name, CorpusName)
    corpus, paths = CORPORA[name], []
    with lock_folder(folder):
        for file_name in corpus.files:
            url = f"{endpoint.rstrip('/')}/datasets/{corpus.dataset}/resolve/main/{file_name}"
            path = folder / file_name
            if path.suffix == ".gz":
                paths.append(_download_packed(url, path, report))
            else:
                download_file(url, path, report=_for_file(report, path))
                paths.append(path)
    return paths


def _download_packed(
    url: str, packed: Path, report: Callable[[str, int, int], None] | None
) -> Path:
    """Download and unpack a file, and return the path of its text."""
    text = packed.with_suffix("")
    if check_record(text) is None:
        download_file(url, packed, report=_for_file(report, packed))
        record_checksum(text, unpack_gzip(packed, text, report=_for_file(report, text)))
    # Also where a kill came between the record and this.
    for left_over in (packed, checksum_path(packed)):
        left_over.unlink(missing_ok=True)
    return text


def _for_file(
    report: Callable[[str, int, int], None] | None, path: Path
) -> Callable[[int, int], None] | None:
    """Return a report that names the file."""
    return None if report is None else lambda done, total: report(path.name, done, total)

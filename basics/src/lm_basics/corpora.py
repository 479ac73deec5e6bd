"""The texts of the course "CS336: Language Modeling from Scratch", from where it publishes them.

    download_corpus("tinystories", Path("data"))

The Hugging Face Hub says what a file is (size, SHA-256) and sends the parts that are asked for; so
what an interrupted download has left is gone on with, and a text has its name only when all of it
is there and checked. Beside each text lies its SHA-256, as ``sha256sum -c`` reads it.
"""

import gzip
import hashlib
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from lm_shared.config import check_choice
from lm_shared.files import atomic_path, hash_file, lock_folder, write_text

HUGGING_FACE = "https://huggingface.co"

CorpusName = Literal["tinystories", "openwebtext"]
"""What the command line calls them."""

Report = Callable[[str, int, int], None]
"""Told ``(file, done, total)`` in bytes; while one is unpacked, it is ``unpacking``, its text."""

_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """Files of one data set on Hugging Face."""

    dataset: str
    """Owner and name of the data set."""
    files: tuple[str, ...]
    """Training text, then validation text; those that end in .gz are unpacked."""
    vocab_size: int
    """Tokens of the vocabulary that the course trains on it."""


CORPORA: Mapping[str, Corpus] = {
    "tinystories": Corpus(
        dataset="roneneldan/TinyStories",
        files=("TinyStoriesV2-GPT4-train.txt", "TinyStoriesV2-GPT4-valid.txt"),
        vocab_size=10_000,
    ),
    "openwebtext": Corpus(
        dataset="stanford-cs336/owt-sample",
        files=("owt_train.txt.gz", "owt_valid.txt.gz"),
        vocab_size=32_000,
    ),
}


def download_corpus(
    name: str, folder: Path, *, endpoint: str = HUGGING_FACE, report: Report | None = None
) -> list[Path]:
    """Download a corpus and return its text files; what is there already is only checked.

    Args:
        name: which corpus, a ``CorpusName``.
        folder: where its files go.
        endpoint: address of Hugging Face, or of a mirror of it.
        report: told of the progress.

    Raises:
        ValueError: an unknown name, a file that is not what it should be, one in ``folder`` that
            was not downloaded, or another process works there.
        OSError: the network or the disk; the message says what to do.
        ImportError: the package huggingface_hub is not installed.
    """
    check_choice("corpus", name, CorpusName)
    corpus, tell = CORPORA[name], report or _tell_nobody
    with lock_folder(folder):
        return [
            _bring(endpoint.rstrip("/"), corpus.dataset, file, folder, tell)
            for file in corpus.files
        ]


def _bring(endpoint: str, dataset: str, name: str, folder: Path, report: Report) -> Path:
    """Bring one file and return the path of its text."""
    text = folder / name.removesuffix(".gz")
    if _is_recorded(text):
        return text
    partial = _download(endpoint, dataset, name, folder, report)
    if name.endswith(".gz"):
        _unpack(partial, text, report)
        partial.unlink()
    else:
        # Before the text has its name: one without a record is none of ours.
        _record(text, hash_file(partial))
        partial.replace(text)
    return text


def _download(endpoint: str, dataset: str, name: str, folder: Path, report: Report) -> Path:
    """Bring the bytes that are missing, and return the whole file under its unfinished name."""
    place = f"{endpoint}/datasets/{dataset}: {name}"
    with _explained(place):
        hub = _hub().HfApi(endpoint=endpoint, token=False)
        found: list[Any] = hub.get_paths_info(dataset, [name], repo_type="dataset")
    if not found:
        raise FileNotFoundError(f"{place}: there is no such file")
    size, sha256 = found[0].size, found[0].lfs.sha256 if found[0].lfs else None
    # Another version of the file has another name, so that the two never mix.
    partial = folder / f"{name}.{found[0].blob_id[:12]}.partial"
    for other in set(folder.glob(f"{name}.*.partial")) - {partial}:
        other.unlink()
    files = _hub().HfFileSystem(endpoint=endpoint, token=False, skip_instance_cache=True)
    with (
        _explained(place),
        files.open(f"datasets/{dataset}/{name}", "rb", cache_type="none") as source,
        partial.open("ab") as file,
    ):
        done = source.seek(min(file.tell(), size))
        _check_space(folder, size - done)
        report(name, done, size)
        while block := bytes(source.read(_BLOCK_BYTES)):
            file.write(block)
            done += len(block)
            report(name, done, size)
        file.flush()
        os.fsync(file.fileno())
    if partial.stat().st_size != size or sha256 not in (None, hash_file(partial)):
        partial.unlink()
        raise ValueError(
            f"{name} is not the {size:,} bytes that {endpoint} announces: it was damaged on the "
            "way or replaced, and is not kept; run the same command again"
        )
    return partial


def _hub() -> ModuleType:
    """Return the package that asks the hub: it takes a second to load, and not all have it."""
    try:
        import huggingface_hub  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(
            "downloads need the package huggingface_hub: pip install 'lm-basics[download]'"
        ) from error
    return huggingface_hub


@contextmanager
def _explained(place: str) -> Iterator[None]:
    """Turn what goes wrong on the network into one line; a full disk stays what it is."""
    try:
        yield
    except (ValueError, ImportError):
        raise
    # The errors of the hub and of httpx have no class in common.
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is None and isinstance(error, OSError) and error.errno is not None:
            raise
        reason = f"the server answers {status}" if status else str(error).partition("\n")[0]
        hint = "run the same command again later"
        raise ConnectionError(f"{place}: {reason.rstrip('.')}; {hint}") from error


def _unpack(packed: Path, text: Path, report: Report) -> None:
    """Write the content of a gzip file to ``text``, and before it has its name, its SHA-256."""
    digest, size = hashlib.sha256(), packed.stat().st_size
    try:
        with (
            atomic_path(text) as temporary,
            packed.open("rb") as raw,
            gzip.open(raw) as stream,
            temporary.open("wb") as file,
        ):
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
                file.write(block)
                report(f"unpacking {text.name}", raw.tell(), size)
            _record(text, digest.hexdigest())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        packed.unlink()
        raise ValueError(f"{packed.name} is no gzip file: {error}; it is not kept") from error


def _record(text: Path, sha256: str) -> None:
    """Write the SHA-256 of ``text`` beside it."""
    write_text(text.with_name(text.name + ".sha256"), f"{sha256}  {text.name}\n")


def _is_recorded(text: Path) -> bool:
    """Return whether the text is there, as it was downloaded.

    Raises:
        ValueError: there is another file of that name.
    """
    if not text.exists():
        return False
    record = text.with_name(text.name + ".sha256")
    if not record.is_file():
        raise ValueError(
            f"{text} is there and was not downloaded: move it, or choose another folder"
        )
    recorded = record.read_text(encoding="utf-8").partition(" ")[0]
    if hash_file(text) != recorded:
        raise ValueError(
            f"{text} is not what {record.name} says: it was changed since; remove both to have it "
            "downloaded again"
        )
    return True


def _check_space(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        missing = f"{num_bytes / 1e9:.3f} GB are still to come, and {free / 1e9:.3f} GB are free"
        raise ValueError(f"{folder}: {missing}")


def _tell_nobody(name: str, done: int, total: int) -> None:
    """Stand in for a report that nobody wants."""

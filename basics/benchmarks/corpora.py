"""Corpora on which tokenizers are timed: the documentation of a Debian machine as plain text.

What lies on the machine is read first: manual pages, HTML, change logs, sources. Where that is too
little and ``apt-get`` works, documentation packages are downloaded one at a time, unpacked into a
temporary folder, never installed, and read as well, until the pool of text is large enough.

* A line of over ``SHORT_LINE`` characters is kept once over the whole pool: page headers and
  licences do not fill a corpus. A shorter line shares the fate of the long line before it.
* Documents are shuffled with a fixed seed and parted by ``<|endoftext|>``, which no text spells.
* Files named ``unseen...`` share no document, so no long line, with any other; of the others each
  smaller one is the beginning of the larger.

The same sources give the same bytes. ``corpora.json`` beside the files says what is in them::

    uv run python basics/benchmarks/corpora.py FOLDER
"""

import argparse
import gzip
import html
import logging
import os
import random
import re
import shutil
import subprocess
import sysconfig
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lm_shared.files import atomic_path, hash_file, read_json, write_json

logger = logging.getLogger(__name__)

DEFAULT_SIZES: Mapping[str, int] = {"en5": 5, "en50": 50, "en200": 200, "unseen20": 20}
UNSEEN_PREFIX = "unseen"
SPECIAL = "<|endoftext|>"
SEPARATOR = f"\n{SPECIAL}\n"
RECORD_NAME = "corpora.json"
# A change of this file that changes the bytes raises it.
RECIPE_VERSION = 1
SEED = 1

SHORT_LINE = 25
# A longer line is data, such as a compressed script or a table of numbers.
LONGEST_LINE = 20_000
# A longer text, such as a dictionary, becomes several documents.
DOCUMENT_CHARACTERS = 32_000
# Where less is left, without the lines that were met before, there is no document.
FEWEST_CHARACTERS = 200
LARGEST_FILE_BYTES = 64_000_000
# Every file ends with a whole document, so the pool has to hold a little more than their sizes.
SPARE_BYTES = 1_000_000

# Largest part of the pool, and the one file in so many that is read: whatever fills the machine at
# hand, most of a corpus is English, with some program text and some other languages and scripts.
LARGEST_SHARES = {
    "manual": 0.15, "dictionary": 0.2, "changelog": 0.04, "source": 0.06, "translation": 0.08,
}  # fmt: skip
SAMPLED = {"changelog": 8, "source": 8, "translation": 3}

LOCAL_FOLDERS: Mapping[str, Path] = {
    **{name: Path("/usr/share", name) for name in ("man", "info", "doc", "dictd", "games", "perl")},
    "headers": Path("/usr/include"),
    "python library": Path(sysconfig.get_path("stdlib")),
    "python packages": Path(sysconfig.get_path("purelib")),
}
# Prose before programming interfaces, as reading stops when the pool is full. Releases of Debian
# number some packages differently; those that the release at hand lacks are passed over.
PACKAGES = (
    "dict-foldoc", "dict-jargon", "dict-devil", "dict-wn", "dict-gcide", "fortunes", "anarchism",
    "debian-handbook", "debian-policy", "developers-reference", "installation-guide-amd64",
    "libreoffice-help-en-us", "exim4-doc-html", "git-doc", "postgresql-doc-15", "apache2-doc",
    "postgresql-doc-17", "python-django-doc", "python3.11-doc", "python3.13-doc", "sqlite3-doc",
    "cmake-doc", "linux-doc-6.1", "perl-doc", "manpages-dev", "octave-doc",
    "maxima-doc", "imagemagick-6-doc", "ada-reference-manual-2020", "llvm-19-doc", "twisted-doc",
    "db5.3-doc", "python-scipy-doc", "qtbase5-doc-html", "libboost1.74-doc", "erlang-doc",
    "ghc-doc", "racket-doc", "openjdk-17-doc", "openjdk-21-doc", "linux-doc-6.12", "rust-doc",
)  # fmt: skip

# The sources of pages that are read as HTML or as manual pages, program text shown as HTML, tests
# with their tables of numbers, and the packages inside of a Python library.
_SKIPPED_FOLDERS = {
    *("_sources", "_modules", "_static", "src", "Documentation", "markdown", "pod"),
    *("test", "tests", "site-packages", "dist-packages", "__pycache__"),
}
_LANGUAGE = re.compile(
    r"(?:ar|bg|ca|cs|da|de|el|es|eu|fa|fi|fr|gl|he|hr|hu|id|it|ja|ko|lt|nb|nl|nn|pl|pt|ro|ru|sk|sl"
    r"|sr|sv|tr|uk|vi|zh)(?:[-_.@]\w+)*"
)
_FORMS = {
    ".html": "html", ".htm": "html", ".xhtml": "html", ".dict": "dictionary", ".txt": "text",
    ".rst": "text", ".md": "text", ".info": "text", ".py": "source", ".pm": "source",
    ".h": "source", ".hpp": "source",
}  # fmt: skip

# The kind of source that a text comes from, and the text as UTF-8.
Document = tuple[str, bytes]


class Tree(NamedTuple):
    """A folder of documents, and the name under which the record lists it."""

    name: str
    folder: Path


class CorpusTooSmallError(RuntimeError):
    """The sources hold too little text; ``paths`` names the files that could be written."""

    def __init__(self, message: str, paths: Mapping[str, Path]) -> None:
        super().__init__(message)
        self.paths = dict(paths)


def build_corpora(
    folder: Path,
    *,
    sizes_mb: Mapping[str, float] = DEFAULT_SIZES,
    trees: Iterable[Tree] | None = None,
) -> dict[str, Path]:
    """Write ``<name>.txt`` for each size, and the record, unless all are there already.

    Args:
        folder: where the files go.
        sizes_mb: megabytes (10^6 bytes) by name; a file ends with the document that reaches them.
        trees: the sources in their order, of which only as many are read as it takes; by default
            this machine's and then packages from the network.

    Returns:
        The path of each file by its name.

    Raises:
        CorpusTooSmallError: the sources are too small for some files; the others are written.
    """
    paths = {name: folder / f"{name}.txt" for name in sizes_mb}
    if _are_complete(folder, sizes_mb):
        return paths
    with tempfile.TemporaryDirectory(prefix="corpora-") as scratch:
        pool = _fill_pool(_default_trees(Path(scratch)) if trees is None else trees, sizes_mb)
    random.Random(SEED).shuffle(pool.documents)
    files: dict[str, Any] = {}
    for name, documents in _choose_documents(pool.documents, sizes_mb).items():
        with atomic_path(paths[name]) as temporary, temporary.open("wb") as file:
            file.write(SEPARATOR.encode().join(text for _, text in documents))
        files[name] = {"size_mb": sizes_mb[name], **_describe(paths[name], documents)}
    record = {"recipe_version": RECIPE_VERSION, "files": files, "source_bytes": pool.tree_bytes}
    write_json(folder / RECORD_NAME, record)
    if missing := sizes_mb.keys() - files.keys():
        raise CorpusTooSmallError(
            f"no {', '.join(sorted(missing))}: the sources hold {pool.num_bytes / 1e6:.1f} MB of "
            f"text and {pool.wanted_bytes / 1e6:.1f} MB are wanted: let `apt-get download` work "
            f"here, or install documentation packages, such as {', '.join(PACKAGES[3:10])}",
            {name: paths[name] for name in files},
        )
    return paths


class Pool:
    """Documents without the lines that an earlier document holds."""

    def __init__(self, wanted_bytes: float) -> None:
        self.wanted_bytes = wanted_bytes
        self.documents: list[Document] = []
        self.num_bytes = 0
        self.tree_bytes: dict[str, int] = {}
        self._room = {kind: share * wanted_bytes for kind, share in LARGEST_SHARES.items()}
        self._seen: set[int] = set()

    def add_tree(self, tree: Tree) -> None:
        """Add the documents of a folder in the order of their names."""
        num_before = self.num_bytes
        for path in _walk(tree.folder):
            if form := find_form(path):
                relative = path.relative_to(tree.folder)
                kind = "translation" if any(map(_LANGUAGE.fullmatch, relative.parts)) else form
                # By a hash of the name, which is the same on every machine.
                number = zlib.crc32(os.fsencode(relative))
                if self._room.get(kind, 1) > 0 and number % SAMPLED.get(kind, 1) == 0:
                    self.add_text(kind, read_text(path, form))
        self.tree_bytes[tree.name] = self.num_bytes - num_before
        logger.info("%6.1f MB from %s", self.tree_bytes[tree.name] / 1e6, tree.name)

    def add_text(self, kind: str, text: str) -> None:
        """Add what is new in a text, as one document or several."""
        # Again and again, because a removal can bring two halves together.
        while SPECIAL in text:
            text = text.replace(SPECIAL, "")
        for document in _split_lines(self._find_new_lines(text)):
            encoded = document.encode(errors="ignore")
            if self._room.get(kind, 1) > 0:
                self.documents.append((kind, encoded))
                self.num_bytes += len(encoded) + len(SEPARATOR)
                if kind in self._room:
                    self._room[kind] -= len(encoded)

    def _find_new_lines(self, text: str) -> list[str]:
        """Drop the long lines that were met before, the short ones after them, and blank runs."""
        kept: list[str] = [""]
        keep = False
        for line in map(str.rstrip, text.split("\n")):
            if len(line) > SHORT_LINE:
                # A line's 64-bit hash takes a fraction of its memory, and among the 10^7 lines of
                # a pool two that share one are not to be expected.
                key = hash(line)
                keep = key not in self._seen and len(line) <= LONGEST_LINE
                self._seen.add(key)
            if keep and (line or kept[-1]):
                kept.append(line)
        return kept[1:]


def find_form(path: Path) -> str | None:
    """Return what kind of text a file holds by its name, or None where it is not to be read."""
    name = path.name.removesuffix(".gz").removesuffix(".dz")
    form = _FORMS.get(Path(name).suffix)
    if path.parent.name.startswith("man") and re.search(r"\.[1-9][a-z0-9]*$", name):
        return "manual"
    if form in {None, "text"}:
        if name.lower().startswith(("changelog", "changes", "news")):
            return "changelog"
        if name.lower().startswith("readme") or path.parent.name == "fortunes":
            return "text"
    return form


def read_text(path: Path, form: str) -> str:
    """Return a file as plain text; one that is damaged, huge or no text gives the empty string."""
    try:
        data = path.read_bytes() if path.stat().st_size <= LARGEST_FILE_BYTES else b""
        if path.suffix in {".gz", ".dz"}:
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return ""
    if b"\0" in data:
        return ""
    text = data.decode(errors="ignore").replace("\r\n", "\n")
    return {"html": strip_html, "manual": strip_manual}.get(form, str)(text)


_HTML_HIDDEN = re.compile(r"(?is)<!--.*?-->|<(script|style|head|nav|svg)\b.*?</\1\s*>")
_HTML_PRE = re.compile(r"(?is)<pre\b[^>]*>(.*?)</pre\s*>")
_HTML_BLOCK = re.compile(
    r"(?i)\s*</?(?:p|div|br|hr|li|ul|ol|dl|dt|dd|h[1-6]|tr|table|section|article|header|footer|main"
    r"|summary|details|blockquote|center|body|aside)\b[^>]*>\s*"
)


def strip_html(page: str) -> str:
    """Return the text of a page, a line for each block; ``<pre>`` keeps its own lines."""
    parts = _HTML_PRE.split(_HTML_HIDDEN.sub("", page))
    # Every second part is the inside of a <pre>.
    for index in range(0, len(parts), 2):
        parts[index] = _HTML_BLOCK.sub("\n", " ".join(parts[index].replace("</td>", " ").split()))
    return html.unescape(re.sub(r"<[/!?a-zA-Z][^>]*>", "", "\n".join(parts)))


# Comments, and requests without text: the title, index entries, indents, definitions.
_ROFF_HIDDEN = re.compile(r"(?m)\\\".*|^[.'][ \t]*(?:TH|Dd|Os|IX|TP|RS|RE|PD|[a-z\\]).*\n?")
_ROFF_MACRO = re.compile(r"(?m)^[.'][ \t]*(?:[A-Z][A-Za-z]?\b)?[ \t]*(.*)")
_ROFF_ESCAPE = re.compile(
    r"\\f(?:\[[^]]*\]|\(..|.)|\\s[-+]?\d+|\\\n|\\\*?(?:\((..)|\[([^]]*)\]|(.))"
)
_ROFF_CHARACTERS = {
    "aq": "'", "Aq": "'", "oq": "'", "cq": "'", "dq": '"', "lq": '"', "rq": '"', 'L"': '"',
    'R"': '"', "bu": "•", "em": "—", "en": "-", "--": "--", "co": "©", "ha": "^", "ti": "~",
    "rs": "\\", "la": "<", "ra": ">", "-": "-", "e": "\\", "~": " ", " ": " ", "0": " ",
}  # fmt: skip


def strip_manual(page: str) -> str:
    """Return the text of a manual page in roff: macro names go, their arguments stay."""
    page = _ROFF_MACRO.sub(lambda one: one[1].replace('"', ""), _ROFF_HIDDEN.sub("", page))
    return _ROFF_ESCAPE.sub(lambda one: _ROFF_CHARACTERS.get(one[one.lastindex or 0], ""), page)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder in the order of their names; links are not followed."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS)
        for path in (Path(root, name) for name in sorted(names)):
            if path.is_file() and not path.is_symlink():
                yield path


def _split_lines(lines: Sequence[str]) -> Iterator[str]:
    """Join lines to documents, the next beginning after ``DOCUMENT_CHARACTERS``."""
    start = size = 0
    for end, line in enumerate(lines, start=1):
        size += len(line) + 1
        if size >= DOCUMENT_CHARACTERS or end == len(lines):
            document = "\n".join(lines[start:end]).strip("\n")
            if len(document) >= FEWEST_CHARACTERS:
                yield document
            start, size = end, 0


def _fill_pool(trees: Iterable[Tree], sizes_mb: Mapping[str, float]) -> Pool:
    unseen = {name: size for name, size in sizes_mb.items() if name.startswith(UNSEEN_PREFIX)}
    largest = max((size for name, size in sizes_mb.items() if name not in unseen), default=0)
    pool = Pool(1e6 * (sum(unseen.values()) + largest) + SPARE_BYTES)
    for tree in trees:
        pool.add_tree(tree)
        if pool.num_bytes >= pool.wanted_bytes:
            break
    return pool


def _choose_documents(
    documents: Sequence[Document], sizes_mb: Mapping[str, float]
) -> Mapping[str, Sequence[Document]]:
    """Return the documents of each file for which there are enough, unseen ones first."""
    chosen: dict[str, Sequence[Document]] = {}
    start = 0
    for name in sorted(sizes_mb, key=lambda name: not name.startswith(UNSEEN_PREFIX)):
        size = -len(SEPARATOR)
        for end in range(start, len(documents)):
            size += len(documents[end][1]) + len(SEPARATOR)
            if size >= sizes_mb[name] * 1e6:
                chosen[name] = documents[start : end + 1]
                break
        if name.startswith(UNSEEN_PREFIX):
            start += len(chosen.get(name, ()))
    return chosen


def _describe(path: Path, documents: Sequence[Document]) -> dict[str, Any]:
    """Return the facts by which results can name a corpus; shares by kind are of the bytes."""
    bytes_by_kind: Counter[str] = Counter()
    num_characters = num_ascii = 0
    for kind, text in documents:
        bytes_by_kind[kind] += len(text)
        num_characters += len(text.decode())
        num_ascii += len(text.decode("ascii", errors="ignore"))
    total = bytes_by_kind.total()
    return {
        "bytes": path.stat().st_size,
        "documents": len(documents),
        "sha256": hash_file(path),
        "share_non_ascii_characters": round(1 - num_ascii / num_characters, 6),
        "share_by_kind": {kind: round(n / total, 4) for kind, n in bytes_by_kind.most_common()},
    }


def _are_complete(folder: Path, sizes_mb: Mapping[str, float]) -> bool:
    path = folder / RECORD_NAME
    record = read_json(path) if path.is_file() else {"recipe_version": None, "files": {}}
    return record["recipe_version"] == RECIPE_VERSION and all(
        name in record["files"]
        and record["files"][name]["size_mb"] == size_mb
        and (folder / f"{name}.txt").is_file()
        and record["files"][name]["sha256"] == hash_file(folder / f"{name}.txt")
        for name, size_mb in sizes_mb.items()
    )


def _default_trees(scratch: Path) -> Iterator[Tree]:
    """Yield this machine's folders, then packages: downloaded, unpacked and removed one by one."""
    for name, folder in LOCAL_FOLDERS.items():
        yield Tree(name, folder)
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return
    # Own package lists: up to date, and neither root nor the machine's lists are involved.
    (scratch / "lists/partial").mkdir(parents=True)
    (scratch / "cache/archives/partial").mkdir(parents=True)
    options = [f"-oDir::State::Lists={scratch}/lists", f"-oDir::Cache={scratch}/cache"]
    apt_get = ["apt-get", "-qq", "-oAPT::Sandbox::User=root", *options]
    for name in PACKAGES if _succeeds([*apt_get, "update"], scratch) else ():
        folder = scratch / name
        folder.mkdir()
        if _succeeds([*apt_get, "download", name], folder):
            (package,) = folder.glob("*.deb")
            if _succeeds(["dpkg-deb", "-x", package.name, "files"], folder):
                yield Tree(package.stem, folder / "files")
        shutil.rmtree(folder)


def _succeeds(command: Sequence[str], folder: Path) -> bool:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        logger.warning("%s failed: %s", " ".join(command[-2:]), done.stderr.partition("\n")[0])
    return done.returncode == 0


def main() -> None:
    """Build the corpora and print what is in them."""
    parser = argparse.ArgumentParser(description="Build the corpora on which tokenizers are timed.")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    build_corpora(options.folder)
    print((options.folder / RECORD_NAME).read_text())


if __name__ == "__main__":
    main()

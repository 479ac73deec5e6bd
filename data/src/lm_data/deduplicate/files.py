"""The course's two deduplications, from text files to text files."""

import hashlib
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from lm_data.deduplicate.minhash import MinHashConfig, ShingleHasher
from lm_data.deduplicate.near_duplicates import cluster_documents, sign_texts
from lm_shared.files import atomic_path

FilePath = str | os.PathLike[str]
DIGEST_SIZE = 16


def exact_line_deduplication(input_files: Sequence[FilePath], output_directory: FilePath) -> None:
    """Rewrite files with only those lines that occur exactly once in all of them together.

    All copies of a repeated line go. A line is its bytes without the line feed and the carriage
    returns at its end, so lines of Windows and Unix files are equal, and the last line of a file
    equals others although no line feed ends it. Files that lose everything are written
    empty.

    Raises:
        FileNotFoundError: An input file is missing.
        ValueError: Two input files have the same name.
    """
    paths = _check_inputs(input_files)
    # Files are read twice instead of being held: the digests are all that must fit into memory.
    counts = Counter(digest for path in paths for _, digest in _iterate_lines(path))
    for path in paths:
        with atomic_path(Path(output_directory) / path.name) as partial, partial.open("wb") as out:
            out.writelines(line for line, digest in _iterate_lines(path) if counts[digest] == 1)


def minhash_deduplication(
    input_files: Sequence[FilePath],
    num_hashes: int,
    num_bands: int,
    ngrams: int,
    jaccard_threshold: float,
    output_directory: FilePath,
    *,
    seed: int = 0,
) -> None:
    """Copy files verbatim, of each cluster of near duplicates one member at random.

    Args:
        input_files: One document each, UTF-8.
        num_hashes: Length of the signatures.
        num_bands: Bands of a signature; must divide ``num_hashes``.
        ngrams: Words in an n-gram.
        jaccard_threshold: Least true similarity of near duplicates.
        output_directory: Where the files are written under the same names.
        seed: Seed of the permutations and of the choice in each cluster.

    Raises:
        FileNotFoundError: An input file is missing.
        ValueError: Two input files have the same name, or a number is out of range.
    """
    config = MinHashConfig(
        num_hashes=num_hashes,
        num_bands=num_bands,
        ngram_size=ngrams,
        jaccard_threshold=jaccard_threshold,
        seed=seed,
    )
    paths = _check_inputs(input_files)
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in paths]
    hasher = ShingleHasher(ngrams)
    clusters = cluster_documents(
        sign_texts(texts, config), lambda row: hasher.hash_text(texts[row]), config
    )
    rng = random.Random(seed)
    dropped: set[int] = set()
    for group in clusters.groups:
        # One draw per cluster, in the order of the inputs, so that the seed decides alone.
        dropped.update(group)
        dropped.remove(rng.choice(group))
    for row, path in enumerate(paths):
        if row not in dropped:
            with atomic_path(Path(output_directory) / path.name) as partial:
                shutil.copyfile(path, partial)


def _check_inputs(input_files: Sequence[FilePath]) -> list[Path]:
    paths = [Path(path) for path in input_files]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"no input file at {path}")
    repeated = [name for name, count in Counter(path.name for path in paths).items() if count > 1]
    if repeated:
        raise ValueError(f"input files share the names {repeated}: one would overwrite the other")
    return paths


def _iterate_lines(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield lines with their ending, and the digest without it."""
    with path.open("rb") as file:
        for line in file:
            yield line, hashlib.blake2b(line.rstrip(b"\r\n"), digest_size=DIGEST_SIZE).digest()

"""Training of byte-level byte-pair encoding (Sennrich et al., 2016; Radford et al., 2019).

The vocabulary starts with the special tokens and the 256 bytes; the rest are merges, found by
``learning`` (plain Python) or, where there is more text than starting it costs, by the fast path.
Both give the same merges. Text is streamed: memory grows with the distinct pre-tokens only.
"""

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lm_basics.tokenizer.fast.path import Implementation
from lm_basics.tokenizer.fast.segments import KERNEL_PATTERNS
from lm_basics.tokenizer.fast.trainer import (
    CorpusCounter,
    Documents,
    WordList,
    learn_merges_of_words,
)
from lm_basics.tokenizer.kernels import KERNELS
from lm_basics.tokenizer.learning import TieBreaking, count_pretokens, learn_merges
from lm_basics.tokenizer.patterns import GPT2_PATTERN, check_special_tokens, compile_pattern
from lm_basics.tokenizer.texts import Block, OnInvalid, is_parquet, read_blocks, read_column
from lm_shared.config import check_choice
from lm_shared.machine_code import MachineCodeError
from lm_shared.processes import num_available_cores

Report = Callable[[str, int, int], None]
"""Called with what is being done (``"counting"`` bytes, ``"merging"``), how much of it is done, and
how much there is, 0 if nobody knows."""

logger = logging.getLogger(__name__)

_NUM_BYTES = 256
_DOCUMENT_CHARACTERS = 1 << 20
_BYTES_PER_THREAD = 1 << 23
# From here on loading the kernels pays for itself, and from here on even compiling them does.
_WORTH_LOADING_BYTES = 1 << 18
_WORTH_COMPILING_BYTES = 1 << 23


def train_bpe(
    input_path: Path | str | Sequence[Path | str],
    vocab_size: int,
    special_tokens: Sequence[str],
    *,
    pattern: str = GPT2_PATTERN,
    tie_breaking: TieBreaking = "greater_bytes",
    text_column: str = "text",
    max_bytes: int | None = None,
    on_invalid: OnInvalid = "strict",
    num_threads: int | None = None,
    implementation: Implementation = "auto",
    report: Report | None = None,
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Train on UTF-8 text files and Parquet files, which are streamed.

    Args:
        input_path: one file, or several that are counted one after the other.
        vocab_size: largest number of tokens, special ones and bytes included; there are fewer when
            no pair is left to merge.
        special_tokens: strings that are never cut; they get the first ids.
        pattern: regular expression of the pre-tokens.
        tie_breaking: choice among equally frequent pairs.
        text_column: column of Parquet files; each row is a document.
        max_bytes: bytes of text to train on, the first ones; all by default.
        on_invalid: what happens to bytes that are not UTF-8.
        num_threads: threads that count; all cores by default.
        implementation: fast path or plain Python.
        report: is told of the progress.

    Returns:
        The vocabulary, id to bytes, and the merges in the order of their creation.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is not UTF-8, or an argument is impossible.
    """
    check_choice("on_invalid", on_invalid, OnInvalid)
    _check_arguments(vocab_size, special_tokens, pattern, tie_breaking, num_threads, implementation)
    if max_bytes is not None and max_bytes < 1:
        raise ValueError(f"max_bytes={max_bytes} leaves no text to train on")
    paths = [Path(path) for path in _as_sequence(input_path)]
    if not paths:
        raise ValueError("expected at least one file to train on, got none")
    size = sum(path.stat().st_size for path in paths)
    size = size if max_bytes is None else min(size, max_bytes)
    texts = partial(read_column, column=text_column, on_invalid=on_invalid)
    implementation = _choose(size, implementation)
    blocks = partial(
        read_blocks,
        pattern=pattern,
        special_tokens=special_tokens,
        is_compiled=implementation == "fast",
    )
    parts = _read_parts(paths, texts, blocks, max_bytes)
    # The text of a Parquet file is mostly longer than the file.
    total = size if size == max_bytes or not any(map(is_parquet, paths)) else 0
    trainer = _Trainer(
        special_tokens=special_tokens,
        pattern=pattern,
        tie_breaking=tie_breaking,
        on_invalid=on_invalid,
        num_threads=num_threads or min(num_available_cores(), 1 + size // _BYTES_PER_THREAD),
        report=report or _ignore,
    )
    return trainer.train(parts, total, vocab_size, implementation)


def train_bpe_from_texts(
    texts: Iterable[str],
    vocab_size: int,
    special_tokens: Sequence[str],
    *,
    pattern: str = GPT2_PATTERN,
    tie_breaking: TieBreaking = "greater_bytes",
    num_threads: int | None = None,
    implementation: Implementation = "auto",
    report: Report | None = None,
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Train on an iterable of documents; see ``train_bpe``. No pre-token crosses documents."""
    if isinstance(texts, str):
        raise TypeError(f"expected an iterable of texts, got the string {texts[:40]!r}")
    _check_arguments(vocab_size, special_tokens, pattern, tie_breaking, num_threads, implementation)
    parts = _group_documents(texts)
    # What is worth the fast path is known once that much was read.
    first = list(_take_documents(parts, _WORTH_COMPILING_BYTES))
    trainer = _Trainer(
        special_tokens=special_tokens,
        pattern=pattern,
        tie_breaking=tie_breaking,
        on_invalid="strict",
        num_threads=num_threads or num_available_cores(),
        report=report or _ignore,
    )
    size = sum(len(text) for documents in first for text in documents)
    implementation = _choose(size, implementation)
    return trainer.train(itertools.chain(first, parts), 0, vocab_size, implementation)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trainer:
    """The settings of a training."""

    special_tokens: Sequence[str]
    pattern: str
    tie_breaking: TieBreaking
    on_invalid: OnInvalid
    num_threads: int
    report: Report

    def train(
        self,
        parts: Iterable[Block | Documents],
        total: int,
        vocab_size: int,
        implementation: Implementation,
    ) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
        """Learn the merges and number the tokens: special ones, bytes, then merges in order."""
        num_merges = vocab_size - _NUM_BYTES - len(self.special_tokens)
        merges = self._learn(parts, total, num_merges, implementation)
        if len(merges) < num_merges:
            logger.warning("No pair is left after %d of %d merges.", len(merges), num_merges)
        tokens = [token.encode() for token in self.special_tokens]
        tokens += [bytes([byte]) for byte in range(_NUM_BYTES)]
        tokens += [left + right for left, right in merges]
        return dict(enumerate(tokens)), merges

    def _learn(
        self,
        parts: Iterable[Block | Documents],
        total: int,
        num_merges: int,
        implementation: Implementation,
    ) -> list[tuple[bytes, bytes]]:
        kernel_pattern = KERNEL_PATTERNS.get(self.pattern)
        if implementation == "fast" and kernel_pattern is not None:
            counter = CorpusCounter(
                self.special_tokens, kernel_pattern=kernel_pattern, on_invalid=self.on_invalid
            )
            for done in itertools.accumulate(counter.count(parts, self.num_threads)):
                self.report("counting", done, total)
            words = WordList.from_table(counter.total())
        else:
            counts = self._count_plainly(parts, total)
            # Nearly every byte of a word is merged, and each time the whole word is gone through.
            cost = sum(len(word) ** 2 for word in counts)
            if _choose(cost, implementation) != "fast":
                return learn_merges(counts, num_merges, tie_breaking=self.tie_breaking)
            words = WordList.from_mapping(counts)
        return learn_merges_of_words(
            words,
            num_merges,
            prefers_smaller_id=self.tie_breaking == "smaller_id",
            report=lambda done: self.report("merging", done, num_merges),
        )

    def _count_plainly(self, parts: Iterable[Block | Documents], total: int) -> dict[bytes, int]:
        counts: Counter[str] = Counter()
        done = 0
        for part in parts:
            texts = [part.text(self.on_invalid)] if isinstance(part, Block) else part
            counts.update(count_pretokens(texts, self.special_tokens, pattern=self.pattern))
            done += len(part.data) if isinstance(part, Block) else sum(map(len, part))
            self.report("counting", done, total)
        return {pretoken.encode(): count for pretoken, count in counts.items()}


def _choose(size: int, wanted: Implementation) -> Implementation:
    """Return ``"fast"`` with the kernels loaded, ``"reference"``, or ``"auto"``: not yet worth it.

    Args:
        size: bytes of the corpus, or of its distinct words, each as often as it is gone through.
        wanted: what was asked for, or returned for a smaller size.
    """
    if wanted == "reference":
        return wanted
    if wanted == "auto":
        if size < _WORTH_LOADING_BYTES:
            return wanted
        if size < _WORTH_COMPILING_BYTES and not KERNELS.is_compiled():
            return wanted
    try:
        KERNELS.load()
    except MachineCodeError as error:
        if wanted == "fast":
            raise
        logger.warning("Training in plain Python, which is slower: %s", error)
        return "reference"
    return "fast"


def _read_parts(
    paths: Sequence[Path],
    read_texts: Callable[[Path], Iterable[str]],
    read_blocks: Callable[..., Iterable[Block]],
    max_bytes: int | None,
) -> Iterator[Block | Documents]:
    """Yield the text of files up to a number of bytes."""
    remaining = max_bytes
    for path in paths:
        if is_parquet(path):
            for group in _group_documents(read_texts(path)):
                if remaining is None:
                    yield group
                    continue
                limited, remaining = _limit_documents(group, remaining)
                yield limited
                if not remaining:
                    return
        else:
            yield from read_blocks(path, max_bytes=remaining)
            if remaining is None:
                continue
            # The file's bytes, not the blocks': a character that the limit cut is gone.
            remaining -= path.stat().st_size
            if remaining <= 0:
                return


def _limit_documents(documents: Documents, num_bytes: int) -> tuple[Documents, int]:
    """Return the documents within a number of bytes, the last one cut, and what is left of it."""
    limited = []
    for document in documents:
        if num_bytes <= 0:
            break
        data = document.encode()
        limited.append(data[:num_bytes].decode(errors="ignore"))
        num_bytes -= len(data)
    return limited, max(0, num_bytes)


def _group_documents(texts: Iterable[str]) -> Iterator[Documents]:
    """Yield groups of documents of about the same size."""
    group: Documents = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= _DOCUMENT_CHARACTERS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _take_documents(parts: Iterator[Documents], num_characters: int) -> Iterator[Documents]:
    """Take groups from an iterator until they have a number of characters."""
    for documents in parts:
        yield documents
        num_characters -= sum(map(len, documents))
        if num_characters <= 0:
            return


def _check_arguments(
    vocab_size: int,
    special_tokens: Sequence[str],
    pattern: str,
    tie_breaking: TieBreaking,
    num_threads: int | None,
    implementation: Implementation,
) -> None:
    """Raise before any work is done."""
    check_special_tokens(special_tokens)
    compile_pattern(pattern)
    check_choice("tie_breaking", tie_breaking, TieBreaking)
    check_choice("implementation", implementation, Implementation)
    if num_threads is not None and num_threads < 1:
        raise ValueError(f"num_threads={num_threads} leaves nobody to count")
    if not isinstance(vocab_size, int):
        raise TypeError(f"vocab_size must be an integer, got {vocab_size!r}")
    smallest = _NUM_BYTES + len(special_tokens)
    if vocab_size < smallest:
        raise ValueError(
            f"vocab_size={vocab_size} is too small: 256 bytes and {len(special_tokens)} special "
            f"tokens need at least {smallest}"
        )


def _as_sequence(paths: Path | str | Sequence[Path | str]) -> Sequence[Path | str]:
    return [paths] if isinstance(paths, Path | str) else paths


def _ignore(activity: str, done: int, total: int) -> None:
    """Report to nobody."""

"""A report on a byte-pair encoding: its vocabulary, and what it makes of given files.

The vocabulary is searched for *glitch candidates*: tokens that a model meets too rarely in training
to learn what they mean. There are two kinds, and they differ in how much they prove:

* unreachable: the token does not occur in the given files, and its own text is encoded as something
  else. Merges do not look around, so a longer text can yield it only where the pattern cuts the
  token's text finer than it cuts a word: GPT-2's cuts ``'l`` in two, but not ``'ll``.
* unused: the token does not occur in the given files. Other files may hold it. Most of these are
  harmless: a merge made them on the way to a longer token, which took their place.

A *fragment* is a token whose bytes are a part of a character. It has no text of its own, so it is
never called unreachable; unused it can be.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import regex
from jaxtyping import Int64

from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.learning import count_pretokens
from lm_basics.tokenizer.text_stream import cut_safely
from lm_basics.tokenizer.texts import is_parquet, read_column, read_text
from lm_shared.report import distinct_names

NO_SCRIPT = "no script"
"""Text of digits, punctuation, symbols and white space, which all scripts share."""


OTHER_SCRIPTS = "other scripts"
"""Text in a script that is not in ``SCRIPTS``."""


SCRIPTS = (
    *("Latin", "Cyrillic", "Han", "Arabic", "Devanagari", "Hiragana", "Katakana", "Hangul"),
    *("Greek", "Hebrew", "Thai", "Bengali", "Tamil", "Telugu", "Gujarati", "Gurmukhi", "Kannada"),
    *("Malayalam", "Oriya", "Sinhala", "Armenian", "Georgian", "Ethiopic", "Khmer", "Lao"),
    *("Myanmar", "Tibetan", "Mongolian", "Bopomofo"),
)
"""Scripts that are told apart, by their Unicode names."""


_SHARED = r"\p{Script=Common}\p{Script=Inherited}\p{Script=Unknown}"


_PATTERN = regex.compile(
    "|".join([*(rf"(?P<{name}>\p{{Script={name}}})" for name in SCRIPTS), f"[^{_SHARED}]"])
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRow:
    """One token."""

    token_id: int
    """Its id."""
    text: str
    """Its text; bytes that are not UTF-8 show as U+FFFD."""
    num_bytes: int
    """Its length in bytes."""
    count: int
    """How often it occurs in the files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextSize:
    """A group of text in bytes and in tokens, special tokens left out of both."""

    name: str
    """Script, or file, as much of its path as tells it from the others."""
    num_bytes: int
    """UTF-8 bytes."""
    num_tokens: int
    """Tokens."""
    bytes_per_token: float | None
    """Compression ratio; ``None`` without tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileDifference:
    """One file in tokens of two tokenizers."""

    name: str
    """The file."""
    num_tokens: int
    """Its tokens."""
    other_num_tokens: int
    """Its tokens of the other tokenizer."""
    ratio: float | None
    """Bytes per token divided by the other's: above 1, this tokenizer compresses further."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerDifference:
    """What sets the tokenizer apart from another one."""

    other_vocab_size: int
    """Number of ids of the other one."""
    num_in_common: int
    """Tokens with the same bytes, special tokens left out."""
    files: tuple[FileDifference, ...]
    """Compression next to the other's, by file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerReport:
    """The numbers of a report."""

    vocab_hash: str
    """Which tokenizer it is about."""
    vocab_size: int
    """Number of ids."""
    num_special: int
    """Special tokens; they stand for no text and are in none of the other numbers."""
    num_fragments: int
    """Tokens that are a part of a character."""
    num_unreachable: int
    """Unused tokens that their own text does not yield either."""
    num_unused: int
    """Tokens that do not occur in the files, the unreachable ones included."""
    used_share: float
    """Share of the tokens that occur in the files."""
    longest: tuple[TokenRow, ...]
    """The longest tokens."""
    unreachable: tuple[TokenRow, ...]
    """The longest of the unreachable tokens."""
    unused: tuple[TokenRow, ...]
    """The longest of the unused tokens that are reachable."""
    files: tuple[TextSize, ...]
    """Compression by file."""
    scripts: tuple[TextSize, ...]
    """Compression by script; of a language only its script can be told, see ``scripts``."""
    difference: TokenizerDifference | None
    """Comparison with another tokenizer, where one was given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenUsage:
    """What a tokenizer makes of some files."""

    counts: Int64[np.ndarray, " vocab"]
    """How often each id occurs."""
    files: tuple[TextSize, ...]
    """Sizes by file, in the order given."""
    scripts: tuple[TextSize, ...]
    """Sizes by the script of the pre-tokens, the largest first."""


def report_on_tokenizer(
    tokenizer: Tokenizer,
    paths: Sequence[Path],
    *,
    against: Tokenizer | None = None,
    text_column: str = "text",
    num_listed: int = 40,
) -> TokenizerReport:
    """Encode the files and look through the vocabulary.

    Args:
        tokenizer: the one to report on.
        paths: UTF-8 text or Parquet, one file for each domain; special tokens of either tokenizer
            are cut out of them.
        against: a tokenizer to compare with.
        text_column: column of Parquet files; each row is a document.
        num_listed: most tokens of each list; the counts are always complete.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there are no files, one is not UTF-8, or ``num_listed`` is not positive.
    """
    if not paths:
        raise ValueError("a report needs at least one text file, got none")
    if num_listed < 1:
        raise ValueError(f"expected num_listed of at least 1, got {num_listed}")
    specials = {*tokenizer.special_token_ids, *(against.special_token_ids if against else ())}
    usage = count_usage(tokenizer, paths, specials, text_column=text_column)
    tokens = _ordinary_tokens(tokenizer)
    unused = [token_id for token_id in tokens if usage.counts[token_id] == 0]
    unreachable = set(unused) & set(find_unreachable_tokens(tokenizer))
    difference = None
    if against is not None:
        other_usage = count_usage(against, paths, specials, text_column=text_column)
        difference = _compare_with(against, other_usage, tokenizer, usage)
    return TokenizerReport(
        vocab_hash=tokenizer.vocab_hash,
        vocab_size=tokenizer.vocab_size,
        num_special=len(tokenizer.special_token_ids),
        num_fragments=sum(_own_text(token) is None for token in tokens.values()),
        num_unreachable=len(unreachable),
        num_unused=len(unused),
        used_share=1 - len(unused) / len(tokens),
        longest=_list_longest(tokens, usage, tokens, num_listed),
        unreachable=_list_longest(unreachable, usage, tokens, num_listed),
        unused=_list_longest(set(unused) - unreachable, usage, tokens, num_listed),
        files=usage.files,
        scripts=usage.scripts,
        difference=difference,
    )


def find_unreachable_tokens(tokenizer: Tokenizer) -> list[int]:
    """Return the ids, in their order, whose own text is encoded as other ids.

    Special tokens are left out, and so are fragments of characters, which have no text.
    """
    unreachable: list[int] = []
    for token_id, token in _ordinary_tokens(tokenizer).items():
        text = _own_text(token)
        if text is not None and tokenizer.encode(text, allowed_special=()) != [token_id]:
            unreachable.append(token_id)
    return unreachable


def count_usage(
    tokenizer: Tokenizer,
    paths: Sequence[Path],
    special_tokens: Collection[str] | None = None,
    *,
    text_column: str = "text",
) -> TokenUsage:
    """Count the tokens of UTF-8 text files and Parquet files, which are streamed.

    Args:
        tokenizer: its special tokens are cut out of the text and not counted.
        paths: UTF-8 text, or Parquet if the name ends in .parquet.
        special_tokens: strings to cut out instead, for two tokenizers to see the same text.
        text_column: column of Parquet files; each row is a document.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is not UTF-8, or a Parquet file is damaged or lacks the column.
    """
    specials = list(tokenizer.special_token_ids if special_tokens is None else special_tokens)
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    script_bytes: Counter[str] = Counter()
    script_tokens: Counter[str] = Counter()
    files: list[TextSize] = []
    for path, name in zip(paths, distinct_names(paths), strict=True):
        num_bytes = num_tokens = 0
        for pretoken, count in _count_file(path, specials, tokenizer.pattern, text_column).items():
            ids = tokenizer.encode(pretoken, allowed_special=())
            for token_id in ids:
                counts[token_id] += count
            script, size = script_of(pretoken), len(pretoken.encode()) * count
            script_bytes[script] += size
            script_tokens[script] += len(ids) * count
            num_bytes += size
            num_tokens += len(ids) * count
        files.append(_size(name, num_bytes, num_tokens))
    scripts = [_size(name, size, script_tokens[name]) for name, size in script_bytes.items()]
    scripts.sort(key=lambda size: (-size.num_bytes, size.name))
    return TokenUsage(counts=counts, files=tuple(files), scripts=tuple(scripts))


@lru_cache(maxsize=1 << 16)
def script_of(text: str) -> str:
    """Return the script of the first character in ``text`` that has one of its own."""
    match = _PATTERN.search(text)
    if match is None:
        return NO_SCRIPT
    return match.lastgroup or OTHER_SCRIPTS


def _ordinary_tokens(tokenizer: Tokenizer) -> dict[int, bytes]:
    """Return the bytes of every id that stands for text."""
    special_ids = set(tokenizer.special_token_ids.values())
    return {
        token_id: token
        for token_id, token in sorted(tokenizer.vocab.items())
        if token_id not in special_ids
    }


def _own_text(token: bytes) -> str | None:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return None


def _list_longest(
    ids: Iterable[int], usage: TokenUsage, tokens: Mapping[int, bytes], num_listed: int
) -> tuple[TokenRow, ...]:
    longest = sorted(ids, key=lambda token_id: (-len(tokens[token_id]), token_id))
    return tuple(
        TokenRow(
            token_id=token_id,
            text=tokens[token_id].decode(errors="replace"),
            num_bytes=len(tokens[token_id]),
            count=int(usage.counts[token_id]),
        )
        for token_id in longest[:num_listed]
    )


def _compare_with(
    other: Tokenizer, other_usage: TokenUsage, tokenizer: Tokenizer, usage: TokenUsage
) -> TokenizerDifference:
    files = [
        FileDifference(
            name=size.name,
            num_tokens=size.num_tokens,
            other_num_tokens=other_size.num_tokens,
            ratio=other_size.num_tokens / size.num_tokens if size.num_tokens else None,
        )
        for size, other_size in zip(usage.files, other_usage.files, strict=True)
    ]
    common = {*_ordinary_tokens(tokenizer).values()} & {*_ordinary_tokens(other).values()}
    return TokenizerDifference(
        other_vocab_size=other.vocab_size, num_in_common=len(common), files=tuple(files)
    )


def _count_file(
    path: Path, special_tokens: Sequence[str], pattern: str, text_column: str
) -> Counter[str]:
    if is_parquet(path):
        return count_pretokens(read_column(path, text_column), special_tokens, pattern=pattern)
    blocks = cut_safely(read_text(path), regex.compile(pattern), special_tokens)
    return count_pretokens(blocks, special_tokens, pattern=pattern)


def _size(name: str, num_bytes: int, num_tokens: int) -> TextSize:
    ratio = num_bytes / num_tokens if num_tokens else None
    return TextSize(name=name, num_bytes=num_bytes, num_tokens=num_tokens, bytes_per_token=ratio)

"""How often a byte-pair encoding uses each of its tokens, and how far it compresses what.

Merges never cross pre-tokens. So a text is counted by its distinct pre-tokens, of which there are
few, and the tokens of every pre-token belong to one file and to one script without a remainder.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import regex
from jaxtyping import Int64

from lm_basics.path_names import distinct_names
from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.learning import count_pretokens
from lm_basics.tokenizer.scripts import script_of
from lm_basics.tokenizer.text_stream import cut_safely
from lm_basics.tokenizer.texts import is_parquet, read_column, read_text


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
class TokenUsage:
    """What a tokenizer makes of some files."""

    counts: Int64[np.ndarray, " vocab"]
    """How often each id occurs."""
    files: tuple[TextSize, ...]
    """Sizes by file, in the order given."""
    scripts: tuple[TextSize, ...]
    """Sizes by the script of the pre-tokens, the largest first."""


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

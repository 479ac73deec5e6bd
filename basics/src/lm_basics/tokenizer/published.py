"""Published encodings: what a rank file of OpenAI leaves out, patterns and special tokens.

tiktoken keeps these in its source (``tiktoken_ext/openai_public.py``), the files hold ranks alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.patterns import END_OF_TEXT, GPT2_PATTERN, GPT4_PATTERN, O200K_PATTERN
from lm_basics.tokenizer.tiktoken_file import tokenizer_from_rank_file


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedEncoding:
    """What is needed beside the ranks."""

    pattern: str
    """Regular expression of the pre-tokens."""
    special_tokens: Mapping[str, int]
    """Id of each special token."""


PUBLISHED_ENCODINGS: Mapping[str, PublishedEncoding] = {
    "r50k_base": PublishedEncoding(pattern=GPT2_PATTERN, special_tokens={END_OF_TEXT: 50256}),
    "cl100k_base": PublishedEncoding(
        pattern=GPT4_PATTERN,
        special_tokens={
            END_OF_TEXT: 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
    "o200k_base": PublishedEncoding(
        pattern=O200K_PATTERN, special_tokens={END_OF_TEXT: 199999, "<|endofprompt|>": 200018}
    ),
}
"""The encodings of GPT-2 and GPT-3, GPT-4, and GPT-4o under tiktoken's names."""


def load_published(name: str, path: Path | str) -> Tokenizer:
    """Read the rank file of a published encoding.

    Args:
        name: decides the pattern and the special tokens, with which a wrong one gives wrong ids.
        path: the rank file; tiktoken's cache has it under another name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the name is unknown, or the file is damaged.
    """
    if name not in PUBLISHED_ENCODINGS:
        raise ValueError(
            f"expected one of {', '.join(PUBLISHED_ENCODINGS)}, got {name!r}; for other rank "
            "files, which hold no pattern, there is tokenizer_from_rank_file in Python"
        )
    encoding = PUBLISHED_ENCODINGS[name]
    return tokenizer_from_rank_file(
        path, pattern=encoding.pattern, special_tokens=encoding.special_tokens
    )

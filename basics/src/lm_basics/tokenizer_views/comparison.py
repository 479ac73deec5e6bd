"""A comparison of tokenizers on one text.

With n tokens for a text of b UTF-8 bytes, a tokenizer makes b / n bytes per token. A model that
reads the whole text at once pays for attention in proportion to n^2, so next to a model on bytes,

    attention cost = (n / b)^2.

What longer tokens cost in return is vocabulary: each id needs a row of the embedding. Words look
better than they are: an unknown one passes for a single token that holds all of its bytes, so their
ratio means little without the share of unknown tokens.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pydoc_data.topics import topics

from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.patterns import GPT2_PATTERN
from lm_basics.tokenizer.simple import (
    ByteTokenizer,
    CharacterTokenizer,
    TextTokenizer,
    WordTokenizer,
)
from lm_basics.tokenizer.training import train_bpe_from_texts

_NUM_BYTES = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerComparison:
    """What one tokenizer makes of the text."""

    name: str
    """Name of the tokenizer."""
    vocab_size: int
    """Number of ids."""
    num_tokens: int
    """Length of the text in tokens."""
    bytes_per_token: float
    """UTF-8 bytes of text per token, the compression ratio."""
    attention_cost: float
    """Cost of attention over the whole text, relative to one token per byte."""
    used_share: float
    """Share of the vocabulary that occurs in the text."""
    unknown_share: float | None
    """Share of the tokens that stand for unknown words; ``None`` where every text is known."""
    is_lossless: bool
    """Whether decoding gives the text back."""


def compare_tokenizers(
    tokenizers: Mapping[str, TextTokenizer], text: str
) -> list[TokenizerComparison]:
    """Encode ``text`` with every tokenizer and return one row for each, in their order.

    Raises:
        ValueError: there is no text, or no tokenizer.
    """
    if not text:
        raise ValueError("a comparison needs text, got an empty string")
    if not tokenizers:
        raise ValueError("a comparison needs at least one tokenizer, got none")
    return [_compare_one(name, tokenizer, text) for name, tokenizer in tokenizers.items()]


def train_tokenizers(
    texts: Sequence[str], vocab_sizes: Sequence[int], *, pattern: str = GPT2_PATTERN
) -> dict[str, TextTokenizer]:
    """Return every kind of tokenizer: characters, bytes, words, and byte-pair encodings.

    The words get as many ids as the largest byte-pair encoding, so that what differs between them
    is the kind alone.

    Args:
        texts: documents to learn words and merges from.
        vocab_sizes: most ids of the byte-pair encodings, at least 256 each; where the texts have
            fewer merges, the encoding is named after the ids that it has.
        pattern: regular expression of words and pre-tokens.

    Raises:
        ValueError: ``vocab_sizes`` is empty, or one is too small for the 256 bytes.
    """
    if not vocab_sizes or min(vocab_sizes) < _NUM_BYTES:
        raise ValueError(f"expected vocab_sizes of at least {_NUM_BYTES}, got {list(vocab_sizes)}")
    largest = max(vocab_sizes)
    tokenizers: dict[str, TextTokenizer] = {
        "character": CharacterTokenizer(),
        "byte": ByteTokenizer(),
        f"word {largest}": WordTokenizer.from_texts(texts, largest, pattern=pattern),
    }
    # Training is greedy: the first merges of a large vocabulary are those of a smaller one.
    vocab, merges = train_bpe_from_texts(texts, largest, [], pattern=pattern)
    for vocab_size in sorted(set(vocab_sizes)):
        first_tokens = dict(list(vocab.items())[:vocab_size])
        tokenizers[f"bpe {len(first_tokens)}"] = Tokenizer(
            first_tokens, merges[: vocab_size - _NUM_BYTES], pattern=pattern
        )
    return tokenizers


def hold_out(texts: Iterable[str], *, share: float = 0.1) -> tuple[list[str], str]:
    """Return the beginning of every text to train on, and the joined ends to compare on.

    Args:
        texts: the texts; every one gives both parts, so that both are of the same kinds.
        share: part of each text's characters that is held out.

    Raises:
        ValueError: ``share`` is not between 0 and 1, or a part would be empty.
    """
    if not 0 < share < 1:
        raise ValueError(f"expected a share between 0 and 1, got {share}")
    beginnings: list[str] = []
    ends: list[str] = []
    for text in texts:
        cut = round(len(text) * (1 - share))
        beginnings.append(text[:cut])
        ends.append(text[cut:])
    if not any(beginnings) or not any(ends):
        raise ValueError(
            f"cannot hold out {share:.0%} of {sum(map(len, beginnings + ends))} characters"
        )
    return beginnings, "".join(ends)


def _compare_one(name: str, tokenizer: TextTokenizer, text: str) -> TokenizerComparison:
    ids = tokenizer.encode(text)
    num_bytes = len(text.encode())
    unknown_share = None
    if isinstance(tokenizer, WordTokenizer):
        unknown_share = ids.count(tokenizer.unknown_id) / len(ids)
    return TokenizerComparison(
        name=name,
        vocab_size=tokenizer.vocab_size,
        num_tokens=len(ids),
        bytes_per_token=num_bytes / len(ids),
        attention_cost=(len(ids) / num_bytes) ** 2,
        used_share=len(set(ids)) / tokenizer.vocab_size,
        unknown_share=unknown_share,
        is_lossless=tokenizer.decode(ids) == text,
    )


def python_manual() -> str:
    """Return the topics of the manual, in the order of their names."""
    return "\n\n".join(topics[name] for name in sorted(topics))

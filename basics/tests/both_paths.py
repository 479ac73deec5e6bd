"""The fast path and plain Python side by side, for tests that hold the one to the other."""

import functools
import random
from collections.abc import Iterable, Sequence
from typing import Any

from basics.tests.nasty_text import nasty_text
from lm_basics.tokenizer import Tokenizer, train_bpe_from_texts
from lm_basics.tokenizer.patterns import GPT2_PATTERN, GPT4_PATTERN

END = "<|endoftext|>"
# Overlapping, beginning alike, within characters of each other, and more than a few in all.
SPECIALS = [END, "<|", "<|a|>", "<|a|><|b|>", "|>", " the", "a b", "'s", "日本", "本", "\0", "\n\n"]
SPECIALS += [f"<r{number}>" for number in range(12)]
CORPUS = (
    "the cat's hat, the bat's that; aaaa aaaaaa don't they'll 1234 12 \n\n  é日本日本 🙂🙂 " * 3
)

Vocabulary = tuple[dict[int, bytes], list[tuple[bytes, bytes]]]
Pair = tuple[Tokenizer, Tokenizer]
"""A tokenizer with the fast path, and the same one in plain Python."""


def train_both(
    texts: Iterable[str], vocab_size: int, specials: Sequence[str], **options: Any
) -> Vocabulary:
    """Return what the fast path learns, after a check that it is what plain Python learns."""
    texts = list(texts)
    fast, plain = (
        train_bpe_from_texts(texts, vocab_size, specials, implementation=implementation, **options)
        for implementation in ("fast", "reference")
    )
    assert fast == plain
    return fast


def make_pair(
    vocab: dict[int, bytes],
    merges: Sequence[tuple[bytes, bytes]],
    specials: Sequence[str] = (),
    pattern: str = GPT2_PATTERN,
) -> Pair:
    fast, plain = (
        Tokenizer(vocab, merges, specials, pattern=pattern, implementation=implementation)
        for implementation in ("fast", "reference")
    )
    return fast, plain


@functools.cache
def trained(pattern: str = GPT2_PATTERN) -> Vocabulary:
    """Return 556 tokens without special ones."""
    texts = [CORPUS, *(nasty_text(random.Random(seed)) for seed in range(20))]
    return train_bpe_from_texts(texts, 256 + 300, [], pattern=pattern)


def as_trained() -> Pair:
    return make_pair(*trained(), SPECIALS)


def with_pattern_of_gpt4() -> Pair:
    return make_pair(*trained(GPT4_PATTERN), SPECIALS, GPT4_PATTERN)


def with_shuffled_ids() -> Pair:
    vocab, merges = trained()
    ids = random.Random(0).sample(range(len(vocab)), len(vocab))
    return make_pair(dict(zip(ids, vocab.values(), strict=True)), merges, SPECIALS)


def with_sparse_ids_of_32_bits() -> Pair:
    vocab, merges = trained()
    ids = random.Random(0).sample(range(1 << 20), len(vocab))
    return make_pair(dict(zip(ids, vocab.values(), strict=True)), merges, SPECIALS)


def with_repeated_tokens() -> Pair:
    # Of two ids with the same bytes the first one counts, in whatever order they are given.
    vocab, merges = trained()
    tokens = [*vocab.values(), *vocab.values(), b"", b""]
    random.Random(0).shuffle(tokens)
    return make_pair(dict(reversed(list(enumerate(tokens)))), merges, SPECIALS)


def with_repeated_merges() -> Pair:
    # Some make the same token of other parts; of equal ones the first counts.
    vocab, merges = trained()
    tokens = set(vocab.values())
    splits = [(token[:cut], token[cut:]) for token in tokens for cut in range(1, len(token))]
    repeated = [split for split in sorted(splits) if set(split) <= tokens]
    return make_pair(vocab, merges + repeated, SPECIALS)


def with_merges_in_disorder() -> Pair:
    vocab, merges = trained()
    return make_pair(vocab, random.Random(0).sample(merges, len(merges)), SPECIALS)


def with_bytes_only() -> Pair:
    return make_pair({byte: bytes([byte]) for byte in range(256)}, [], [])


VARIANTS = [as_trained, with_pattern_of_gpt4, with_shuffled_ids, with_sparse_ids_of_32_bits]
VARIANTS += [with_repeated_tokens, with_repeated_merges, with_merges_in_disorder, with_bytes_only]

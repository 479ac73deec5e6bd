"""``basics train-tokenizer``: learn a byte-pair encoding from text files."""

import time
from pathlib import Path
from typing import Annotated

import tyro

from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.patterns import END_OF_TEXT
from lm_basics.tokenizer.training import TieBreaking, train_bpe


def train_tokenizer(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    /,
    *,
    output: Path,
    vocab_size: int = 4096,
    special_tokens: tuple[str, ...] = (END_OF_TEXT,),
    tie_breaking: TieBreaking = "greater_bytes",
) -> None:
    """Train byte-level BPE and write a tokenizer folder in the Hugging Face layout.

    Args:
        files: UTF-8 text; special tokens in it are boundaries that no merge crosses.
        output: folder for tokenizer.json and tokenizer_config.json.
        vocab_size: most tokens, with the 256 bytes and the special tokens.
        special_tokens: strings that are never cut; they get the first ids.
        tie_breaking: which of equally frequent pairs is merged first.
    """
    if not files:
        raise ValueError("expected at least one text file, got none")
    start_s = time.perf_counter()
    vocab, merges = train_bpe(files, vocab_size, special_tokens, tie_breaking=tie_breaking)
    elapsed_s = time.perf_counter() - start_s
    tokenizer = Tokenizer(vocab, merges, special_tokens)
    tokenizer.save(output)
    longest = max((left + right for left, right in merges), key=len, default=b"")
    print(f"{tokenizer.vocab_size} tokens in {elapsed_s:.1f} s, the longest is {longest!r}")
    print(f"wrote {output}")

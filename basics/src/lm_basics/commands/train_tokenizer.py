"""``basics train-tokenizer``: learn a byte-pair encoding from text files or Parquet files."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from lm_basics.commands.inputs import TOKENIZER, TOKENS, TextFiles, Workers, check_text_files
from lm_basics.tokenizer.learning import TieBreaking
from lm_basics.tokenizer.patterns import END_OF_TEXT, GPT2_PATTERN, GPT4_PATTERN, O200K_PATTERN
from lm_basics.tokenizer.texts import OnInvalid
from lm_shared.command_options import Each, Overwrite
from lm_shared.files import claim_folder
from lm_shared.wording import changed, counted, free_output, shortened, wrote

_PATTERNS = {"gpt2": GPT2_PATTERN, "gpt4": GPT4_PATTERN, "gpt4o": O200K_PATTERN}
_NUM_BYTES = 256

PARTS = ("tokenizer.json", "tokenizer_config.json")
"""Files of a tokenizer."""


def train_tokenizer(
    files: TextFiles,
    /,
    *,
    output: Path = TOKENIZER,
    vocab_size: int = 4096,
    special_tokens: Annotated[
        tuple[str, ...],
        Each,
        tyro.conf.arg(metavar="STR", help_behavior_hint=f"(default: {END_OF_TEXT}, repeatable)"),
    ] = (),
    end_of_text: str = END_OF_TEXT,
    pattern: str = "gpt2",
    tie_breaking: TieBreaking = "greater_bytes",
    text_column: str = "text",
    max_bytes: Annotated[
        str | None, tyro.conf.arg(metavar="SIZE", help_behavior_hint="(default: all)")
    ] = None,
    on_invalid: OnInvalid = "strict",
    overwrite: Overwrite = False,
    workers: Workers = None,
) -> None:
    """Train byte-level BPE and write a tokenizer folder in the Hugging Face layout.

    Args:
        files: UTF-8 text or .parquet; special tokens in it are boundaries that no merge crosses.
        output: folder for tokenizer.json and tokenizer_config.json.
        vocab_size: most tokens, with the 256 bytes and the special tokens.
        special_tokens: string that is never cut; all get the first ids, in this order.
        end_of_text: which of them ends a document.
        pattern: gpt2, gpt4, gpt4o, or a regular expression of the pre-tokens.
        tie_breaking: which of equally frequent pairs is merged first.
        text_column: column of Parquet files; each row is a document, rows without text are skipped.
        max_bytes: text to train on, the first of it, such as 500MB or 2GiB.
        on_invalid: stop at bytes that are not UTF-8, or replace them by U+FFFD.
        overwrite: replace an earlier tokenizer.
        workers: threads that count.
    """
    from lm_basics.commands.inputs import parse_byte_count
    from lm_basics.commands.long_work import Stopwatch
    from lm_basics.tokenizer.bpe import Tokenizer
    from lm_basics.tokenizer.training import train_bpe
    from lm_shared.display import progress

    check_text_files(files)
    special_tokens, pattern = special_tokens or (END_OF_TEXT,), _find_pattern(pattern)
    _check_can_be_saved(special_tokens, end_of_text, pattern)
    num_bytes = None if max_bytes is None else parse_byte_count(max_bytes)
    claim_folder(output, "a tokenizer", parts=PARTS, overwrite=overwrite, inputs=files)
    watch = Stopwatch()
    with progress(counted=["merging"]) as report:
        vocab, merges = train_bpe(
            files,
            vocab_size,
            special_tokens,
            pattern=pattern,
            tie_breaking=tie_breaking,
            text_column=text_column,
            max_bytes=num_bytes,
            on_invalid=on_invalid,
            num_threads=workers,
            report=report,
        )
    if not merges and vocab_size > _NUM_BYTES + len(special_tokens):
        raise ValueError(f"no two bytes to merge in {', '.join(map(str, files))}: is there text?")
    tokenizer = Tokenizer(vocab, merges, special_tokens, pattern=pattern)
    tokenizer.save(output, end_of_text=end_of_text)
    print(f"{counted(tokenizer.vocab_size, 'token')} in {watch.elapsed_s():.2f} s{watch.remark()}")
    _print_longest(merges)
    how = changed(("--text-column", text_column, "text"), ("--on-invalid", on_invalid, "strict"))
    then = ("basics", "encode", *files, "--tokenizer", output, *how, *free_output(TOKENS))
    print(wrote(output, then=then if end_of_text in special_tokens else ()))


def _print_longest(merges: Sequence[tuple[bytes, bytes]]) -> None:
    if merges:
        longest = max((left + right for left, right in merges), key=len)
        print(f"the longest token is {shortened(longest)}")


def _find_pattern(name: str) -> str:
    """Return the pattern of that name, or the name itself if it is a pattern."""
    from lm_basics.tokenizer.patterns import compile_pattern

    pattern = _PATTERNS.get(name, name)
    try:
        compile_pattern(pattern)
    except ValueError as error:
        raise ValueError(f"--pattern is none of {', '.join(_PATTERNS)}: {error}") from error
    return pattern


def _check_can_be_saved(special_tokens: tuple[str, ...], end_of_text: str, pattern: str) -> None:
    """Find out before training what ``tokenizer.json`` cannot hold."""
    from lm_basics.tokenizer.bpe import Tokenizer

    if end_of_text not in (*special_tokens, END_OF_TEXT):
        raise ValueError(f"--end-of-text {end_of_text!r} is none of {list(special_tokens)}")
    for token in special_tokens:
        if len(token.encode()) == 1:
            raise ValueError(f"the special token {token!r} is one byte, which is a token already")
    untrained = Tokenizer({n: bytes([n]) for n in range(_NUM_BYTES)}, [], pattern=pattern)
    with tempfile.TemporaryDirectory() as folder:
        untrained.save(folder)

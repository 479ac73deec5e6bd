"""``data tokenize``: curated documents, or texts, as a token file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from lm_shared.command_options import Least, Overwrite, There
from lm_shared.wording import counted, wrote

if TYPE_CHECKING:
    from lm_basics.tokenizer import Tokenizer

Split = Literal["train", "validation"]
VOCAB_NAME, MERGES_NAME = "vocab.json", "merges.txt"
"""GPT-2's files."""
MAX_UINT16_TOKENS = 1 << 16


def tokenize(
    documents: Annotated[
        tuple[Path, ...],
        There(),
        tyro.conf.Positional,
        tyro.conf.arg(metavar="PATH [PATH ...]"),
    ] = (Path("runs/documents"),),
    /,
    *,
    tokenizer: Path,
    split: Split = "train",
    output: Path = Path("runs/tokens.bin"),
    dtype: Literal["smallest", "uint16"] = "smallest",
    overwrite: Overwrite = False,
    workers: Annotated[
        int | None, Least(1), tyro.conf.arg(metavar="INT", help_behavior_hint="(default: all)")
    ] = None,
) -> None:
    """Encode documents, each followed by the end-of-text token; go on where a kill stopped it.

    Args:
        documents: folders of data curate, .parquet files, and text files whose documents end
            with <|endoftext|>.
        tokenizer: folder with a tokenizer.json, or with GPT-2's vocab.json and merges.txt.
        split: part of the folders' documents.
        output: the token file, read by np.fromfile; its name ends in .bin, a .json and an
            .offsets.bin go beside it.
        dtype: numbers of the vocabulary's size (uint16 up to 65,536 tokens, else uint32), or uint16
            or nothing.
        overwrite: replace an earlier token file, or the beginning of another.
        workers: threads or processes that encode.
    """
    from lm_basics.commands.inputs import find_folder, load_tokenizer
    from lm_basics.token_files import encode_files
    from lm_basics.tokenizer.patterns import END_OF_TEXT
    from lm_basics.tokenizer.tokenizer_json import TOKENIZER_FILE, read_end_of_text
    from lm_data.shards import list_shards
    from lm_shared.display import progress

    files = [
        file
        for path in documents
        for file in (list_shards(path, split) if path.is_dir() else [path])
    ]
    folder = find_folder(tokenizer)
    is_gpt2 = (folder / VOCAB_NAME).is_file() and not (folder / TOKENIZER_FILE).is_file()
    encoder = _load_gpt2(folder) if is_gpt2 else load_tokenizer(folder)
    if dtype == "uint16" and encoder.vocab_size > MAX_UINT16_TOKENS:
        raise ValueError(f"{encoder.vocab_size} tokens of {tokenizer} do not fit into uint16")
    with progress() as show:
        written = encode_files(
            encoder,
            files,
            output,
            end_of_text=(None if is_gpt2 else read_end_of_text(folder)) or END_OF_TEXT,
            overwrite=overwrite,
            num_workers=workers,
            report=lambda done, total: show("encoding", done, total),
        )
    print(
        f"{counted(written.num_documents, 'document')}, {counted(written.num_tokens, 'token')} "
        f"of {written.tokens.dtype}"
    )
    # Training reads a tokenizer.json, and needs none to learn from tokens alone.
    known = () if is_gpt2 else ("--tokenizer", tokenizer)
    print(wrote(output, then=("basics", "train", "tiny", "--tokens", output, *known)))


def _load_gpt2(folder: Path) -> "Tokenizer":
    from lm_basics.tokenizer import Tokenizer
    from lm_basics.tokenizer.patterns import END_OF_TEXT

    return Tokenizer.from_files(folder / VOCAB_NAME, folder / MERGES_NAME, [END_OF_TEXT])

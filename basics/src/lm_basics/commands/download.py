"""``basics download``: the course's texts from Hugging Face."""

import logging
from pathlib import Path
from typing import Annotated

import tyro

from lm_basics.commands.inputs import TOKENIZER
from lm_basics.corpora import HUGGING_FACE, CorpusName
from lm_shared.wording import free_output, wrote


def download(
    corpus: Annotated[CorpusName, tyro.conf.Positional],
    /,
    *,
    output: Path = Path("runs/texts"),
    endpoint: str = HUGGING_FACE,
) -> None:
    """Download a corpus; what an interrupted command has left is gone on with.

    Args:
        corpus: which texts; documents in them end with <|endoftext|>.
        output: folder for a text to train on, a text to validate with, and their SHA-256.
        endpoint: address of Hugging Face, or of a mirror of it.
    """
    from lm_basics.corpora import CORPORA, download_corpus
    from lm_shared.display import progress

    # It would tell of every request.
    for library in ("httpx", "httpx2"):
        logging.getLogger(library).setLevel(logging.WARNING)
    with progress() as report:
        paths = download_corpus(corpus, output, endpoint=endpoint, report=report)
    for path in paths:
        print(f"{path}: {path.stat().st_size / 1e6:,.1f} MB")
    then = ("basics", "train-tokenizer", paths[0], "--vocab-size", CORPORA[corpus].vocab_size)
    print(wrote(*paths, then=(*then, *free_output(TOKENIZER))))

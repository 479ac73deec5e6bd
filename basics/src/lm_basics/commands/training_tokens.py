"""What ``basics train`` learns from: token files and the tokenizer that made them."""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lm_basics.commands.inputs import find_folder
from lm_basics.commands.train_recipes import RECIPES
from lm_basics.default_corpus import prepare_default_corpus
from lm_basics.token_files import TokenFile, open_token_file
from lm_basics.tokenizer import END_OF_TEXT, Tokenizer
from lm_basics.tokenizer.tokenizer_json import TOKENIZER_FILE, read_end_of_text
from lm_shared.wording import changed, free_output

DEFAULT_VOCAB_SIZE = 4_096
"""Tokens that the default corpus is encoded in."""
DEFAULT_VALIDATION_TOKENS = 65_536
"""Held-out tokens that are used of it: all would take longer than the steps in between."""


_BEGINNING = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingTokens:
    """Open files that fit together."""

    train: TokenFile
    """To learn from."""
    validation: TokenFile | None
    """To measure the loss on."""
    tokenizer: Tokenizer | None
    """Made both, if it is known."""
    end_of_text: str
    """Special token that ends a document."""

    @property
    def stop_token(self) -> int | None:
        """Id of the end-of-text token, if it is known."""
        ids = {} if self.tokenizer is None else self.tokenizer.special_token_ids
        return ids.get(self.end_of_text)

    def first_words(self) -> str | None:
        """Return a word or two that the text begins with, if it can be read."""
        if self.tokenizer is None:
            return None
        text = self.tokenizer.decode(self.train.tokens[:_BEGINNING].tolist())
        found = re.search(r"\w[\w']{,19}( \w[\w']{,19})?", text.replace(self.end_of_text, " "))
        return None if found is None else found[0]

    def check_length(self, batch_size: int, context_length: int) -> None:
        """Refuse data that does not fill one batch.

        Raises:
            ValueError: there are too few tokens.
        """
        needed = batch_size * context_length + 1
        if self.train.num_tokens < needed:
            raise ValueError(
                f"{self.train.path} holds {self.train.num_tokens:,} tokens, too few for one batch "
                f"of {batch_size:,} sequences of {context_length:,}: at least {needed:,} are needed"
            )


def open_tokens(
    tokens: Path, validation: Path | None = None, tokenizer: Path | None = None
) -> TrainingTokens:
    """Open token files.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or the tokenizers differ.
    """
    data = open_token_file(tokens)
    encoder, end_of_text = None, END_OF_TEXT
    if tokenizer is not None:
        folder = find_folder(tokenizer)
        encoder = Tokenizer.from_folder(folder)
        end_of_text = read_end_of_text(folder) or END_OF_TEXT
        if encoder.vocab_hash != data.vocab_hash:
            raise ValueError(
                f"the tokenizer {tokenizer} is not the one that made {data.path}: it has "
                f"{encoder.vocab_size:,} tokens and the hash {encoder.vocab_hash[:12]}, the file "
                f"{data.vocab_size:,} and {data.vocab_hash[:12]}"
            )
    held_out = None if validation is None else open_token_file(validation)
    if held_out is not None and held_out.vocab_hash != data.vocab_hash:
        raise ValueError(f"{tokens} and {validation} come from different tokenizers")
    return TrainingTokens(
        train=data, validation=held_out, tokenizer=encoder, end_of_text=end_of_text
    )


def offer_training(
    tokens: Path, *, validation: Path | None = None, tokenizer: Path | None = None
) -> tuple[object, ...]:
    """Return the words of a small run on token files, or none where there cannot be one.

    Without a tokenizer nothing could be generated: that of the tokens is looked for beside them.
    """
    beside = (path.parent for path in sorted(tokens.parent.glob(f"*/{TOKENIZER_FILE}")))
    recipe = RECIPES["tiny"][1]
    for folder in beside if tokenizer is None else [tokenizer]:
        with suppress(OSError, ValueError):
            data = open_tokens(tokens, validation, folder)
            data.check_length(recipe.training.batch_size, recipe.context_length)
            how = changed(("--validation", validation, None), ("--tokenizer", folder, None))
            free = free_output(Path("runs/train-tiny"))
            return ("basics", "train", "tiny", "--tokens", tokens, *how, *free)
    return ()


def default_tokens(folder: Path) -> TrainingTokens:
    """Tokenize the default corpus into ``folder``, or open what an earlier run left there.

    Raises:
        FileNotFoundError: the corpus is not installed.
    """
    corpus = prepare_default_corpus(folder, vocab_size=DEFAULT_VOCAB_SIZE)
    return TrainingTokens(
        train=corpus.train,
        validation=corpus.validation,
        tokenizer=corpus.tokenizer,
        end_of_text=END_OF_TEXT,
    )

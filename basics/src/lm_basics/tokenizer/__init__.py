"""Text to tokens and back: byte-pair encoding, simpler kinds, and files that other tools read."""

from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.kernels import compile_kernels
from lm_basics.tokenizer.patterns import (
    END_OF_TEXT,
    GPT2_PATTERN,
    GPT4_PATTERN,
    O200K_PATTERN,
)
from lm_basics.tokenizer.simple import ByteTokenizer, CharacterTokenizer, WordTokenizer
from lm_basics.tokenizer.text_tokenizer import TextTokenizer, compression_ratio
from lm_basics.tokenizer.tiktoken_file import (
    load_published,
    ranks_from_tokenizer,
    read_rank_file,
    to_tiktoken_arguments,
    tokenizer_from_rank_file,
    write_rank_file,
)
from lm_basics.tokenizer.training import train_bpe, train_bpe_from_texts
from lm_basics.tokenizer.vocabulary import load_vocabulary, save_vocabulary

__all__ = [
    "END_OF_TEXT",
    "GPT2_PATTERN",
    "GPT4_PATTERN",
    "O200K_PATTERN",
    "ByteTokenizer",
    "CharacterTokenizer",
    "TextTokenizer",
    "Tokenizer",
    "WordTokenizer",
    "compile_kernels",
    "compression_ratio",
    "load_published",
    "load_vocabulary",
    "ranks_from_tokenizer",
    "read_rank_file",
    "save_vocabulary",
    "to_tiktoken_arguments",
    "tokenizer_from_rank_file",
    "train_bpe",
    "train_bpe_from_texts",
    "write_rank_file",
]

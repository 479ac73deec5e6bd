"""Text to tokens and back: byte-pair encoding, simpler kinds, and files that other tools read."""

from .bpe import Tokenizer as Tokenizer
from .kernels import compile_kernels as compile_kernels
from .patterns import (
    END_OF_TEXT as END_OF_TEXT,
    GPT2_PATTERN as GPT2_PATTERN,
    GPT4_PATTERN as GPT4_PATTERN,
    O200K_PATTERN as O200K_PATTERN,
)
from .simple import (
    ByteTokenizer as ByteTokenizer,
    CharacterTokenizer as CharacterTokenizer,
    TextTokenizer as TextTokenizer,
    WordTokenizer as WordTokenizer,
    compression_ratio as compression_ratio,
)
from .tiktoken_file import (
    load_published as load_published,
    ranks_from_tokenizer as ranks_from_tokenizer,
    read_rank_file as read_rank_file,
    to_tiktoken_arguments as to_tiktoken_arguments,
    tokenizer_from_rank_file as tokenizer_from_rank_file,
    write_rank_file as write_rank_file,
)
from .training import train_bpe as train_bpe, train_bpe_from_texts as train_bpe_from_texts
from .vocabulary import load_vocabulary as load_vocabulary, save_vocabulary as save_vocabulary

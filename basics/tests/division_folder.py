"""A folder of division data in small, for the tests of the leaderboard."""

from lm_basics.token_files import encode_documents
from lm_basics.tokenizer import END_OF_TEXT, Tokenizer


def write_data(folder, *, texts=("some text",), special_tokens=(END_OF_TEXT,)):
    """Write train.bin and validation.bin, of the same texts as bytes, and their tokenizer."""
    vocab = {i: bytes([i]) for i in range(256)}
    vocab |= {256 + i: token.encode() for i, token in enumerate(special_tokens)}
    tokenizer = Tokenizer(vocab, [], special_tokens)
    tokenizer.save(folder / "tokenizer")
    for name in ("train", "validation"):
        encode_documents(tokenizer, texts, folder / f"{name}.bin", end_of_text=special_tokens[0])

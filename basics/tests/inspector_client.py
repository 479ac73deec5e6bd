"""What asks an inspector, and a small tokenizer to show."""

from lm_basics.tokenizer import END_OF_TEXT, Tokenizer, train_bpe_from_texts
from lm_shared.testing.browser import Answer, post_json
from lm_shared.web import WebServer


def trained_byte_pairs() -> Tokenizer:
    vocab, merges = train_bpe_from_texts(["the cat sat on the mat " * 9], 265, [END_OF_TEXT])
    return Tokenizer(vocab, merges, [END_OF_TEXT])


def tokenize(server: WebServer, question: object) -> Answer:
    return post_json(server, "/tokenize", question)

"""The published encodings, against tiktoken's own definitions of them."""

from pathlib import Path

import pytest
import tiktoken
from tiktoken_ext import openai_public

from lm_basics.tokenizer.tiktoken_file import PUBLISHED_ENCODINGS, load_published, write_rank_file

TEXT = "I'LL pay 12345 for it,  thanks!\n\n Ünïcödé 你好 <|endoftext|> <|fim_prefix|>x  \n"
RANKS = {bytes([byte]): byte for byte in range(256)} | {b" p": 256, b"ay": 257, b" pay": 258}


@pytest.mark.parametrize("name", PUBLISHED_ENCODINGS)
def test_ids_are_those_of_tiktoken(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its own definition would download the ranks.
    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda *_, **__: RANKS)
    definition = openai_public.ENCODING_CONSTRUCTORS[name]()
    assert definition["special_tokens"] == PUBLISHED_ENCODINGS[name].special_tokens
    definition.pop("explicit_n_vocab", None)
    write_rank_file(RANKS, tmp_path / "file")
    expected = tiktoken.Encoding(**definition).encode(TEXT, allowed_special="all")
    assert load_published(name, tmp_path / "file").encode(TEXT) == expected


def test_an_unknown_name_is_refused_before_the_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected one of r50k_base, .*, got 'p99k_base'"):
        load_published("p99k_base", tmp_path / "absent")

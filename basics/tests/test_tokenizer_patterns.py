import importlib
from itertools import product

import pytest
import regex
import tiktoken
from hypothesis import assume, given, settings, strategies as st

from basics.tests.mixed_text import mixed_documents
from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.patterns import GPT2_PATTERN, GPT4_PATTERN, O200K_PATTERN
from lm_basics.tokenizer.tiktoken_file import merges_from_ranks

# Unassigned characters may be letters to an engine that knows a later Unicode.
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(["the", " That", "'ll", "'LL", "'\u017f", "  ", "\r\n", "1234", "日AB"]),
        st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=8),
        st.text(alphabet="aB' \n\r\t/\u0085\u001c\xa0٣Ⅷ\u0301\u017f日🙂\0", max_size=8),
    ),
    max_size=12,
).map("".join)


def _published_pattern(name: str) -> str:
    """Return a pattern of tiktoken, whose functions download the ranks along with it."""
    public = importlib.import_module("tiktoken_ext.openai_public")
    if name == "gpt2":
        return public.r50k_pat_str
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(public, "load_tiktoken_bpe", lambda *_, **__: {})
        return getattr(public, name)()["pat_str"]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [(GPT2_PATTERN, "gpt2"), (GPT4_PATTERN, "cl100k_base"), (O200K_PATTERN, "o200k_base")],
)
def test_patterns_cut_text_as_tiktokens_do(pattern: str, name: str) -> None:
    # A token of two bytes for each place between two characters: joined means not cut.
    last = [*range(0x80), *range(0x80, 0xC0)]
    first = [*range(0x80), *range(0xC2, 0xF5)]
    pairs = [bytes(pair) for pair in product(last, first)]
    ranks = {bytes([byte]): byte for byte in range(256)}
    ranks |= {pair: 256 + place for place, pair in enumerate(pairs)}
    vocab = {rank: token for token, rank in ranks.items()}
    tokenizer = Tokenizer(vocab, merges_from_ranks(ranks), pattern=pattern)
    encoding = tiktoken.Encoding(
        name, pat_str=_published_pattern(name), mergeable_ranks=ranks, special_tokens={}
    )

    # ``encode`` sees the whole text, and examples share one tokenizer and its cache.
    @given(text=TEXTS)
    @settings(max_examples=200, deadline=None)
    def check(text: str) -> None:
        assume("\u0295" not in text)  # It changed from lower case to no case in Unicode 17.
        assert tokenizer.encode(text) == encoding.encode_ordinary(text)

    check()
    for document in mixed_documents(100_000, seed=1):
        assert tokenizer.encode(document) == encoding.encode_ordinary(document)


def test_gpt4_pattern_equals_the_published_one() -> None:
    published = regex.compile(_published_pattern("cl100k_base"))
    for document in mixed_documents(300_000, seed=2):
        assert regex.findall(GPT4_PATTERN, document) == published.findall(document)

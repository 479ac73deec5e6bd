import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from tokenizers import Tokenizer as HuggingFaceTokenizer
from transformers import AutoTokenizer

from lm_basics.tokenizer import (
    GPT2_PATTERN,
    Tokenizer,
    load_vocabulary,
    save_vocabulary,
    train_bpe_from_texts,
)
from lm_basics.tokenizer.vocabulary import from_visible, to_visible

END = "<|endoftext|>"
SPECIALS = [END, "<|user|>", "<|é|> x", "<|user|><|"]
CORPUS = (
    "the cat's hat ####\n####\n####\n\n that's  the # hat don't é é 你好你好 🙂🙂 \u0085\xa0 " * 4
)
CL100K_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
TEXTS = st.lists(
    st.one_of(
        st.sampled_from([*SPECIALS, "<|", "the", " that", "'s", "#", "  ", "\n", "1234", "你好"]),
        st.text(max_size=10),
        st.text(alphabet="ab' \n\r\t\u0085\u001c\u2028\xa0٣Ⅷ\u200d🙂\0", max_size=10),
    ),
    max_size=10,
).map("".join)


def _train(pattern: str = GPT2_PATTERN) -> Tokenizer:
    vocab, merges = train_bpe_from_texts([CORPUS], 290, SPECIALS, pattern=pattern)
    return Tokenizer(vocab, merges, SPECIALS, pattern=pattern)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return _train()


@pytest.fixture(scope="module")
def folder(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    template = "{% for message in messages %}<|user|>{{ message.content }}{% endfor %}"
    tokenizer.save(folder, chat_template=template)
    return folder


@pytest.fixture(scope="module")
def in_tokenizers(folder: Path) -> HuggingFaceTokenizer:
    return HuggingFaceTokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def in_transformers(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


@given(text=TEXTS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_hugging_face_gives_the_same_ids(
    tokenizer: Tokenizer,
    in_tokenizers: HuggingFaceTokenizer,
    in_transformers: Any,
    text: str,
) -> None:
    ids = tokenizer.encode(text)
    assert in_tokenizers.encode(text, add_special_tokens=False).ids == ids
    assert in_transformers(text)["input_ids"] == ids
    assert in_tokenizers.decode(ids, skip_special_tokens=False) == text
    assert in_transformers.decode(ids) == text


@given(ids=st.lists(st.integers(0, 289), max_size=12))
@settings(max_examples=50, deadline=None)
def test_hugging_face_decodes_broken_characters_alike(
    tokenizer: Tokenizer, in_tokenizers: HuggingFaceTokenizer, ids: list[int]
) -> None:
    ids = [token_id for token_id in ids if token_id not in tokenizer.special_token_ids.values()]
    assert in_tokenizers.decode(ids, skip_special_tokens=False) == tokenizer.decode(ids)


def test_transformers_knows_the_special_tokens_and_the_template(
    tokenizer: Tokenizer, in_transformers: Any
) -> None:
    assert in_transformers.eos_token_id == tokenizer.special_token_ids[END]
    assert len(in_transformers) == tokenizer.vocab_size
    text = in_transformers.apply_chat_template([{"content": "hi"}], tokenize=False)
    assert text == "<|user|>hi"


def test_other_patterns_reach_hugging_face(tmp_path: Path) -> None:
    tokenizer = _train(CL100K_PATTERN)
    tokenizer.save(tmp_path)
    text = CORPUS + "12345 it'S  \r\n\r\n !!\n\n"
    loaded = HuggingFaceTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert loaded.encode(text).ids == tokenizer.encode(text) != _train().encode(text)
    assert Tokenizer.from_folder(tmp_path).vocab_hash == tokenizer.vocab_hash


def test_folder_round_trip_is_exact(tokenizer: Tokenizer, folder: Path) -> None:
    loaded = Tokenizer.from_folder(folder)
    assert loaded.vocab_hash == tokenizer.vocab_hash
    assert loaded.vocab == tokenizer.vocab
    assert loaded.encode(CORPUS + END) == tokenizer.encode(CORPUS + END)


def test_saving_twice_writes_the_same_bytes(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "a")
    Tokenizer.from_folder(tmp_path / "a").save(tmp_path / "b")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_gpt2_files_round_trip(tokenizer: Tokenizer, tmp_path: Path) -> None:
    paths = tmp_path / "vocab.json", tmp_path / "merges.txt"
    save_vocabulary(tokenizer.vocab, tokenizer.merges, *paths, special_tokens=SPECIALS)
    vocab, merges = load_vocabulary(*paths, special_tokens=SPECIALS)
    assert (vocab, merges) == (tokenizer.vocab, tokenizer.merges)
    assert (b"#", b"#") in merges
    loaded = Tokenizer.from_files(*paths, SPECIALS)
    assert loaded.vocab_hash == tokenizer.vocab_hash


@given(st.binary())
@settings(deadline=None)
def test_visible_characters_are_invertible(token: bytes) -> None:
    visible = to_visible(token)
    assert from_visible(visible) == token
    assert " " not in visible
    assert "\n" not in visible


def test_visible_characters_are_those_of_gpt2() -> None:
    assert to_visible(b" the\n\xff\x00\xad!") == "ĠtheĊÿĀŃ!"


def _change(**features: Any) -> Any:
    return lambda data: data | features


def _change_model(**features: Any) -> Any:
    return lambda data: data | {"model": data["model"] | features}


_WITH_PREFIX_SPACE = {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_change(normalizer={"type": "NFC"}), "tokenizer uses normalizer="),
        (_change_model(byte_fallback=True), "model uses byte_fallback=True"),
        (_change_model(type="Unigram"), "expected a model of type BPE, got 'Unigram'"),
        (_change_model(vocab={}), "merge 0 needs the token"),
        (_change(post_processor={"type": "TemplateProcessing"}), "as TemplateProcessing does"),
        (_change(pre_tokenizer={"type": "Whitespace"}), "is not a tokenizer|expected ByteLevel"),
        (_change(pre_tokenizer=None), "is not a tokenizer"),
        (_change(pre_tokenizer=_WITH_PREFIX_SPACE), "expected ByteLevel without add_prefix_space"),
        (_change(model={}), "is not a tokenizer: KeyError"),
    ],
)
def test_other_kinds_of_tokenizers_are_refused(
    folder: Path, tmp_path: Path, change: Any, message: str
) -> None:
    data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    (tmp_path / "tokenizer.json").write_text(json.dumps(change(data)), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_folder(tmp_path)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b c\n")
    with pytest.raises(ValueError, match=r"merges\.txt, line 2: expected two tokens"):
        load_vocabulary(tmp_path / "vocab.json", tmp_path / "merges.txt")
    (tmp_path / "merges.txt").write_text("a €\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"merges\.txt, line 1: expected two tokens, got 'a €'"):
        load_vocabulary(tmp_path / "vocab.json", tmp_path / "merges.txt")
    for damaged in ('{"a": 0, "b": "1"}', '["a", "b"]'):
        (tmp_path / "vocab.json").write_text(damaged)
        with pytest.raises(ValueError, match=r"vocab\.json: expected an object of token texts"):
            load_vocabulary(tmp_path / "vocab.json", tmp_path / "merges.txt")
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 0}')
    with pytest.raises(ValueError, match=r"vocab\.json: 2 tokens share 1 ids"):
        load_vocabulary(tmp_path / "vocab.json", tmp_path / "merges.txt")


def test_tokens_that_are_written_alike_are_refused(tmp_path: Path) -> None:
    vocab = {0: b" a", 1: "Ġa".encode()}
    with pytest.raises(ValueError, match="tokens 0 and 1 are both written as 'Ġa'"):
        Tokenizer(vocab, [], ["Ġa"]).save(tmp_path)

"""Each file format, proven by the other tool that reads it, on mixed Unicode."""

from base64 import b64encode
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tiktoken
from numpy.typing import NDArray
from tiktoken.load import data_gym_to_mergeable_bpe_ranks, load_tiktoken_bpe
from tokenizers import Tokenizer as HuggingFaceTokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Tokenizer

from basics.tests.mixed_text import mixed_documents
from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.patterns import END_OF_TEXT, GPT2_PATTERN, GPT4_PATTERN
from lm_basics.tokenizer.tiktoken_file import (
    ranks_from_tokenizer,
    to_tiktoken_arguments,
    tokenizer_from_rank_file,
    write_rank_file,
)
from lm_basics.tokenizer.training import train_bpe_from_texts
from lm_basics.tokenizer.vocabulary import save_vocabulary

GPT2_FOLDER = Path(__file__).parents[3] / "shared" / "data" / "tokenizer"
SPECIALS = [END_OF_TEXT, "<|user|>"]

EncodeBatch = Callable[[list[str]], list[list[int]]]

num_bytes_grid = pytest.mark.parametrize(
    "num_bytes", [100_000, pytest.param(10_000_000, marks=pytest.mark.slow)]
)


@cache
def _documents(num_bytes: int) -> list[str]:
    """Return mixed text in which special tokens occur, whole and broken."""
    documents = list(mixed_documents(num_bytes))
    return [
        document.replace("#### ----", END_OF_TEXT).replace("$\\frac", "<|user<|user|>")
        for document in documents
    ]


@cache
def _our_ids(tokenizer: Tokenizer, num_bytes: int) -> list[NDArray[np.unsignedinteger]]:
    return [tokenizer.encode_to_numpy(document) for document in _documents(num_bytes)]


def _assert_same_ids(tokenizer: Tokenizer, num_bytes: int, encode_batch: EncodeBatch) -> None:
    batch = encode_batch(_documents(num_bytes))
    pairs = zip(_our_ids(tokenizer, num_bytes), batch, strict=True)
    for number, (array, expected) in enumerate(pairs):
        ids = array.tolist()
        # A list of 20,000 ids explains nothing: say where they part.
        if ids != expected:
            both = zip(ids, expected, strict=False)
            place = next((i for i, (a, b) in enumerate(both) if a != b), len(ids))
            ours, theirs = ids[place : place + 5], expected[place : place + 5]
            pytest.fail(f"document {number}, id {place}: {ours} instead of {theirs}")


def _in_tiktoken(encoding: tiktoken.Encoding) -> EncodeBatch:
    return lambda texts: encoding.encode_batch(texts, allowed_special="all", num_threads=2)


def _in_hugging_face(tokenizer: HuggingFaceTokenizer) -> EncodeBatch:
    return lambda texts: [
        encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    ]


def _gpt2_ranks_in_tiktoken(folder: Path) -> dict[bytes, int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", "")
        return data_gym_to_mergeable_bpe_ranks(
            str(folder / "merges.txt"), str(folder / "vocab.json")
        )


@pytest.fixture(scope="module", params=[GPT2_PATTERN, GPT4_PATTERN], ids=["gpt2", "gpt4"])
def trained(request: pytest.FixtureRequest) -> Tokenizer:
    texts = mixed_documents(150_000, seed=7)
    vocab, merges = train_bpe_from_texts(texts, 2_000, SPECIALS, pattern=request.param)
    return Tokenizer(vocab, merges, SPECIALS, pattern=request.param)


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    if not GPT2_FOLDER.exists():
        pytest.skip(f"needs GPT-2's vocabulary in {GPT2_FOLDER}")
    paths = GPT2_FOLDER / "gpt2_vocab.json", GPT2_FOLDER / "gpt2_merges.txt"
    return Tokenizer.from_files(*paths, [END_OF_TEXT])


@pytest.fixture(scope="module")
def gpt2_folder(gpt2: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpt2")
    save_vocabulary(
        gpt2.vocab,
        gpt2.merges,
        folder / "vocab.json",
        folder / "merges.txt",
        special_tokens=[END_OF_TEXT],
    )
    return folder


def test_mixed_text_is_deterministic_and_mixed() -> None:
    documents = _documents(100_000)
    assert documents == _documents.__wrapped__(100_000)
    assert sum(len(document.encode()) for document in documents) >= 100_000
    text = "".join(documents)
    assert len(set(text)) > 5_000
    assert all(piece in text for piece in (*SPECIALS, "👩\u200d💻", "\r\n", "\u3000", "'ll", "Ж"))


@num_bytes_grid
def test_tokenizers_reads_our_folder(trained: Tokenizer, tmp_path: Path, num_bytes: int) -> None:
    trained.save(tmp_path)
    loaded = HuggingFaceTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    _assert_same_ids(trained, num_bytes, _in_hugging_face(loaded))


@num_bytes_grid
def test_we_read_the_folder_of_tokenizers(tmp_path: Path, num_bytes: int) -> None:
    theirs = HuggingFaceTokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2_000, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    theirs.train_from_iterator(mixed_documents(150_000, seed=8), trainer)
    theirs.save(str(tmp_path / "tokenizer.json"))
    loaded = Tokenizer.from_folder(tmp_path)
    assert loaded.vocab_size == 2_000
    _assert_same_ids(loaded, num_bytes, _in_hugging_face(theirs))


@num_bytes_grid
def test_tiktoken_reads_our_rank_file(trained: Tokenizer, tmp_path: Path, num_bytes: int) -> None:
    path = tmp_path / "ranks.tiktoken"
    write_rank_file(ranks_from_tokenizer(trained), path)
    arguments = to_tiktoken_arguments(trained)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", "")
        arguments["mergeable_ranks"] = load_tiktoken_bpe(str(path))
    encoding = tiktoken.Encoding(**arguments)
    _assert_same_ids(trained, num_bytes, _in_tiktoken(encoding))


@num_bytes_grid
def test_we_read_the_rank_file_of_tiktoken(
    gpt2_folder: Path, tmp_path: Path, num_bytes: int
) -> None:
    ranks = _gpt2_ranks_in_tiktoken(gpt2_folder)
    lines = [b64encode(token) + b" %d\n" % rank for token, rank in ranks.items()]
    path = tmp_path / "ranks.tiktoken"
    path.write_bytes(b"".join(lines))
    specials = {END_OF_TEXT: 50256, "<|user|>": 50300}
    loaded = tokenizer_from_rank_file(path, pattern=GPT4_PATTERN, special_tokens=specials)
    encoding = tiktoken.Encoding(
        "gpt2", pat_str=GPT4_PATTERN, mergeable_ranks=ranks, special_tokens=specials
    )
    _assert_same_ids(loaded, num_bytes, _in_tiktoken(encoding))


@num_bytes_grid
def test_tiktoken_reads_our_gpt2_files(gpt2: Tokenizer, gpt2_folder: Path, num_bytes: int) -> None:
    encoding = tiktoken.Encoding(
        "gpt2",
        pat_str=GPT2_PATTERN,
        mergeable_ranks=_gpt2_ranks_in_tiktoken(gpt2_folder),
        special_tokens={END_OF_TEXT: 50256},
        explicit_n_vocab=50257,
    )
    _assert_same_ids(gpt2, num_bytes, _in_tiktoken(encoding))


@num_bytes_grid
def test_tokenizers_reads_our_gpt2_files(
    gpt2: Tokenizer, gpt2_folder: Path, num_bytes: int
) -> None:
    model = models.BPE.from_file(str(gpt2_folder / "vocab.json"), str(gpt2_folder / "merges.txt"))
    loaded = HuggingFaceTokenizer(model)
    loaded.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    loaded.add_special_tokens([END_OF_TEXT])
    _assert_same_ids(gpt2, num_bytes, _in_hugging_face(loaded))


def test_the_gpt2_class_of_transformers_reads_our_gpt2_files(
    gpt2: Tokenizer, gpt2_folder: Path
) -> None:
    loaded = GPT2Tokenizer.from_pretrained(gpt2_folder)
    assert loaded.eos_token_id == gpt2.special_token_ids[END_OF_TEXT]
    _assert_same_ids(gpt2, 100_000, lambda texts: [loaded(text)["input_ids"] for text in texts])


def test_our_gpt2_files_are_those_of_gpt2(gpt2: Tokenizer, gpt2_folder: Path) -> None:
    loaded = Tokenizer.from_files(
        gpt2_folder / "vocab.json", gpt2_folder / "merges.txt", [END_OF_TEXT]
    )
    assert loaded.vocab_hash == gpt2.vocab_hash


@num_bytes_grid
def test_mixed_text_survives_the_round_trip(gpt2: Tokenizer, num_bytes: int) -> None:
    pairs = zip(_documents(num_bytes), _our_ids(gpt2, num_bytes), strict=True)
    assert all(gpt2.decode(ids) == document for document, ids in pairs)

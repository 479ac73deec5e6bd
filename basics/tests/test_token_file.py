import json
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lm_basics.token_files import encode_documents, encode_files, open_token_file, write_token_file
from lm_basics.tokenizer import Tokenizer, train_bpe_from_texts
from lm_shared.testing.processes import run_python

END = "<|endoftext|>"
DOCUMENTS = [[3, 1, 2], [], [7, 7], [0]]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    vocab, merges = train_bpe_from_texts(["the cat that sat"], 262, [END])
    return Tokenizer(vocab, merges, [END])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.bin"
    write_token_file(path, DOCUMENTS, vocab_size=8, vocab_hash="abc", num_bytes=17)
    return path


def _change_sidecar(path: Path, **changes: Any) -> None:
    sidecar = path.with_suffix(".json")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | changes))


@pytest.mark.parametrize("vocab_size", [300, 100_000])
def test_what_is_written_is_read(tmp_path: Path, vocab_size: int) -> None:
    generator = np.random.default_rng(0)
    lengths = [0, 3, 1, 0, 0, 70_000, 2, 0]
    documents = [generator.integers(0, vocab_size, length) for length in lengths]
    opened = write_token_file(
        tmp_path / "tokens.bin", documents, vocab_size=vocab_size, vocab_hash="x"
    )
    parts = np.split(opened.tokens, opened.document_starts[1:])
    for part, document in zip(parts, documents, strict=True):
        np.testing.assert_array_equal(part, document)
    assert (opened.num_documents, opened.num_tokens) == (8, 70_006)
    assert opened.num_bytes is None


@pytest.mark.parametrize(("vocab_size", "dtype"), [(1 << 16, "<u2"), ((1 << 16) + 1, "<u4")])
def test_dtype_is_the_smallest_that_holds_the_vocabulary(
    tmp_path: Path, vocab_size: int, dtype: str
) -> None:
    ids = [vocab_size - 1, 0, 258]
    opened = write_token_file(tmp_path / "t.bin", [ids], vocab_size=vocab_size, vocab_hash="x")
    assert opened.tokens.tolist() == ids
    assert (tmp_path / "t.bin").read_bytes() == np.array(ids, dtype=dtype).tobytes()


def test_tokens_are_mapped_and_read_only(path: Path) -> None:
    opened = open_token_file(path)
    assert isinstance(opened.tokens, np.memmap)
    assert (opened.vocab_size, opened.vocab_hash, opened.num_bytes) == (8, "abc", 17)
    with pytest.raises(ValueError, match="read-only"):
        opened.tokens[0] = 1


def test_documents_end_with_end_of_text_and_bytes_are_counted(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    texts = ["the cat é", "", f"forged {END} end"]
    opened = encode_documents(tokenizer, iter(texts), tmp_path / "tokens.bin")
    end = tokenizer.special_token_ids[END]
    assert np.flatnonzero(opened.tokens == end).tolist() == [
        *(opened.document_starts[1:] - 1),
        opened.num_tokens - 1,
    ]
    parts = np.split(opened.tokens, opened.document_starts[1:])
    assert [tokenizer.decode(part[:-1]) for part in parts] == texts
    assert opened.num_bytes == sum(len(text.encode()) for text in texts)
    assert opened.num_bytes == tokenizer.token_num_bytes[opened.tokens].sum()
    assert opened.vocab_hash == tokenizer.vocab_hash


def test_failed_writing_leaves_the_old_file(path: Path) -> None:
    def documents() -> Iterator[list[int]]:
        yield [1]
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        write_token_file(path, documents(), vocab_size=8, vocab_hash="new")
    assert open_token_file(path).vocab_hash == "abc"
    names = {"tokens.bin", "tokens.json", "tokens.offsets.bin"}
    assert {file.name for file in path.parent.iterdir()} == names


def test_writing_that_stops_half_way_is_never_taken_for_complete(path: Path) -> None:
    def documents() -> Iterator[list[int]]:
        offsets = path.with_suffix(".offsets.bin")
        offsets.unlink()
        offsets.mkdir()
        yield [1, 1, 1, 2, 2, 2]

    with pytest.raises(OSError, match="offsets"):
        write_token_file(path, documents(), vocab_size=8, vocab_hash="new")
    with pytest.raises(FileNotFoundError, match=r"tokens\.json"):
        open_token_file(path)


def test_same_documents_give_the_same_bytes(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.bin"
    write_token_file(
        again, map(np.array, DOCUMENTS[:1]), vocab_size=8, vocab_hash="abc", num_bytes=17
    )
    write_token_file(again, DOCUMENTS, vocab_size=8, vocab_hash="abc", num_bytes=17)
    for suffix in (".bin", ".json", ".offsets.bin"):
        assert again.with_suffix(suffix).read_bytes() == path.with_suffix(suffix).read_bytes()


def test_impossible_documents_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "t.bin"
    with pytest.raises(ValueError, match=r"document 1 for .*t\.bin holds the id 8, but vocab_size"):
        write_token_file(path, [[1], [2, 8]], vocab_size=8, vocab_hash="x")
    with pytest.raises(ValueError, match="holds the id -1"):
        write_token_file(path, [np.array([-1, 3])], vocab_size=8, vocab_hash="x")
    with pytest.raises(TypeError, match=r"document 0 .* holds float64 numbers, expected integers"):
        write_token_file(path, iter([np.array([0.5])]), vocab_size=8, vocab_hash="x")
    with pytest.raises(ValueError, match="no token to write"):
        write_token_file(path, [[], []], vocab_size=8, vocab_hash="x")
    with pytest.raises(ValueError, match=r"ends in \.bin"):
        write_token_file(tmp_path / "t.npy", [[1]], vocab_size=8, vocab_hash="x")
    with pytest.raises(ValueError, match="'<eos>' is not among the tokenizer's special tokens"):
        encode_documents(tokenizer, ["x"], path, end_of_text="<eos>")
    assert list(tmp_path.iterdir()) == []


def test_truncated_files_are_refused(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"tokens\.bin is damaged: expected 12 bytes .* found 11"):
        open_token_file(path)
    path.write_bytes(content)
    offsets = path.with_suffix(".offsets.bin")
    offsets.write_bytes(offsets.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"offsets\.bin is damaged: expected 32 bytes"):
        open_token_file(path)


def test_ids_outside_of_the_vocabulary_are_refused(path: Path) -> None:
    np.array([3, 1, 2, 7, 7, 8], dtype="<u2").tofile(path)
    with pytest.raises(ValueError, match=r"tokens\.bin is damaged, .* holds the id 8"):
        open_token_file(path)


def test_disordered_offsets_are_refused(path: Path) -> None:
    np.array([0, 4, 3, 5], dtype="<i8").tofile(path.with_suffix(".offsets.bin"))
    with pytest.raises(ValueError, match="positions do not ascend"):
        open_token_file(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_tokens": "6"}, "tokens.json is damaged"),
        ({"dtype": "<f8"}, "tokens.json is damaged"),
        ({"format": "other"}, "tokens.json is damaged"),
        ({"num_documents": 0}, "tokens.json is damaged"),
        ({"vocab_size": 0}, "tokens.json is damaged"),
        ({"surplus": 1}, "tokens.json is damaged: .*surplus"),
        ({"num_tokens": 7}, "tokens.bin is damaged: expected 14 bytes"),
    ],
)
def test_damaged_sidecar_is_refused(path: Path, changes: dict[str, Any], message: str) -> None:
    _change_sidecar(path, **changes)
    with pytest.raises(ValueError, match=message):
        open_token_file(path)


@pytest.mark.parametrize("key", ["format", "dtype", "num_bytes"])
def test_incomplete_sidecar_is_refused(path: Path, key: str) -> None:
    sidecar = path.with_suffix(".json")
    data = json.loads(sidecar.read_text())
    del data[key]
    sidecar.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"tokens\.json is damaged"):
        open_token_file(path)


def test_missing_or_unreadable_sidecar_is_refused(path: Path) -> None:
    path.with_suffix(".json").write_text('{"format"')
    with pytest.raises(ValueError, match=r"tokens\.json"):
        open_token_file(path)
    path.with_suffix(".json").write_text("[]")
    with pytest.raises(ValueError, match=r"tokens\.json is damaged"):
        open_token_file(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match=r"tokens\.json"):
        open_token_file(path)


def test_nothing_else_is_overwritten(tokenizer: Tokenizer, tmp_path: Path) -> None:
    text = tmp_path / "in.bin"
    text.write_text("the cat")
    with pytest.raises(ValueError, match=r"in\.bin is read and would be replaced"):
        encode_files(tokenizer, [text], text)
    stories = tmp_path / "stories.json"
    stories.write_text('{"precious": 1}')
    with pytest.raises(
        ValueError, match=r"stories\.json would be replaced and belongs to no token"
    ):
        encode_files(tokenizer, [text], tmp_path / "stories.bin")
    with pytest.raises(ValueError, match=r"stories\.json would be replaced"):
        encode_documents(tokenizer, ["the cat"], tmp_path / "stories.bin")
    tokenizer.save(tmp_path / "tok")
    with pytest.raises(ValueError, match=r"tokenizer\.json would be replaced"):
        encode_files(tokenizer, [text], tmp_path / "tok" / "tokenizer.bin")
    os.mkfifo(tmp_path / "pipe.offsets.bin")
    with pytest.raises(ValueError, match="is no regular file"):
        encode_files(tokenizer, [text], tmp_path / "pipe.bin", overwrite=True)
    (tmp_path / "folder.bin").mkdir()
    with pytest.raises(ValueError, match=r"folder\.bin is a folder"):
        encode_files(tokenizer, [text], tmp_path / "folder.bin")
    assert text.read_text() == "the cat"
    assert stories.read_text() == '{"precious": 1}'
    assert Tokenizer.from_folder(tmp_path / "tok").vocab == tokenizer.vocab


def test_a_text_is_not_called_a_damaged_token_file(path: Path) -> None:
    text = path.with_suffix(".txt")
    text.write_text("the cat")
    with pytest.raises(ValueError, match=r"expected a path that ends in \.bin, got .*\.txt"):
        open_token_file(text)


def test_token_files_and_views_load_neither_torch_nor_what_draws() -> None:
    script = """
import sys
import lm_basics.corpora, lm_basics.token_files.encoding, lm_basics.tokenizer_views.comparison
import lm_basics.tokenizer_views.inspector, lm_basics.tokenizer_views.report
print(sorted({"torch", "matplotlib", "pyarrow", "starlette", "huggingface_hub"} & {*sys.modules}))
"""
    assert run_python(["-c", script]).stdout == "[]\n"


@pytest.mark.parametrize("name", ["tokens.bin", "tokens.offsets.bin", "tokens.json"])
@pytest.mark.parametrize("is_encoded", [False, True])
def test_a_link_to_a_part_of_another_token_file_is_refused(
    tokenizer: Tokenizer, path: Path, tmp_path: Path, name: str, is_encoded: bool
) -> None:
    link = tmp_path / "links" / "tokens.bin"
    link.parent.mkdir()
    (link.parent / name).symlink_to(tmp_path / name)
    text = tmp_path / "text.txt"
    text.write_text("a")
    write = partial(write_token_file, link, [[1]], vocab_size=8, vocab_hash="abc")
    if is_encoded:
        write = partial(encode_files, tokenizer, [text], link, overwrite=True)
    with pytest.raises(ValueError, match=rf"{re.escape(name)} is a link: remove it"):
        write()
    assert [one.name for one in link.parent.iterdir()] == [name]
    assert open_token_file(path).num_documents == len(DOCUMENTS)


def test_a_link_to_itself_is_an_error_of_the_system(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for text in (tmp_path / "loop", tmp_path / "loop" / "text.txt"):
        with pytest.raises(OSError, match="symbolic links"):
            encode_files(tokenizer, [text], tmp_path / "tokens.bin")
    with pytest.raises(OSError, match="symbolic links"):
        encode_files(tokenizer, [], tmp_path / "loop" / "tokens.bin")

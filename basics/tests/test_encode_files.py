from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st

from basics.tests.encoding_samples import (
    END,
    MERGES,
    PROSE,
    SPECIALS,
    SUFFIXES,
    TOKENIZER,
    VOCAB,
    StoppedError,
    after,
    encode_plainly,
    read_all,
    write_files,
)
from lm_basics.token_files import encode_documents, encode_files, encoding, partial_token_file
from lm_basics.tokenizer import Tokenizer, texts
from lm_basics.tokenizer.texts import InputFiles


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return write_files(tmp_path)


@pytest.mark.parametrize("implementation", ["fast", "reference"])
@pytest.mark.parametrize("num_workers", [1, 2, 5])
@pytest.mark.parametrize("block_bytes", [1, 100, 1000, None])
def test_workers_and_blocks_do_not_change_the_bytes(
    files: list[Path], tmp_path: Path, implementation: Any, num_workers: int, block_bytes: int
) -> None:
    path = tmp_path / "out" / "tokens.bin"
    tokenizer = Tokenizer(VOCAB, MERGES, SPECIALS, implementation=implementation)
    opened = encode_files(tokenizer, files, path, num_workers=num_workers, block_bytes=block_bytes)
    assert read_all(path) == encode_plainly(files, tmp_path / "reference.bin")
    assert opened.num_documents == 5
    assert {file.name for file in path.parent.iterdir()} == {f"tokens{s}" for s in SUFFIXES}


@given(
    pieces=st.lists(
        st.sampled_from(
            ["a", "aa", "b", " ", "\n", "é", "日", "🙂", END, "<|end", "oftext|>", "1 "]
        ),
        max_size=30,
    ),
    separator=st.sampled_from([END, "\n", "\n\n", "aa", "a a", "é", " b", "b ", "aba"]),
    end_of_text=st.sampled_from(SPECIALS),
    block_bytes=st.integers(1, 12),
)
@settings(max_examples=60, deadline=None)
def test_documents_are_those_between_separators(
    tmp_path_factory: pytest.TempPathFactory,
    pieces: list[str],
    separator: str,
    end_of_text: str,
    block_bytes: int,
) -> None:
    folder = tmp_path_factory.mktemp("documents")
    files = [folder / "a.txt", folder / "b.txt"]
    files[0].write_text("".join(pieces), encoding="utf-8", newline="")
    files[1].write_text("x", encoding="utf-8")
    encode_files(
        TOKENIZER,
        files,
        folder / "tokens.bin",
        separator=separator,
        end_of_text=end_of_text,
        block_bytes=block_bytes,
    )
    expected = encode_plainly(
        files, folder / "reference.bin", separator=separator, end_of_text=end_of_text
    )
    assert read_all(folder / "tokens.bin") == expected


@pytest.mark.parametrize("block_bytes", [1, 3, 6, None])
def test_a_separator_may_begin_a_block(tmp_path: Path, block_bytes: int | None) -> None:
    file, path = tmp_path / "a.txt", tmp_path / "tokens.bin"
    file.write_text(" one two  three, four ")
    encode_files(TOKENIZER, [file], path, separator=" ", block_bytes=block_bytes)
    encode_documents(TOKENIZER, ["one", "two", "three,", "four"], tmp_path / "reference.bin")
    assert read_all(path) == read_all(tmp_path / "reference.bin")


def test_processes_give_the_same_bytes(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "PROCESSES_PAY_BYTES", 0)
    path = tmp_path / "tokens.bin"
    encode_files(TOKENIZER, files, path, num_workers=2, block_bytes=200)
    assert read_all(path) == encode_plainly(files, tmp_path / "reference.bin")


@pytest.mark.parametrize("block_bytes", [8, 100, None])
@pytest.mark.parametrize("num_workers", [1, 3])
def test_invalid_bytes_are_named_by_their_position(
    tmp_path: Path, block_bytes: int | None, num_workers: int
) -> None:
    file = tmp_path / "bad.txt"
    data = f"{PROSE} {END}".encode() * 5
    file.write_bytes(data + b"one \xe2\x82 two" + data)
    expected = rf"bad\.txt is not UTF-8: .* at byte {len(data) + 4}"
    with pytest.raises(ValueError, match=expected):
        encode_files(
            TOKENIZER, [file], tmp_path / "t.bin", block_bytes=block_bytes, num_workers=num_workers
        )
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("block_bytes", [3, 20, None])
def test_invalid_bytes_are_replaced_on_demand(tmp_path: Path, block_bytes: int | None) -> None:
    bad, good = tmp_path / "bad.txt", tmp_path / "good.txt"
    bad.write_bytes(b"\xe2\x82" + f"{END}one \u20ac".encode() + b" \xff\xf0\x9f\x99" + b" two\xe2")
    good.write_text(bad.read_bytes().decode(errors="replace"), encoding="utf-8")
    path = tmp_path / "tokens.bin"
    encode_files(TOKENIZER, [bad], path, on_invalid="replace", block_bytes=block_bytes)
    assert read_all(path) == encode_plainly([good], tmp_path / "reference.bin")


@pytest.mark.parametrize("content", ["", END, END * 5])
def test_nothing_to_encode_is_refused_and_leaves_the_earlier_output(
    tmp_path: Path, content: str
) -> None:
    path, file = tmp_path / "tokens.bin", tmp_path / "empty.txt"
    encode_documents(TOKENIZER, ["old"], path)
    earlier = read_all(path)
    file.write_text(content)
    with pytest.raises(ValueError, match=r"tokens\.bin: there is no token to write"):
        encode_files(TOKENIZER, [file, file], path, block_bytes=7, overwrite=True)
    assert read_all(path) == earlier
    assert not (tmp_path / "tokens.bin.partial").exists()


def _write_parquet(path: Path, texts: list[str | None]) -> None:
    pq.write_table(pa.table({"body": pa.array(texts, pa.string())}), path, row_group_size=7)


@pytest.mark.parametrize("block_bytes", [1, 60, None])
@pytest.mark.parametrize("num_workers", [1, 3])
def test_rows_of_parquet_are_documents(
    tmp_path: Path, block_bytes: int | None, num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_token_file, "COMMIT_INTERVAL_S", 0.0)
    texts = [None, "one", "", f"forged {END}", None, *[f"{PROSE} {i}" for i in range(30)]]
    files = [tmp_path / "a.parquet", tmp_path / "b.txt", tmp_path / "c.parquet"]
    _write_parquet(files[0], texts)
    files[1].write_text("text without an end")
    _write_parquet(files[2], texts[:8])
    path = tmp_path / "tokens.bin"
    done_bytes: list[int] = []

    def encode(report: Callable[[int, int], None]) -> None:
        encode_files(
            TOKENIZER,
            files,
            path,
            text_column="body",
            block_bytes=block_bytes,
            num_workers=num_workers,
            report=report,
        )

    with pytest.raises(StoppedError):
        encode(after(1))
    encode(lambda done, total: done_bytes.append(done))
    rows = [text for text in [*texts, "text without an end", *texts[:8]] if text is not None]
    encode_documents(TOKENIZER, rows, tmp_path / "reference.bin")
    assert read_all(path) == read_all(tmp_path / "reference.bin")
    assert done_bytes[0] > 0
    assert done_bytes == sorted(done_bytes)


def test_invalid_bytes_of_parquet_are_replaced(tmp_path: Path) -> None:
    broken = pa.array([b"a\xffb", None, b"whole"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    encode_files(TOKENIZER, [tmp_path / "a.parquet"], tmp_path / "tokens.bin", on_invalid="replace")
    encode_documents(TOKENIZER, ["a\ufffdb", "whole"], tmp_path / "reference.bin")
    assert read_all(tmp_path / "tokens.bin") == read_all(tmp_path / "reference.bin")


def test_impossible_parquet_is_refused(tmp_path: Path) -> None:
    file, path = tmp_path / "a.parquet", tmp_path / "tokens.bin"
    _write_parquet(file, ["text"])
    with pytest.raises(ValueError, match="has no column 'text'"):
        encode_files(TOKENIZER, [file], path)
    broken = pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": broken}), file)
    with pytest.raises(ValueError, match=r"a\.parquet: column 'text' holds bytes that are not UTF"):
        encode_files(TOKENIZER, [file], path)
    file.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a\.parquet is no Parquet file"):
        encode_files(TOKENIZER, [file], path)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(("num_more", "dtype"), [(0, "<u2"), (70_000, "<u4")])
def test_large_vocabularies_take_four_bytes(tmp_path: Path, num_more: int, dtype: str) -> None:
    fillers = {300 + index: f"filler {index}".encode() for index in range(num_more)}
    tokenizer = Tokenizer({**VOCAB, **fillers}, MERGES, [END, "aa", "<|last|>"])
    file, path = tmp_path / "a.txt", tmp_path / "tokens.bin"
    file.write_text(f"{PROSE}{END}b", encoding="utf-8")
    opened = encode_files(tokenizer, [file], path, end_of_text="<|last|>")
    assert opened.tokens.dtype.str == dtype
    assert opened.tokens[-1] == tokenizer.vocab_size - 1 == len(VOCAB) + num_more
    text = tokenizer.decode(opened.tokens)
    assert text == f"{PROSE}<|last|>b<|last|>"


def test_impossible_arguments_are_refused(tmp_path: Path) -> None:
    file, path = tmp_path / "a.txt", tmp_path / "tokens.bin"
    file.write_text("text")
    with pytest.raises(FileNotFoundError, match="absent"):
        encode_files(TOKENIZER, [file, tmp_path / "absent.txt"], path)
    with pytest.raises(ValueError, match=r"is a folder, expected files, such as .*/\*\.txt"):
        encode_files(TOKENIZER, [tmp_path], path)
    with pytest.raises(ValueError, match="at least one file to encode"):
        encode_files(TOKENIZER, [], path)
    with pytest.raises(ValueError, match="an empty one"):
        encode_files(TOKENIZER, [file], path, separator="")
    with pytest.raises(ValueError, match="num_workers=0 leaves nobody"):
        encode_files(TOKENIZER, [file], path, num_workers=0)
    with pytest.raises(ValueError, match=r"'<eos>' is not among .* special tokens \('<\|endof"):
        encode_files(TOKENIZER, [file], path, end_of_text="<eos>")
    with pytest.raises(ValueError, match=r"ends in \.bin"):
        encode_files(TOKENIZER, [file], tmp_path / "tokens.npy")
    assert list(tmp_path.iterdir()) == [file]


def test_places_are_told_in_bytes_which_rows_are_estimated_by(tmp_path: Path) -> None:
    text, table, empty = (tmp_path / name for name in ("a.txt", "b.parquet", "c.parquet"))
    text.write_bytes(b"x" * 10)
    for path, rows in ((table, ["a", "b", "c", "d"]), (empty, [])):
        pq.write_table(pa.table({"text": pa.array(rows, pa.string())}), path)
    inputs = InputFiles([text, table, empty, text], separator="\n", text_column="text")
    size = table.stat().st_size
    places = ((0, 4), (1, 1), (1, 4), (2, 0), (3, 10))
    told = [4, 10 + size // 4, 10 + size, 10 + size, 20 + size + empty.stat().st_size]
    assert [inputs.bytes_before(*place) for place in places] == told
    assert told[-1] == inputs.num_bytes


@pytest.mark.parametrize(
    ("data", "is_told"), [(b"X23456789", True), (b"12345678X", True), (b"1234X6789", False)]
)
def test_of_a_large_file_beginning_and_end_tell_whether_it_is_another(
    data: bytes, is_told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "_HASHED_BYTES", 4)
    hashes = set()
    for content in (b"123456789", data):
        (tmp_path / "a.txt").write_bytes(content)
        inputs = InputFiles([tmp_path / "a.txt"], separator="\n", text_column="text")
        hashes.add(inputs.fingerprint()[0]["hash"])
    assert (len(hashes) == 2) == is_told

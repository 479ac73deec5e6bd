import functools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from basics.tests.both_paths import END, train_both
from basics.tests.nasty_text import nasty_text
from lm_basics.tokenizer import training
from lm_basics.tokenizer.fast.path import Implementation
from lm_basics.tokenizer.patterns import GPT2_PATTERN, GPT4_PATTERN
from lm_basics.tokenizer.text_stream import Cutter
from lm_basics.tokenizer.texts import read_blocks
from lm_basics.tokenizer.training import train_bpe, train_bpe_from_texts


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A file with special tokens, some with spaces, and all kinds of text between them."""
    rng = random.Random(5)
    ends = ["", END, "a b", "end of text"]
    parts = [nasty_text(rng, 30) + rng.choice(ends) for _ in range(100)]
    path = tmp_path / "corpus.txt"
    path.write_bytes("".join(parts).encode())
    return path


def in_blocks_of(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "read_blocks", functools.partial(read_blocks, block_bytes=size))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("pattern", [GPT2_PATTERN, GPT4_PATTERN])
@pytest.mark.parametrize("specials", [[END], [END, "a b", "end of text"], []])
def test_blocks_and_threads_change_nothing(
    corpus: Path, specials: list[str], pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train_both([corpus.read_bytes().decode()], 400, specials, pattern=pattern)
    options: dict[str, Any] = {"pattern": pattern, "implementation": "fast"}
    for block_bytes, threads in ((1, 3), (2, 1), (5, 2), (16, 1), (64, 4), (300, 1), (2000, 3)):
        in_blocks_of(block_bytes, monkeypatch)
        assert train_bpe(corpus, 400, specials, num_threads=threads, **options) == expected


@pytest.mark.parametrize("unit", [END, f"{END} ", f"ab {END}", "end of text", "end of end of text"])
def test_special_tokens_are_whole_at_every_end_of_a_block(
    unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specials = [END, "end of text"]
    path = tmp_path / "corpus.txt"
    path.write_text(unit * 40, encoding="utf-8")
    expected = train_both([unit * 40], 300, specials)
    for block_bytes in range(1, 32):
        in_blocks_of(block_bytes, monkeypatch)
        assert train_bpe(path, 300, specials, implementation="fast") == expected


def test_files_are_counted_one_after_the_other(tmp_path: Path) -> None:
    texts = ["abab", "", "ab ab'", "s ll 'll", "\n", "日", "本日本日本"]
    paths = [tmp_path / f"{number}.txt" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    for threads in (1, 3):
        found = train_bpe(paths, 270, [], num_threads=threads, implementation="fast")
        assert found == train_both(texts, 270, [])


@pytest.mark.parametrize("text", ["", "a", "\n", "aa", "é", END])
def test_smallest_files_train(text: str, tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text(text, encoding="utf-8")
    assert train_bpe(path, 300, [END], implementation="fast") == train_both([text], 300, [END])


@pytest.mark.parametrize("implementation", ["fast", "reference"])
@pytest.mark.usefixtures("unchecked")
def test_max_bytes_trains_on_the_first_ones(
    implementation: Implementation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of a character that is cut nothing counts: not even as many bytes of the next file.
    texts = ["ab é 日本 🙂", "qq", "", "🙂", "zz日日 ab\n"]
    paths = [tmp_path / f"{number}.txt" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    in_blocks_of(8, monkeypatch)
    for max_bytes in range(1, sum(len(text.encode()) for text in texts) + 3):
        remaining, expected = max_bytes, []
        for text in texts:
            expected.append(text.encode()[: max(0, remaining)].decode(errors="ignore"))
            remaining -= len(text.encode())
        found = train_bpe(paths, 270, [], max_bytes=max_bytes, implementation=implementation)
        assert found == train_both(expected, 270, []), max_bytes


@pytest.mark.parametrize("implementation", ["fast", "reference"])
@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80", b"\xe6\x97"]
)
@pytest.mark.parametrize("position", [0, 5, 1999, 4444, 6000])
def test_invalid_bytes_are_refused_with_their_position(
    implementation: Implementation,
    bad: bytes,
    position: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_blocks_of(500, monkeypatch)
    data = b"some words and more of them, " * 300
    path = tmp_path / "corpus.txt"
    path.write_bytes(data[:position] + bad + data[position:6000])
    variants: list[dict[str, Any]] = [{}, {"max_bytes": 1 << 20}, {"num_threads": 3}]
    for options in variants:
        with pytest.raises(ValueError, match=rf"corpus\.txt is not UTF-8: .* at byte {position}$"):
            train_bpe(path, 300, [], implementation=implementation, **options)


@pytest.mark.usefixtures("unchecked")
def test_invalid_bytes_are_replaced_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(6)
    path = tmp_path / "corpus.txt"
    for _ in range(30):
        data = bytearray((nasty_text(rng) + "ab ab ab " + nasty_text(rng)).encode())
        for _ in range(20):
            data[rng.randrange(len(data))] = rng.choice(b"\x80\xbf\xc2\xe0\xe6\xf0\xff")
        path.write_bytes(data)
        expected = train_both([data.decode(errors="replace")], 330, ["ab"])
        for block_bytes in (3, 40, 1 << 20):
            in_blocks_of(block_bytes, monkeypatch)
            found = train_bpe(path, 330, ["ab"], on_invalid="replace", implementation="fast")
            assert found == expected


@pytest.mark.parametrize("implementation", ["fast", "reference"])
def test_half_characters_are_refused_in_texts(implementation: Implementation) -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        train_bpe_from_texts(["ab ab", "a\ud800b"], 300, [], implementation=implementation)


@pytest.mark.parametrize("activity", ["counting", "merging"])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_training_works_again_after_an_interrupt(
    activity: str, num_threads: int, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_blocks_of(500, monkeypatch)

    def interrupt(reported: str, done: int, total: int) -> None:
        if reported == activity:
            raise KeyboardInterrupt

    settings: dict[str, Any] = {"num_threads": num_threads, "implementation": "fast"}
    expected = train_bpe(corpus, 1500, [END], **settings)
    with pytest.raises(KeyboardInterrupt):
        train_bpe(corpus, 1500, [END], report=interrupt, **settings)
    assert train_bpe(corpus, 1500, [END], **settings) == expected


def test_progress_is_reported_to_the_end(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_blocks_of(500, monkeypatch)
    reports: list[tuple[str, int, int]] = []
    size = corpus.stat().st_size
    train_bpe(
        corpus, 256 + 1100, [], implementation="fast", report=lambda *args: reports.append(args)
    )
    counted = [(done, total) for activity, done, total in reports if activity == "counting"]
    assert counted == sorted(counted)
    assert counted[-1] == (size, size)
    assert ("merging", 1000, 1100) in reports


def test_the_text_of_parquet_has_no_known_size(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["to be " * 50_000]}), path, compression="zstd")
    reports: list[tuple[str, int, int]] = []
    train_bpe(path, 260, [], report=lambda *args: reports.append(args))
    assert ("counting", 300_000, 0) in reports
    train_bpe(path, 260, [], max_bytes=50, report=lambda *args: reports.append(args))
    assert ("counting", 50, 50) in reports
    train_bpe_from_texts(["to be"], 260, [], report=lambda *args: reports.append(args))
    assert ("counting", 5, 0) in reports


def test_parquet_text_that_is_not_utf8_is_refused_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = pa.array([b"ab", b"\xff"], type=pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": texts}), path)
    with pytest.raises(
        ValueError, match=r"a\.parquet: column 'text' holds bytes that are not UTF-8"
    ):
        train_bpe(path, 300, [])
    assert train_bpe(path, 300, [], on_invalid="replace") == train_bpe_from_texts(
        ["ab", "\ufffd"], 300, []
    )


def write_table(path: Path, column: str, values: list[Any]) -> None:
    table = pa.table({column: values, "number": list(range(len(values)))})
    pq.write_table(table, path, row_group_size=3)


def test_parquet_rows_are_documents(tmp_path: Path) -> None:
    rng = random.Random(7)
    texts = [nasty_text(rng, 20) for _ in range(20)]
    rows = [*texts[:10], None, "", *texts[10:]]
    write_table(tmp_path / "a.parquet", "text", rows)
    write_table(tmp_path / "b.parquet", "text", [])
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet", tmp_path / "a.parquet"]
    expected = train_both([*texts, *texts], 400, ["'s"])
    for threads in (1, 3):
        found = train_bpe(paths, 400, ["'s"], num_threads=threads, implementation="fast")
        assert found == expected
    sizes = np.cumsum([len(text.encode()) for text in texts])
    for max_bytes in (1, int(sizes[3]), int(sizes[3]) + 1, int(sizes[-1]) + 5):
        data, limited = max_bytes, []
        for text in [*texts, *texts]:
            limited.append(text.encode()[: max(0, data)].decode(errors="ignore"))
            data -= len(text.encode())
        found = train_bpe(paths, 400, [], max_bytes=max_bytes, implementation="fast")
        assert found == train_both(limited, 400, [])


def test_damaged_parquet_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_table(path, "content", ["ab"])
    with pytest.raises(ValueError, match=r"a\.parquet has no column 'text', only \['content'"):
        train_bpe(path, 300, [])
    with pytest.raises(ValueError, match=r"column 'number' holds int, expected text"):
        train_bpe(path, 300, [], text_column="number")
    intact = path.read_bytes()
    for damaged in (intact[:-9], b"", intact[:4] + bytes(40) + intact[44:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.parquet is no Parquet file, or damaged"):
            train_bpe(path, 300, [], text_column="content")
    with pytest.raises(FileNotFoundError):
        train_bpe(tmp_path / "b.parquet", 300, [])


def test_a_limit_of_the_whole_file_hides_no_broken_end(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_bytes(b"ab ab\xe2\x82")
    for max_bytes in (7, 8):
        with pytest.raises(ValueError, match=r"corpus\.txt is not UTF-8: .* at byte 5"):
            train_bpe(path, 300, [], max_bytes=max_bytes)
    assert train_bpe(path, 300, [], max_bytes=6)[1] == [(b"a", b"b"), (b" ", b"ab")][:2]


def test_memory_does_not_grow_with_the_vocabulary_asked_for() -> None:
    vocab, merges = train_bpe_from_texts(["the cat " * 9], 10**11, [], implementation="fast")
    assert len(vocab) == 256 + len(merges) < 300


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("unit", ["0123456789", "ที่นี่", "!?\n", "'a!", " \n\t ", "1\udcff!"])
@pytest.mark.parametrize("pattern", [GPT2_PATTERN, GPT4_PATTERN])
def test_files_without_a_place_to_cut_are_counted_on_the_fast_path(
    unit: str, pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "corpus.txt"
    path.write_bytes((unit * 3000).encode(errors="surrogateescape"))
    options: dict[str, Any] = {"pattern": pattern, "on_invalid": "replace"}
    expected = train_bpe(path, 300, [END], implementation="reference", **options)
    monkeypatch.delattr(Cutter, "_find_by_pattern")
    for block_bytes in (50, 1000, 7777, 1 << 20):
        in_blocks_of(block_bytes, monkeypatch)
        assert train_bpe(path, 300, [END], implementation="fast", **options) == expected

import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.patches import Rectangle

from lm_basics.commands.compare_tokenizers import compare_on_text
from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.simple import ByteTokenizer, CharacterTokenizer, WordTokenizer
from lm_basics.tokenizer.training import train_bpe_from_texts
from lm_basics.tokenizer_views.comparison import (
    TokenizerComparison,
    compare_tokenizers,
    hold_out,
    python_manual,
    train_tokenizers,
)
from lm_basics.tokenizer_views.comparison_figure import comparison_figure
from lm_shared.figures import figure_svg

TEXT = "the cat sat on the mat, the dog sat on the log. " * 40


def test_rows_equal_a_comparison_by_hand() -> None:
    tokenizers = {
        "byte": ByteTokenizer(),
        "character": CharacterTokenizer(),
        "word": WordTokenizer(["ab", " ab", "?"]),
    }
    # "ab é ab": 8 bytes, 7 characters, 3 words of which " é" is unknown.
    byte, character, word = compare_tokenizers(tokenizers, "ab é ab")
    assert byte == TokenizerComparison(
        name="byte",
        vocab_size=256,
        num_tokens=8,
        bytes_per_token=1.0,
        attention_cost=1.0,
        # a, b, the space and the two bytes of é.
        used_share=5 / 256,
        unknown_share=None,
        is_lossless=True,
    )
    assert (character.num_tokens, character.bytes_per_token) == (7, 8 / 7)
    assert math.isclose(character.attention_cost, 49 / 64)
    assert (word.num_tokens, word.vocab_size, word.used_share) == (3, 4, 3 / 4)
    assert math.isclose(word.attention_cost, 9 / 64)
    assert (word.unknown_share, word.is_lossless) == (1 / 3, False)


def test_smaller_encodings_are_those_trained_alone() -> None:
    trained = train_tokenizers([TEXT], [270, 264, 270])
    assert list(trained) == ["character", "byte", "word 270", "bpe 264", "bpe 270"]
    for vocab_size in (264, 270):
        vocab, merges = train_bpe_from_texts([TEXT], vocab_size, [])
        tokenizer = trained[f"bpe {vocab_size}"]
        assert isinstance(tokenizer, Tokenizer)
        assert tokenizer.vocab_hash == Tokenizer(vocab, merges).vocab_hash
    assert trained["word 270"].vocab_size <= 270


def test_an_encoding_is_named_after_the_ids_that_it_has() -> None:
    trained = train_tokenizers(["ab ab"], [300, 400])
    assert list(trained)[3:] == ["bpe 258"]
    assert trained["bpe 258"].vocab_size == 258


def test_a_larger_vocabulary_makes_shorter_sequences() -> None:
    rows = {row.name: row for row in compare_tokenizers(train_tokenizers([TEXT], [260, 270]), TEXT)}
    lengths = [rows[name].num_tokens for name in ("byte", "bpe 260", "bpe 270", "word 270")]
    assert lengths == sorted(lengths, reverse=True)
    assert len(set(lengths[:3])) == 3
    # Byte pairs never cross the words' pattern, so words are the limit.
    assert rows["word 270"].unknown_share == 0
    assert all(row.is_lossless for row in rows.values())


def test_every_text_is_cut_into_both_parts() -> None:
    beginnings, held_out = hold_out(["a" * 8 + "bc", "d" * 4 + "e"], share=0.2)
    assert beginnings == ["a" * 8, "d" * 4]
    assert held_out == "bce"
    assert hold_out(["", "a" * 9 + "b"]) == (["", "a" * 9], "b")


def test_the_default_text_is_the_manual() -> None:
    text = python_manual()
    assert 'The "assert" statement' in text
    assert len(text) > 100_000


def test_impossible_comparisons_are_refused() -> None:
    with pytest.raises(ValueError, match="a comparison needs text"):
        compare_tokenizers({"byte": ByteTokenizer()}, "")
    with pytest.raises(ValueError, match="at least one tokenizer"):
        compare_tokenizers({}, "a")
    with pytest.raises(ValueError, match=r"vocab_sizes of at least 256, got \[300, 255\]"):
        train_tokenizers([TEXT], [300, 255])
    with pytest.raises(ValueError, match=r"vocab_sizes of at least 256, got \[\]"):
        train_tokenizers([TEXT], [])
    with pytest.raises(ValueError, match=r"a share between 0 and 1, got 1\.0"):
        hold_out([TEXT], share=1.0)
    with pytest.raises(ValueError, match="cannot hold out 10% of 1 characters"):
        hold_out(["a", ""])
    with pytest.raises(ValueError, match="cannot hold out 90% of 1 characters"):
        hold_out(["a"], share=0.9)
    with pytest.raises(ValueError, match="at least one tokenizer, got none"):
        comparison_figure([])


def test_the_figure_names_every_tokenizer() -> None:
    rows = compare_tokenizers(train_tokenizers([TEXT], [260, 300]), TEXT)
    figure = comparison_figure(rows)
    left, right = figure.axes
    assert (left.get_xscale(), left.get_xlabel()) == ("log", "vocabulary")
    assert [text.get_text() for text in left.texts] == [row.name for row in rows]
    # Heights can be compared by eye.
    assert left.get_ylim()[0] == 0
    assert left.get_ylim()[1] > max(row.bytes_per_token for row in rows)
    # The name of the largest, at the right edge, stands to the left of its point.
    sides = {text.get_text(): text.get_horizontalalignment() for text in left.texts}
    assert (sides["character"], sides["byte"]) == ("right", "left")
    bars = [bar for bar in right.patches if isinstance(bar, Rectangle)]
    assert [bar.get_width() for bar in bars] == [
        *(1 / row.bytes_per_token for row in rows),
        *(row.attention_cost for row in rows),
    ]
    assert all(f">{row.name}</text>" in figure_svg(figure) for row in rows)


def test_the_command_compares_files_and_given_tokenizers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, given, output = tmp_path / "corpus.txt", tmp_path / "given", tmp_path / "output"
    corpus.write_text(TEXT)
    vocab, merges = train_bpe_from_texts([TEXT], 270, [])
    Tokenizer(vocab, merges).save(given)
    compare_on_text((corpus,), tokenizer=(f"mine={given}",), vocab_sizes=(270,), output=output)
    printed = capsys.readouterr().out
    rows = json.loads((output / "comparison.json").read_text())
    assert [row["name"] for row in rows] == ["character", "byte", "word 270", "bpe 270", "mine"]
    assert all(row["name"] in printed for row in rows)
    # The held-out tenth of 1,920 characters.
    assert rows[1]["num_tokens"] == 192
    assert (output / "comparison.png").exists()


def test_the_command_without_files_takes_the_manual(tmp_path: Path) -> None:
    compare_on_text(vocab_sizes=(256,), held_out_share=0.02, output=tmp_path / "out")
    (byte,) = [
        row
        for row in json.loads((tmp_path / "out" / "comparison.json").read_text())
        if row["name"] == "byte"
    ]
    assert byte["num_tokens"] == pytest.approx(0.02 * len(python_manual()), rel=0.02)


def test_parquet_files_are_compared_on(tmp_path: Path) -> None:
    texts: list[str | None] = [TEXT[:960], None, TEXT[960:]]
    pq.write_table(pa.table({"body": texts}), tmp_path / "a.parquet")
    (tmp_path / "b.txt").write_text(TEXT[:960] + "\n" + TEXT[960:])
    rows = []
    for file in ("a.parquet", "b.txt"):
        output = tmp_path / file[0]
        compare_on_text((tmp_path / file,), vocab_sizes=(260,), text_column="body", output=output)
        rows.append((output / "comparison.json").read_text())
    assert rows[0] == rows[1]


def test_little_text_is_told_and_columns_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.txt").write_text("ab ab ab!!")
    compare_on_text((tmp_path / "a.txt",), output=tmp_path / "out")
    assert "1 byte of held-out text say little." in caplog.messages
    printed = capsys.readouterr().out
    assert "1 byte of held-out text" in printed
    assert "attention: its cost over the whole text" in printed


def test_tokenizers_are_given_with_or_without_a_name(tmp_path: Path) -> None:
    Tokenizer({byte: bytes([byte]) for byte in range(256)}, []).save(tmp_path / "mine")
    (tmp_path / "a.txt").write_text(TEXT)
    folder = str(tmp_path / "mine")
    given = (folder, f"other={folder}/tokenizer.json")
    compare_on_text(
        (tmp_path / "a.txt",), tokenizer=given, vocab_sizes=(256,), output=tmp_path / "out"
    )
    rows = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [row["name"] for row in rows][-2:] == ["mine", "other"]
    with pytest.raises(ValueError, match="expected different names"):
        compare_on_text(tokenizer=(folder, folder), output=tmp_path / "new")
    with pytest.raises(ValueError, match="expected a path or name=path, got '=folder'"):
        compare_on_text(tokenizer=("=folder",), output=tmp_path / "new")

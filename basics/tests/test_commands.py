"""The command line, from a text file to generated text."""

import logging
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lm_basics.commands.inputs import parse_byte_count
from lm_basics.commands.main import main
from lm_basics.token_files import partial_token_file
from lm_basics.token_files.token_file import encode_documents, write_token_file
from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.patterns import GPT4_PATTERN
from lm_shared import display
from lm_shared.files import read_json


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["basics", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def _duration(printed: str) -> list[str]:
    """Return the number and the unit that ``basics train`` prints for the seconds of its run."""
    found = re.search(r"tokens, ([\d.]+) (s)", printed)
    assert found is not None
    return [*found.groups()]


def test_from_text_to_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, tokenizer = tmp_path / "corpus.txt", tmp_path / "tokenizer"
    corpus.write_text("To be, or not to be, that is the question. " * 200)
    tokens, run = tmp_path / "train.bin", tmp_path / "run"
    train_tokenizer = ("train-tokenizer", corpus, "--output", tokenizer, "--vocab-size", 280)
    assert _run(monkeypatch, *train_tokenizer) == 0
    encode = ("encode", corpus, "--tokenizer", tokenizer, "--output", tokens)
    assert _run(monkeypatch, *encode) == 0
    train = ("train", "tiny", "--tokens", tokens, "--output", run, "--steps", 5)
    assert _run(monkeypatch, *train, "--validation", tokens) == 0
    first = capsys.readouterr().out
    assert first.count("already finished") == 0
    assert _run(monkeypatch, *train, "--tokenizer", tokenizer) == 0
    again = capsys.readouterr().out
    assert "already finished: 5 steps, " in again
    assert _duration(again) == _duration(first)
    assert f"{read_json(run / 'report.json')['runs'][0]['elapsed_s']:.1f} s".split() == _duration(
        first
    )
    generate = ("generate", "To be", "--model", run / "model")
    assert _run(monkeypatch, *generate, "--max-new-tokens", 5) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("To be")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("encode", "absent.txt", "--tokenizer", "absent", "--output", "x.bin"), "absent"),
        (("generate", "x", "--model", "absent"), "absent"),
        (("train", "tiny", "--tokens", "absent.bin", "--output", "run"), "absent.json"),
    ],
)
def test_missing_files_are_one_line_and_exit_code_two(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("basics: error: ")
    assert error.count("\n") == 1


def test_an_unknown_option_exits_with_two(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run(monkeypatch, "train", "tiny", "--optimizer.speed", "9") == 2


def test_files_of_different_tokenizers_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        write_token_file(tmp_path / f"{name}.bin", [[1, 2]], vocab_size=9, vocab_hash=name)
    arguments = ("--tokens", tmp_path / "a.bin", "--validation", tmp_path / "b.bin")
    assert _run(monkeypatch, "train", "tiny", *arguments, "--output", tmp_path / "run") == 2
    assert "come from different tokenizers" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def _press_ctrl_c(record: logging.LogRecord) -> bool:
    """Interrupt this process when it tells that something has been done."""
    if record.levelno == logging.INFO and not record.getMessage().startswith("encoding: 0 "):
        signal.raise_signal(signal.SIGINT)
    return True


@contextmanager
def _ctrl_c(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let Ctrl-C come as soon as something has been done."""
    monkeypatch.setattr(display, "LOG_INTERVAL_S", 0.0)
    display.logger.addFilter(_press_ctrl_c)
    try:
        yield
    finally:
        display.logger.removeFilter(_press_ctrl_c)


@pytest.fixture
def tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a tokenizer without a fast path."""
    corpus, folder = tmp_path / "sample.txt", tmp_path / "tokenizer"
    corpus.write_text("to be or not to be")
    options = ("--output", folder, "--vocab-size", 262, "--pattern", r"\S+|\s+")
    assert _run(monkeypatch, "train-tokenizer", corpus, *options) == 0
    return folder


def test_a_tokenizer_is_trained_as_the_options_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, table, output = tmp_path / "a.txt", tmp_path / "b.parquet", tmp_path / "tokenizer"
    text.write_bytes(b"ab \xff ab ab")
    pq.write_table(pa.table({"body": ["abab " * 9, "zz " * 1000]}), table)
    train = ("train-tokenizer", text, table, "--output", output, "--vocab-size", 300)
    assert _run(monkeypatch, *train) == 2
    options = ("--pattern", "gpt4", "--text-column", "body", "--max-bytes", "0.05kB")
    assert _run(monkeypatch, *train, *options) == 2
    assert _run(monkeypatch, *train, *options, "--on-invalid", "replace", "--workers", 1) == 0
    trained = Tokenizer.from_folder(output)
    assert trained.pattern == GPT4_PATTERN
    assert b" abab" in trained.vocab.values()
    assert b"zz" not in trained.vocab.values()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--pattern", "(a"),
            "none of gpt2, gpt4, gpt4o: the pattern '(a' is no regular expression",
        ),
        (("--max-bytes", "many"), "expected a number of bytes such as 500_000, 2.5GB or 16MiB"),
        (("--max-bytes", "0"), "--max-bytes=0 leaves no text"),
        (("--special-tokens", "a"), "the special token 'a' is one byte, which is a token already"),
    ],
)
def test_impossible_options_of_training_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, str],
    message: str,
) -> None:
    (tmp_path / "a.txt").write_text("text")
    train = ("train-tokenizer", tmp_path / "a.txt", "--output", tmp_path / "tokenizer")
    assert _run(monkeypatch, *train, *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "tokenizer").exists()


@pytest.mark.parametrize(
    ("text", "number"),
    [("12", 12), ("500_000", 500_000), ("2.5GB", 2_500_000_000), ("16 MiB", 1 << 24), ("3k", 3000)],
)
def test_byte_counts_are_read_as_people_write_them(text: str, number: int) -> None:
    assert parse_byte_count(text) == number


def test_encoding_takes_parquet_separators_and_invalid_bytes(
    tmp_path: Path,
    tokenizer: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text, table, output = tmp_path / "a.txt", tmp_path / "b.parquet", tmp_path / "tokens.bin"
    text.write_bytes(b"to be\n\nor \xff not")
    pq.write_table(pa.table({"body": ["to be", None]}), table)
    encode = ("encode", text, table, "--tokenizer", tokenizer, "--output", output)
    options = ("--separator", "\n\n", "--text-column", "body", "--workers", 2)
    assert _run(monkeypatch, *encode, *options) == 2
    assert "a.txt is not UTF-8: invalid start byte at byte 10" in capsys.readouterr().err
    assert not output.exists()
    assert _run(monkeypatch, *encode, *options, "--on-invalid", "replace") == 0
    assert capsys.readouterr().out.startswith("3 documents, ")
    texts = ["to be", "or \ufffd not", "to be"]
    encode_documents(Tokenizer.from_folder(tokenizer), texts, tmp_path / "expected.bin")
    assert output.read_bytes() == (tmp_path / "expected.bin").read_bytes()


def test_long_work_tells_how_far_it_is(
    tmp_path: Path,
    tokenizer: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(display, "LOG_INTERVAL_S", 0.0)
    text = tmp_path / "a.txt"
    text.write_text("to be " * 2_000)
    with caplog.at_level(logging.INFO):
        encode = ("encode", text, "--tokenizer", tokenizer, "--output", tmp_path / "tokens.bin")
        assert _run(monkeypatch, *encode) == 0
        train = ("train-tokenizer", text, "--output", tmp_path / "other", "--vocab-size", 260)
        assert _run(monkeypatch, *train) == 0
    assert "encoding: 12.0 kB of 12.0 kB" in caplog.messages
    assert "counting: 12.0 kB of 12.0 kB" in caplog.messages


def test_ctrl_c_ends_training_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "a.txt"
    text.write_text("to be " * 100)
    train = ("train-tokenizer", text, "--output", tmp_path / "tokenizer", "--vocab-size", 260)
    with _ctrl_c(monkeypatch):
        assert _run(monkeypatch, *train) == 130
    assert capsys.readouterr().err.endswith("basics: interrupted\n")
    assert list(tmp_path.iterdir()) == [text]


def test_encoding_goes_on_after_ctrl_c(
    tmp_path: Path,
    tokenizer: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text, output = tmp_path / "a.txt", tmp_path / "tokens.bin"
    text.write_text("to be or not to be, " * 50_000)
    encode = ("encode", text, "--tokenizer", tokenizer, "--output", output)
    monkeypatch.setattr(partial_token_file, "COMMIT_INTERVAL_S", 0.0)
    with _ctrl_c(monkeypatch):
        assert _run(monkeypatch, *encode) == 130
    assert capsys.readouterr().err.endswith("basics: interrupted\n")
    assert not output.exists()
    journal = tmp_path / "tokens.bin.partial" / "journal.jsonl"
    assert journal.read_bytes().count(b"\n") == 3
    assert _run(monkeypatch, *encode) == 0
    encode_documents(Tokenizer.from_folder(tokenizer), [text.read_text()], tmp_path / "whole.bin")
    assert output.read_bytes() == (tmp_path / "whole.bin").read_bytes()
    assert not journal.parent.exists()


def _offered(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the command that is offered next, or nothing."""
    line = capsys.readouterr().out.splitlines()[-1]
    words = shlex.split(line)
    return words[4:] if words[:3] == ["next:", "uv", "run"] else []


def test_what_is_offered_next_works_as_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("corpus", "held_out"):
        pq.write_table(pa.table({"body": ["Cats sat on mats. " * 99] * 2}), f"{name}.parquet")
    small = ("--text-column", "body", "--vocab-size", 280)
    assert _run(monkeypatch, "train-tokenizer", "corpus.parquet", *small) == 0
    encode = _offered(capsys)
    assert _run(monkeypatch, *encode) == 0
    train = _offered(capsys)
    assert " ".join(train) == "train tiny --tokens runs/tokens.bin --tokenizer runs/tokenizer"
    # A name that is taken would be refused.
    assert _run(monkeypatch, *train, "--steps", 2) == 0
    generate = _offered(capsys)
    assert generate == ["generate", "Cats sat", "--model", "runs/train-tiny"]
    assert _run(monkeypatch, *generate, "--max-new-tokens", 2) == 0
    held_out = [one.replace("corpus", "held_out") for one in encode]
    assert _run(monkeypatch, *held_out, "--output", "runs/measured.bin") == 0
    assert _offered(capsys) == []
    both = ["--tokens", "runs/tokens.bin", "--validation", "runs/measured.bin"]
    free = ["--tokenizer", "runs/tokenizer", "--output", "runs/train-tiny-2"]
    assert _run(monkeypatch, "ngram", *both, "--orders", 1) == 0
    again = _offered(capsys)
    assert again == ["train", "tiny", *both, *free]
    assert _run(monkeypatch, *again, "--steps", 2) == 0
    compare = ("compare-tokenizers", "corpus.parquet", "--text-column", "body")
    assert _run(monkeypatch, *compare, "--vocab-sizes", 260) == 0
    free = ["--output", "runs/tokens-2.bin", "--text-column", "body"]
    assert _offered(capsys) == [*encode[:4], *free]


def test_nothing_is_offered_that_cannot_begin(
    tmp_path: Path,
    tokenizer: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a.txt").write_text("to be " * 99)
    encode = ("encode", tmp_path / "a.txt", "--tokenizer", tokenizer, "--output")
    assert _run(monkeypatch, *encode, tmp_path / "validation.bin") == 0
    assert _offered(capsys) == []
    (tmp_path / "b.txt").write_text("to be")
    assert _run(monkeypatch, encode[0], tmp_path / "b.txt", *encode[2:], tmp_path / "b.bin") == 0
    assert _offered(capsys) == []
    train = ("train-tokenizer", tmp_path / "a.txt", "--output", tmp_path / "x", "--vocab-size", 260)
    assert _run(monkeypatch, *train, "--special-tokens", "<a>") == 0
    assert _offered(capsys) == []

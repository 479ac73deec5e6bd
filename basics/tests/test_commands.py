"""The command line, from a text file to generated text."""

import sys
from pathlib import Path

import pytest

from lm_basics.commands.main import main
from lm_basics.tokenizer.token_file import write_token_file


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["basics", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


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
    train = ("train", "tiny", "--tokens", tokens, "--output", run, "--training.steps", 5)
    assert _run(monkeypatch, *train, "--validation", tokens) == 0
    generate = ("generate", "To be", "--model", run / "model", "--tokenizer", tokenizer)
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

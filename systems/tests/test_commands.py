"""The command line: completions on stdout, mistakes as one line and exit code 2."""

import sys
from pathlib import Path

import pytest
import torch

from lm_basics.export import save_model
from lm_basics.model_config import uniform_transformer
from lm_basics.tokenizer import Tokenizer, train_bpe_from_texts
from lm_basics.transformer import TransformerLM
from lm_systems.commands.main import main


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    specials = ["<|endoftext|>"]
    tokenizer = Tokenizer(*train_bpe_from_texts(["so it goes " * 9], 262, specials), specials)
    config = uniform_transformer(
        vocab_size=tokenizer.vocab_size, context_length=32, d_model=16, num_layers=1, num_heads=2
    )
    torch.manual_seed(0)
    save_model(TransformerLM(config), tmp_path / "model", tokenizer=tokenizer)
    return tmp_path / "model"


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["systems", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_info:
        main()
    return int(exit_info.value.code or 0)


def test_every_prompt_is_completed(model_folder, monkeypatch, capsys) -> None:
    arguments = ["generate", model_folder, "so it", "goes", "--max-new-tokens", 4]
    assert _run(monkeypatch, *arguments, "--temperature", 0) == 0
    first = capsys.readouterr().out
    assert first.startswith("so it")
    assert "\ngoes" in first
    assert _run(monkeypatch, *arguments, "--temperature", 0) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["so", "--top-p", "2"], "--top-p must lie in"),
        (["so " * 40], "the context holds 32"),
        ([], "at least one prompt"),
    ],
    ids=["top-p", "long prompt", "no prompt"],
)
def test_bad_input_is_one_line(model_folder, monkeypatch, capsys, change, message) -> None:
    assert _run(monkeypatch, "generate", model_folder, *change) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_a_missing_folder_is_named(tmp_path, monkeypatch, capsys) -> None:
    assert _run(monkeypatch, "generate", tmp_path / "nowhere", "so") == 2
    assert "nowhere" in capsys.readouterr().err


def test_an_unknown_option_is_refused(model_folder, monkeypatch) -> None:
    assert _run(monkeypatch, "generate", model_folder, "so", "--no-such-option", 1) == 2

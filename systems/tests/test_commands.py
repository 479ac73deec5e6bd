"""The command line: completions on stdout, mistakes as one line and exit code 2."""

import json
import sys
from pathlib import Path

import pytest
import torch

from lm_basics.commands.main import main as generate_plainly
from lm_basics.decoding import generate
from lm_basics.export import load_model, save_model
from lm_basics.model_config import uniform_transformer
from lm_basics.sampling_config import SamplingConfig
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


def test_every_prompt_is_continued(model_folder, monkeypatch, capsys) -> None:
    options = ["--model", model_folder, "--max-new-tokens", 4, "--temperature", 0]
    assert _run(monkeypatch, "generate", "so it", "goes", *options) == 0
    first = capsys.readouterr().out
    assert first.startswith("--- 1 of 2 ---\nso it")
    assert "\n--- 2 of 2 ---\ngoes" in first
    assert _run(monkeypatch, "generate", "so it", *options) == 0
    alone = capsys.readouterr().out
    assert first.startswith("--- 1 of 2 ---\n" + alone)


@pytest.mark.parametrize("prompt", ["so it", "", "it goes"])
def test_both_commands_draw_the_same_texts(model_folder, monkeypatch, capsys, prompt) -> None:
    options = ["--model", model_folder, "--max-new-tokens", 20, "--temperature", 1.5]
    options += ["--top-k", 40, "--num-samples", 3, "--stop", "e", "--seed", 5, "--json"]
    assert _run(monkeypatch, "generate", prompt, *options) == 0
    engine = capsys.readouterr().out
    with pytest.raises(SystemExit):
        generate_plainly(["generate", prompt, *map(str, options)])
    assert capsys.readouterr().out == engine
    texts = [json.loads(line)["text"] for line in engine.splitlines()]
    assert len(set(texts)) == 3
    assert not any("e" in text for text in texts)


def test_a_run_stands_for_its_model_and_its_own_end_ends_texts(
    model_folder, monkeypatch, capsys
) -> None:
    options = ["--max-new-tokens", 20, "--json", "--model"]
    assert _run(monkeypatch, "generate", "so", *options, model_folder) == 0
    free = capsys.readouterr().out
    assert _run(monkeypatch, "generate", "so", *options, model_folder.parent) == 0
    assert capsys.readouterr().out == free
    tokenizer = Tokenizer.from_folder(model_folder)
    sampling = SamplingConfig(max_new_tokens=20, temperature=0.8, top_p=0.95)
    ids = generate(load_model(model_folder), tokenizer.encode("so"), sampling)
    assert json.loads(free)["text"] == tokenizer.decode(ids)
    config = {"eos_token_id": [ids[3], 1]}
    (model_folder / "generation_config.json").write_text(json.dumps(config))
    assert _run(monkeypatch, "generate", "so", *options, model_folder) == 0
    ended = json.loads(capsys.readouterr().out)["text"]
    length = min(ids.index(end) for end in config["eos_token_id"] if end in ids)
    assert ended == tokenizer.decode(ids[:length])


def test_a_full_context_is_told(model_folder, monkeypatch, capsys) -> None:
    options = ["--model", model_folder, "--max-new-tokens", 90, "--temperature", 9]
    assert _run(monkeypatch, "generate", "so", *options) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "texts cut where the context is full: 1 of 1" in told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["so", "--top-p", "2"], "must lie in"),
        (["so " * 40], "the context holds 32"),
        ([], "at least one prompt"),
        (["so", "--chat"], "no chat template"),
    ],
    ids=["top-p", "long prompt", "no prompt", "chat"],
)
def test_bad_input_is_one_line(model_folder, monkeypatch, capsys, change, message) -> None:
    assert _run(monkeypatch, "generate", *change, "--model", model_folder) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_a_missing_folder_is_named(tmp_path, monkeypatch, capsys) -> None:
    assert _run(monkeypatch, "generate", "so", "--model", tmp_path / "nowhere") == 2
    assert "nowhere" in capsys.readouterr().err


def test_an_unknown_option_is_refused(model_folder, monkeypatch) -> None:
    assert _run(monkeypatch, "generate", "so", "--model", model_folder, "--no-such", 1) == 2


def test_a_step_is_timed_and_its_numbers_are_kept(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--d-model", 32, "--num-layers", 1, "--warmup", 0, "--steps", 2, "--device", "cpu"]
    assert _run(monkeypatch, "bench-step", *options, "--mode", "backward") == 0
    shown = capsys.readouterr().out
    assert all(row in shown for row in ("backward, ms", "total, ms", "tokens/s", "of the peak"))
    result = json.loads(Path("runs/bench-step/step.json").read_text())
    assert result["benchmark"]["d_model"] == 32
    assert {name: len(row) for name, row in result["part_s"].items()} == {
        "forward": 2,
        "backward": 2,
    }
    assert result["tokens_per_s"] > 0
    assert _run(monkeypatch, "bench-step", *options) == 0, "the default folder is used again"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["huge"], "no size 'huge'"),
        (["tiny", "--num-heads", "3"], "--d-model=64 is not divisible by --num-heads=3"),
        (["--steps", "1"], "--steps must be at least 2"),
        (["--ops", "fast"], "no ops 'fast'"),
        (["--mode", "both"], "no mode 'both'"),
    ],
)
def test_a_step_that_cannot_be_timed_is_one_line(
    tmp_path, monkeypatch, capsys, words, message
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run(monkeypatch, "bench-step", *words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line

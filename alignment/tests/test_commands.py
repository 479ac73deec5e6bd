import logging
import shutil

import pytest
import torch

from lm_alignment.commands.main import main
from lm_basics.export import load_text_model, save_model
from lm_basics.model_config import uniform_transformer
from lm_basics.tokenizer import Tokenizer, train_bpe_from_texts
from lm_basics.transformer import TransformerLM
from lm_shared import display
from lm_shared.files import read_json
from lm_shared.runs import load_receipt


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


@pytest.fixture
def base(make_model, tokenizer, tmp_path):
    save_model(make_model(), tmp_path / "base", tokenizer=tokenizer)
    return tmp_path / "base"


def test_sft_grpo_and_evaluate_work_on_the_command_line(
    base, tmp_path, capsys, caplog, monkeypatch
):
    monkeypatch.setattr(display, "LOG_INTERVAL_S", 0.0)
    caplog.set_level(logging.INFO)
    sft, grpo = tmp_path / "sft", tmp_path / "grpo"
    examples = ("--num-examples", 9, "--task", "sum")
    assert run("sft", "smoke", "--model", base, "--output", sft, "--steps", 3, *examples) == 0
    told = capsys.readouterr().out
    assert "after 3 steps" in told
    then = f"grpo smoke --model {sft} --task sum --skip-examples 9"
    assert told.endswith(f"next: uv run alignment {then}\n")
    assert run(*then.split(), "--output", tmp_path / "x", "--steps", 1, "--group-size", 2) == 0
    told = capsys.readouterr().out
    assert "after 1 step," in told
    assert told.endswith(f"next: uv run alignment evaluate --model {tmp_path / 'x'} --task sum\n")
    options = ("--steps", 2, "--prompts-per-step", 2, "--optimizer.lr", 1e-3)
    assert run("grpo", "smoke", "--model", sft / "model", "--output", grpo, *options) == 0
    assert "after 2 steps" in capsys.readouterr().out
    assert load_receipt(grpo).tokens > 0
    options = ("--num-examples", 4, "--show", 1)
    assert run("evaluate", "greedy", "--model", grpo / "model", *options) == 0
    assert "reward 0." in capsys.readouterr().out
    assert "fine-tuning: 3 of 3, loss " in caplog.text
    assert "reinforcement learning: 2 of 2, reward " in caplog.text
    assert "drawing 4 answers" in caplog.messages


def test_a_model_of_another_tokenizer_learns_the_tokens_of_the_chat(tmp_path, capsys):
    end = "<|endoftext|>"
    tokenizer = Tokenizer(*train_bpe_from_texts(["Sort 1 2 3. " * 9], 262, [end]), [end])
    shape = uniform_transformer(
        vocab_size=tokenizer.vocab_size, context_length=32, d_model=16, num_layers=1, num_heads=2
    )
    base = TransformerLM(shape)
    save_model(base, tmp_path / "base", tokenizer=tokenizer)
    sft = ("--output", tmp_path / "sft", "--steps", 1, "--optimizer.lr", 1e-9)
    assert run("sft", "smoke", "--model", tmp_path / "base", *sft) == 0
    assert f"grpo smoke --model {tmp_path / 'sft'}\n" in capsys.readouterr().out
    taught = load_text_model(tmp_path / "sft")
    known = tokenizer.vocab_size
    assert taught.tokenizer.special_token_ids.keys() == {end, "<|user|>", "<|assistant|>"}
    assert taught.model.config.vocab_size == taught.tokenizer.vocab_size == known + 2
    # Texts of before are encoded as before, and the model says the same about them.
    ids = tokenizer.encode("Sort 3 2 1.")
    assert taught.tokenizer.encode("Sort 3 2 1.") == ids
    found = taught.model(torch.tensor([ids]))[..., :known]
    torch.testing.assert_close(found, base(torch.tensor([ids])), atol=1e-4, rtol=1e-4)
    evaluate = ("--model", tmp_path / "sft", "--num-examples", 2)
    assert run("evaluate", *evaluate) == 0
    assert run("grpo", "smoke", "--model", tmp_path / "base", "--output", tmp_path / "grpo") == 2
    assert "alignment sft teaches a model all of them" in capsys.readouterr().err


def test_a_file_of_ones_own_takes_the_place_of_the_task(base, tmp_path, capsys):
    data = tmp_path / "own.jsonl"
    data.write_text('{"question": "2 + 2?", "answer": "2 + 2 = 4 #### 4"}\n' * 3)
    own = ("--data", data, "--output")
    sft = ("sft", "smoke", "--model", base, *own, tmp_path / "sft", "--steps", 2)
    assert run(*sft) == 0
    assert f"basics generate --model {tmp_path / 'sft'} --chat" in capsys.readouterr().out
    grpo = ("grpo", "smoke", "--model", tmp_path / "sft", *own, tmp_path / "grpo", "--steps", 1)
    assert run(*grpo, "--verifier", "hashes") == 0
    assert '"pattern": "####' in read_json(tmp_path / "grpo" / "config.json")["verifier"]
    capsys.readouterr()
    with data.open("a") as file:
        file.write('{"question": "' + "zq" * 40 + '", "answer": "1"}\n')
    assert run("evaluate", "--model", tmp_path / "grpo", "--data", data) == 0
    told = capsys.readouterr()
    assert ", 3 answers" in told.out
    assert "1 of 4 examples are too long" in told.err


def test_a_model_learns_what_is_preferred(base, tmp_path, capsys):
    data = tmp_path / "pairs.jsonl"
    data.write_text('{"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}\n' * 2)
    output = ("--output", tmp_path / "dpo", "--steps", 2)
    assert run("dpo", "smoke", "--model", base, "--data", data, *output) == 0
    told = capsys.readouterr().out
    assert "100% of the pairs preferred, after 2 steps" in told
    assert f"basics generate --model {tmp_path / 'dpo'} --chat" in told
    assert load_text_model(tmp_path / "dpo").chat_template is not None
    data.write_text('{"question": "q", "answer": "a"}')
    assert run("dpo", "smoke", "--model", base, "--data", data, *output) == 2
    assert "are for alignment sft, not for alignment dpo" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["sft", "grpo"])
@pytest.mark.parametrize(
    ("line", "options", "message"),
    [
        ('{"question": "q", "answer": ""}', (), "line 1: the text of the assistant is empty"),
        ('{"chosen": "a", "rejected": "b"}', (), "are for alignment dpo"),
        ("no file", ("--data", "nowhere.jsonl"), "No such file or directory: nowhere.jsonl"),
    ],
)
def test_a_file_without_examples_is_told_before_the_folder_is_touched(
    base, tmp_path, capsys, command, line, options, message
):
    (tmp_path / "own.jsonl").write_text(line)
    data = ("--data", tmp_path / "own.jsonl", "--output", tmp_path / "run")
    assert run(command, "smoke", "--model", base, *data, *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("sft", "smoke", "--num-examples", -4000),
            "--num-examples=-4000 must lie between 1 and 4",
        ),
        (("sft", "smoke", "--task", "sum"), "--num-examples=2000 must lie between 1 and 802"),
        (("grpo", "smoke", "--skip-examples", -5), "--skip-examples=-5 must lie between 0 and"),
        (("grpo", "smoke", "--task", "sum"), "--skip-examples=2000 must lie between 0 and 801"),
        (("evaluate", "greedy", "--show", -3), "--show must be at least 0, got -3"),
    ],
)
def test_counts_are_checked_against_the_task(
    base, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments, "--model", base) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [base]


def test_diverged_training_fails_and_saves_no_model(base, tmp_path):
    options = ("--model", base, "--output", tmp_path / "sft", "--optimizer.lr", "1e30")
    assert run("sft", "smoke", *options) != 0
    assert not (tmp_path / "sft" / "model").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("sft", "smoke", "--model", "nowhere"),
        ("grpo", "smoke", "--model", "nowhere"),
        ("evaluate", "sampled", "--model", "nowhere"),
        ("sft", "smoke", "--model", "nowhere", "--steps", "0"),
        ("sft", "smoke", "--no-such-option"),
        ("no-such-command",),
    ],
)
def test_bad_input_ends_with_exit_code_two(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_other_work_is_never_replaced(base, tmp_path, capsys, command, overwrite):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("years of work")
    output = ("--output", tmp_path / "work")
    assert run(command, "smoke", "--model", base, *output, *overwrite) == 2
    assert "holds thesis.tex and is not a run" in capsys.readouterr().err
    assert (tmp_path / "work" / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_a_model_folder_is_no_run(base, tmp_path, capsys, command):
    work = shutil.copytree(base, tmp_path / "work")
    (work / ".env").touch()
    names = {one.name for one in work.iterdir()}
    assert run(command, "smoke", "--model", base, "--output", work, "--overwrite") == 2
    assert "and is not a run" in capsys.readouterr().err
    assert {one.name for one in work.iterdir()} == names


@pytest.mark.parametrize(
    "options",
    [("--model", "nowhere"), ("--model", "{short}"), ("--task", "sum")],
    ids=lambda one: one[1],
)
@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_a_run_that_cannot_begin_replaces_none(
    base, make_model, tokenizer, tmp_path, command, options
):
    # Not even a question has room in it.
    save_model(make_model(context_length=4), tmp_path / "short", tokenizer=tokenizer)
    options = [one.format(short=tmp_path / "short") for one in options]
    words = (command, "smoke", "--model", base, "--output", tmp_path / "run", "--steps", 1)
    assert run(*words) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    assert run(*words, "--overwrite", *options) == 2
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_a_run_begins_anew_on_request(base, tmp_path, capsys):
    sft = ("sft", "smoke", "--model", base, "--output", tmp_path / "sft", "--steps")
    assert run(*sft, 1) == 0
    assert run(*sft, 2) == 2
    assert "replace this one by --overwrite" in capsys.readouterr().err
    assert run(*sft, 2, "--overwrite") == 0
    assert "after 2 steps" in capsys.readouterr().out

"""``basics train`` and ``basics report`` as people use them."""

import importlib.util
import logging
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from lm_basics import default_corpus
from lm_basics.commands import training_watch
from lm_basics.commands.main import main
from lm_basics.commands.train_recipes import RECIPES
from lm_basics.commands.training_watch import (
    TrainingWatch,
)
from lm_basics.export import load_model
from lm_basics.reports import load_setting, read_run
from lm_basics.token_files import encode_documents, write_token_file
from lm_basics.tokenizer import END_OF_TEXT, Tokenizer
from lm_basics.training import evaluate_loss
from lm_basics.training.samples import SamplesConfig, SampleWriter, read_samples
from lm_basics.transformer import COMPILES, TransformerLM
from lm_shared import display
from lm_shared.files import read_json, write_json
from lm_shared.metrics import read_metrics

pytestmark = pytest.mark.usefixtures("momentary")

Capture = pytest.CaptureFixture[str]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(one) for one in arguments])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.fixture
def data(tmp_path: Path) -> tuple[object, ...]:
    """Options that name a token file and its tokenizer."""
    tokenizer = Tokenizer(
        {i: bytes([i]) for i in range(256)} | {256: b"<|endoftext|>"}, [], [END_OF_TEXT]
    )
    tokenizer.save(tmp_path / "tokenizer")
    texts = ["to be or not to be, that is the question. " * 20]
    encode_documents(tokenizer, texts, tmp_path / "train.bin")
    return ("--tokens", tmp_path / "train.bin", "--tokenizer", tmp_path / "tokenizer")


@pytest.fixture
def train(tmp_path: Path, data: tuple[object, ...]) -> tuple[object, ...]:
    """A command line that trains for a moment."""
    small = ("--d-model", 16, "--num-layers", 1, "--context-length", 16, "--steps", 4)
    return ("train", "tiny", *data, "--output", tmp_path / "run", *small)


def test_a_run_leaves_samples_setting_and_report(
    tmp_path: Path, train: tuple[object, ...], capsys: Capture
) -> None:
    options = ("--validation", tmp_path / "train.bin", "--prompt", "to be", "--prompt", "is")
    assert run(*train, *options, "--sample-every", 3) == 0
    printed = capsys.readouterr().out
    assert "val_bits_per_byte " in printed
    folder = tmp_path / "run"
    assert [one.step for one in read_samples(folder / "samples.jsonl")[0]] == [3, 3, 4, 4]
    setting = load_setting(folder)
    assert setting is not None
    # A byte a token, but for the token behind the document.
    assert setting.bytes_per_token == pytest.approx(840 / 841)
    assert (setting.device, setting.ops) == ("cpu", "reference")
    page = (folder / "report.html").read_text()
    assert "Samples" in page
    (numbers,) = read_json(folder / "report.json")["runs"]
    assert numbers["is_finished"]
    assert numbers["mfu"] > 0
    assert f"wrote {folder / 'model'} and {folder / 'report.html'}" in printed


def test_samples_that_failed_are_made_up_for_and_no_step_is_done_again(
    tmp_path: Path, train: tuple[object, ...], capsys: Capture
) -> None:
    folder, samples = tmp_path / "run", tmp_path / "run" / "samples.jsonl"
    assert run(*train, "--prompt", "to be") == 0
    # Anew, and with a folder there, which no file can replace.
    shutil.rmtree(folder / "checkpoints")
    samples.unlink()
    samples.mkdir()
    assert run(*train, "--prompt", "to be") == 2
    assert "samples.jsonl" in capsys.readouterr().err
    samples.rmdir()
    for told in ("all steps were done before", "already finished"):
        assert run(*train, "--prompt", "to be") == 0
        assert f"{told}: 4 steps" in capsys.readouterr().out
    assert [one.step for one in read_samples(samples)[0]] == [4]


def test_a_run_that_goes_on_with_other_operations_or_elsewhere_says_so(
    tmp_path: Path, train: tuple[object, ...], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    assert run(*train) == 0
    setting = read_json(folder / "setting.json")
    for change in ({}, {"ops": "kernels"}, {"device": "cuda"}):
        write_json(folder / "setting.json", setting | change)
        shutil.rmtree(folder / "checkpoints")
        caplog.clear()
        assert run(*train) == 0
        assert ("goes on with reference ones on cpu" in caplog.text) == bool(change)


@pytest.mark.parametrize("keep_best", [False, True])
@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_the_exported_model_is_the_one_whose_validation_is_reported(
    tmp_path: Path,
    train: tuple[object, ...],
    ema_decay: float | None,
    keep_best: bool,
    capsys: Capture,
) -> None:
    held_out, folder = tmp_path / "held_out.bin", tmp_path / "run"
    # Of bytes that training never sees: the best step is the first.
    encode_documents(Tokenizer.from_folder(tmp_path / "tokenizer"), ["XYZ" * 50], held_out)
    options = ("--optimizer.lr", 1.0, "--validate-every", 1, "--validation", held_out)
    averaged = () if ema_decay is None else ("--ema-decay", ema_decay)
    best = ("--keep-best",) if keep_best else ()
    assert run(*train, *options, *averaged, *best, "--dtype", "float32") == 0
    printed = capsys.readouterr().out
    losses = [
        one["val_loss"] for one in read_metrics(folder / "metrics.jsonl") if "val_loss" in one
    ]
    reported = min(losses) if keep_best else losses[-1]
    assert min(losses) < losses[-1]
    tokens = np.fromfile(held_out, dtype=np.uint16)
    model = load_model(folder / "model")
    loss = evaluate_loss(model, tokens, first_context=int(tokens[-1])).nats_per_token
    assert loss == pytest.approx(reported, rel=1e-5)
    assert f"val_loss {reported:.4f}" in printed
    assert ("exported the best weights" in printed) == keep_best


def test_samples_are_those_of_the_exported_model(tmp_path: Path, train: tuple[object, ...]) -> None:
    options = ("--optimizer.lr", 1.0, "--ema-decay", 0.5, "--dtype", "float32")
    assert run(*train, *options, "--prompt", "to be", "--prompt", "is") == 0
    tokenizer = Tokenizer.from_folder(tmp_path / "tokenizer")
    writer = SampleWriter(
        tmp_path,
        tokenizer,
        SamplesConfig(prompts=("to be", "is")),
        stop_token=tokenizer.special_token_ids[END_OF_TEXT],
    )
    expected = writer.write(load_model(tmp_path / "run" / "model"), 4)
    assert read_samples(tmp_path / "run" / "samples.jsonl")[0] == expected


def test_a_part_of_the_held_out_tokens_may_do(
    tmp_path: Path, train: tuple[object, ...], capsys: Capture
) -> None:
    options = ("--validation", tmp_path / "train.bin")
    assert run(*train, *options, "--validation-tokens", 100) == 0
    line = read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]
    # A byte a token: the end of the document is not among the first hundred.
    assert line["val_bits_per_byte"] == pytest.approx(line["val_loss"] / math.log(2))
    assert run(*train, "--output", tmp_path / "x", *options, "--validation-tokens", 0) == 2
    assert "--validation-tokens must be at least 1, got 0" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_attention_can_keep_to_documents(tmp_path: Path, train: tuple[object, ...]) -> None:
    assert run(*train) == 0
    assert run(*train, "--output", tmp_path / "masked", "--mask-documents") == 0
    configs = [read_json(tmp_path / name / "config.json") for name in ("run", "masked")]
    assert configs[0]["documents"] is None
    assert configs[1]["documents"] is not None


def test_runs_are_compared(
    tmp_path: Path,
    train: tuple[object, ...],
    capsys: Capture,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert run(*train, "--validate-every", 2) == 0
    assert "nothing to validate on: --validation FILE names held-out tokens" in caplog.text
    trained = capsys.readouterr().out
    assert " parameters\n4 steps, 256 tokens, " in trained
    assert "validations" not in trained
    assert run(*train, "--output", tmp_path / "other", "--optimizer.lr", 0.001) == 0
    report = ("report", tmp_path / "run", tmp_path / "other", "--output", tmp_path / "report")
    assert run(*report) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "training.optimizer.lr" in page
    printed = capsys.readouterr().out
    assert "wrote" in printed
    assert "seconds include validations if any, loss is the mean of the last tenth" in printed
    assert run("report", tmp_path / "run", tmp_path / "run", "--output", tmp_path / "new") == 2
    assert "is given twice" in capsys.readouterr().err
    assert run("report", "--output", tmp_path / "new") == 2
    assert "expected at least one run folder, got none" in capsys.readouterr().err


def test_the_courses_recipes_are_the_courses() -> None:
    for name, vocab_size in (("tinystories", 10_000), ("openwebtext", 32_000)):
        model, training = RECIPES[name][1].resolve(vocab_size)
        assert training.steps * training.batch_size * model.context_length == 327_680_000
        assert (model.d_model, model.num_layers, model.context_length) == (512, 4, 256)
        assert model.pattern[0].attention.num_heads == 16
        assert model.pattern[0].feedforward.d_ff == 1344
        assert not model.pattern[0].attention.qk_norm


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_makes_a_model(name: str) -> None:
    model, training = RECIPES[name][1].resolve(4_096)
    assert model.vocab_size == 4_096
    assert training.steps > 0


def test_a_depth_is_enough(tmp_path: Path, data: tuple[object, ...]) -> None:
    depth = (
        "train",
        "depth",
        "--depth",
        1,
        "--context-length",
        16,
        "--steps",
        1,
        "--batch-size",
        2,
    )
    assert run(*depth, *data, "--output", tmp_path / "run") == 0
    config = read_run(tmp_path / "run").config
    assert config is not None
    assert (config.model.d_model, config.model.num_layers) == (64, 1)
    assert (config.training.steps, config.training.batch_size) == (1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--num-heads", 3), "--d-model=16 is not divisible by --num-heads=3"),
        (("--num-heads", 16), "RoPE rotates pairs: d_head=1 must be even"),
        (("--steps", 0), "steps must be positive, got 0"),
        (
            ("--batch-size", 60),
            "holds 841 tokens, too few for one batch of 60 sequences of 16: at ",
        ),
        (("--context-length", 2_000), "too few for one batch of 4 sequences of 2,000"),
        (("--device", "cuda"), "device 'cuda' was asked for, but this machine only has ['cpu']"),
        (("--keep-best", "--validate-every", 1), "--keep-best needs --validation FILE"),
        (
            ("--keep-best",),
            "error: --keep-best needs --validate-every=STEPS: nothing says which is best",
        ),
        (("--sample-every", 2), "--sample-every 2 needs a --prompt"),
        (
            ("--sample-every", -2, "--prompt", "a"),
            "--sample-every must be at least 1, got -2",
        ),
        (("--prompt", ""), "expected prompts that are not empty, got ['']"),
    ],
    ids=lambda one: "".join(map(str, one)) if isinstance(one, tuple) else "",
)
def test_bad_input_is_one_line_before_any_work(
    options: tuple[object, ...],
    message: str,
    tmp_path: Path,
    train: tuple[object, ...],
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert run(*train, *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("basics: error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "near"), [("--nun-heads", "--num-heads"), ("--optimizer.lt", "--optimizer.lr")]
)
def test_a_misspelt_option_gets_its_neighbour(
    option: str, near: str, tmp_path: Path, train: tuple[object, ...], capsys: Capture
) -> None:
    assert run(*train, option, 2) == 2
    error = capsys.readouterr().err
    assert option in error
    assert near in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [("--tensorboard",), ("--wandb", "project")], ids=" ".join)
def test_a_sink_that_is_not_installed_is_told_before_any_work(
    options: tuple[str, ...], tmp_path: Path, train: tuple[object, ...], capsys: Capture
) -> None:
    name = options[0].removeprefix("--")
    if importlib.util.find_spec(name) is not None:
        pytest.skip(f"{name} is installed")
    assert run(*train, *options) == 2
    assert f"{name} is not installed: add the extra" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_recipes_have_a_nearest_name_too(capsys: Capture) -> None:
    assert run("train", "tinystory", "--output", "x") == 2
    error = "basics: error: no recipe 'tinystory': did you mean tinystories?\n"
    assert capsys.readouterr().err == error


def test_tokens_outside_of_the_vocabulary_are_found_at_once(
    tmp_path: Path, train: tuple[object, ...], capsys: Capture
) -> None:
    tokens = bytearray((tmp_path / "train.bin").read_bytes())
    tokens[-1] = 0xFF
    (tmp_path / "train.bin").write_bytes(tokens)
    assert run(*train) == 2
    assert "holds the id 65280, but vocab_size is 257" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_another_tokenizer_than_the_tokens_is_refused(
    tmp_path: Path, train: tuple[object, ...], capsys: Capture
) -> None:
    write_token_file(tmp_path / "other.bin", [[1] * 900], vocab_size=9, vocab_hash="f" * 64)
    assert run(*train, "--tokens", tmp_path / "other.bin") == 2
    error = capsys.readouterr().err
    assert "it has 257 tokens and the hash " in error
    assert "the file 9 and ffffffffffff" in error


def test_a_prompt_needs_a_tokenizer_and_a_run_needs_tokens(
    tmp_path: Path, data: tuple[object, ...], capsys: Capture
) -> None:
    output = ("--output", tmp_path / "run")
    assert run("train", "tiny", *data[:2], *output, "--prompt", "to") == 2
    assert "--prompt 'to' needs --tokenizer" in capsys.readouterr().err
    assert run("train", "tinystories", *output) == 2
    expected = "there is nothing to train on: give --tokens FILE, as basics encode writes it, or "
    assert f"{expected}--default-corpus" in capsys.readouterr().err
    assert run("train", "tiny", *data, "--output", tmp_path / "train.bin") == 2
    assert "train.bin is a file, expected a folder to write to" in capsys.readouterr().err
    assert run("train", "default", *output, "--validation", tmp_path / "train.bin") == 2
    assert "needs --tokens: the default corpus has its own" in capsys.readouterr().err
    assert run("train", "default", *output, "--num-heads", 3) == 2
    assert "--d-model=256 is not divisible by --num-heads=3" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_progress_is_logged_where_there_is_no_terminal(
    train: tuple[object, ...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(display, "LOG_INTERVAL_S", 0.0)
    with caplog.at_level(logging.INFO):
        assert run(*train, "--prompt", "to be") == 0
    lines = [one for one in caplog.messages if one.startswith("train: ")]
    assert [line.split(",")[0] for line in lines] == [
        f"train: {i} of 4 steps" for i in (1, 2, 3, 4)
    ]
    assert "bits per byte" in lines[0]
    assert any(one.startswith("sample after 4 steps: to be|") for one in caplog.messages)


@pytest.mark.parametrize("name", ["model.safetensors", ".git", "thesis.tex"])
def test_a_folder_with_settings_of_its_own_is_no_run(
    tmp_path: Path, data: tuple[object, ...], name: str
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    for one in (name, "config.json"):
        (work / one).write_text("work")
    for options in (data, (*data, "--overwrite"), (), ("--overwrite",)):
        assert run("train", "default", *options, "--output", work) == 2
        assert {one.name for one in work.iterdir()} == {name, "config.json"}


def test_the_corpus_is_not_written_beside_a_run_on_other_tokens(
    tmp_path: Path, train: tuple[object, ...], capsys: Capture
) -> None:
    assert run(*train) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    assert run("train", "default", "--output", tmp_path / "run") == 2
    assert "holds a run of another configuration (" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_the_corpus_is_not_written_beside_a_run_of_the_same_settings_on_other_tokens(
    tmp_path: Path, data: tuple[object, ...], capsys: Capture
) -> None:
    settings = ("train", "tiny", "--steps", 1, "--output", tmp_path / "run")
    # As the default corpus has: the model is the same then.
    vocab = {i: bytes([i]) for i in range(256)} | {256: b"<|endoftext|>"}
    vocab |= {i: b"%d" % i for i in range(257, 4_096)}
    encode_documents(Tokenizer(vocab, [], [END_OF_TEXT]), ["to be " * 200], tmp_path / "a.bin")
    assert run(*settings, "--tokens", tmp_path / "a.bin") == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    assert run(*settings) == 2
    assert "holds a run of another configuration (data" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_a_run_begins_anew_on_request_and_keeps_what_is_foreign(
    tmp_path: Path, train: tuple[object, ...], capsys: Capture
) -> None:
    assert run(*train) == 0
    assert run(*train, "--overwrite", "--seed", 1) == 0
    (tmp_path / "run" / ".env").touch()
    capsys.readouterr()
    assert run(*train, "--overwrite", "--seed", 2) == 2
    assert "holds .env and is not a run" in capsys.readouterr().err
    assert (tmp_path / "run" / "receipt.json").is_file()


def test_the_default_corpus_needs_no_token_file(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Measuring the whole held-out part would take most of the time.
    documents = default_corpus.read_default_corpus()[::8]
    monkeypatch.setattr(default_corpus, "read_default_corpus", lambda: documents)
    seen: list[int | None] = []

    class Watch(TrainingWatch):
        def validate(self, model: TransformerLM) -> dict[str, float]:
            seen.append(self.num_validation_tokens)
            self.num_validation_tokens = 1_000
            return super().validate(model)

    monkeypatch.setattr(training_watch, "TrainingWatch", Watch)
    small = ("--d-model", 16, "--num-layers", 1, "--num-heads", 2, "--context-length", 64)
    options = ("--steps", 1, "--batch-size", 2, "--output", tmp_path / "run")
    assert run("train", "default", *small, *options, "--prompt", "The") == 0
    assert "val_bits_per_byte" in capsys.readouterr().out
    assert seen == [65_536]
    assert (tmp_path / "run" / "data" / "train.bin").is_file()


@pytest.mark.slow
@pytest.mark.compiled
# torch's own compiler warns of torch's own code while it is imported.
@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_a_compiled_run_has_the_losses_of_a_plain_one(
    tmp_path: Path, train: tuple[object, ...], caplog: pytest.LogCaptureFixture
) -> None:
    assert run(*train, "--dtype", "float32") == 0
    with caplog.at_level(logging.INFO):
        compiled_run = ("--compile", "--output", tmp_path / "compiled")
        assert run(*train, "--dtype", "float32", *compiled_run) == 0
    assert COMPILES in caplog.messages
    plain, compiled = (read_run(tmp_path / name) for name in ("run", "compiled"))
    assert compiled.training.loss == pytest.approx(plain.training.loss, rel=1e-4)
    assert compiled.setting is not None
    assert compiled.setting.ops == "compiled"

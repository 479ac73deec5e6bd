"""Reports on runs that finished, that did not, and that are damaged."""

import contextlib
import json
import math
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch

from lm_basics.accounting import count_parameters, training_flops_per_token
from lm_basics.model_config import TransformerConfig, uniform_transformer
from lm_basics.reports import (
    RunSetting,
    read_run,
    read_runs,
    save_setting,
    summarize_runs,
    training_report_page,
)
from lm_basics.reports.curves import Curve
from lm_basics.reports.page import _series
from lm_basics.training import StepReport, TrainingConfig, train
from lm_basics.transformer import TransformerLM
from lm_shared.files import read_json, write_json
from lm_shared.report import distinct_names

pytestmark = pytest.mark.usefixtures("momentary")

TOKENS = np.random.default_rng(0).integers(0, 30, 500).astype(np.uint16)
SETTING = RunSetting(
    vocab_hash="a",
    bytes_per_token=4.0,
    validation_bytes_per_token=2.0,
    device="cpu",
    ops="reference",
    dtype="float32",
    peak_flops=1e9,
    peak_source="measured product",
)


def shape(vocab_size: int = 30) -> TransformerConfig:
    return uniform_transformer(
        vocab_size=vocab_size, context_length=8, d_model=16, num_layers=1, num_heads=2
    )


def make_run(
    folder: Path,
    *,
    steps: int = 20,
    vocab_size: int = 30,
    killed_at: int | None = None,
    seed: int = 0,
) -> Path:
    """Train something small whose validations find 1, 2, 3, … nats per token."""
    found: list[float] = []

    def validate(_: TransformerLM) -> dict[str, float]:
        found.append(len(found) + 1.0)
        return {"val_loss": found[-1]}

    def kill(report: StepReport) -> None:
        if report.step == killed_at:
            raise KeyboardInterrupt

    torch.manual_seed(0)
    config = TrainingConfig(steps=steps, batch_size=2, validate_every=5, seed=seed)
    model = TransformerLM(shape(vocab_size))
    with contextlib.suppress(KeyboardInterrupt):
        train(model, TOKENS, config, folder=folder, validate=validate, on_step=kill)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to read, or to copy before something happens to it."""
    return make_run(tmp_path_factory.mktemp("finished") / "run")


def page_of(*folders: Path) -> str:
    curves = read_runs(folders)
    return training_report_page(curves, summarize_runs(curves)).to_html()


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_final_numbers_are_those_of_the_record(finished: Path, tmp_path: Path) -> None:
    folder = copytree(finished, tmp_path / "run")
    save_setting(SETTING, folder)
    (run,) = summarize_runs(read_runs([folder])).runs
    losses = [line["loss"] for line in metrics(folder) if "loss" in line]
    tokens = 20 * 2 * 8
    assert (run.name, run.is_finished, run.steps, run.planned_steps) == ("run", True, 20, 20)
    assert (run.tokens, run.parameters) == (tokens, count_parameters(shape()))
    assert run.training_loss == pytest.approx((losses[-1] + losses[-2]) / 2)
    assert run.training_loss is not None
    assert run.training_bits_per_byte == pytest.approx(run.training_loss / math.log(2) / 4)
    assert run.validation_loss == 4.0
    assert run.validation_bits_per_byte == pytest.approx(4.0 / math.log(2) / 2)
    assert run.flops == tokens * training_flops_per_token(shape(), 8)
    assert run.elapsed_s is not None
    assert run.flops is not None
    assert run.mfu == pytest.approx(run.flops / run.elapsed_s / 1e9)


def test_the_seconds_of_a_finished_run_are_those_of_its_receipt(
    finished: Path, tmp_path: Path
) -> None:
    folder = copytree(finished, tmp_path / "run")
    receipt = read_json(folder / "receipt.json")
    write_json(folder / "receipt.json", receipt | {"wall_s": 1234.5})
    (run,) = summarize_runs(read_runs([folder])).runs
    assert run.elapsed_s == 1234.5
    write_json(folder / "receipt.json", receipt | {"wall_s": "long"})
    (run,) = summarize_runs(read_runs([folder])).runs
    assert run.elapsed_s == read_run(folder).training.elapsed_s[-1]
    assert "the receipt cannot be read" in run.problems[0]


def test_curves_know_steps_tokens_flops_and_time(finished: Path) -> None:
    run = read_run(finished)
    assert run.training.steps.tolist() == list(range(1, 21))
    assert run.training.tokens.tolist() == [16.0 * step for step in range(1, 21)]
    assert run.validation.steps.tolist() == [5, 10, 15, 20]
    assert run.validation.loss.tolist() == [1, 2, 3, 4]
    # A validation stands at the time of its training step: measuring is no training.
    for name in ("tokens", "flops", "elapsed_s"):
        at_steps = getattr(run.training, name)[4::5]
        assert getattr(run.validation, name).tolist() == at_steps.tolist()


@pytest.mark.usefixtures("drawn")
def test_a_page_overlays_runs_and_lists_what_differs(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name / "run", seed=seed) for seed, name in enumerate("ab")]
    page = page_of(*runs)
    for text in ("Loss against steps.", "Loss against tokens.", "floating-point", "seconds of"):
        assert text in page
    assert page.count("<svg") == 4
    # The names are as long as it takes to tell them apart.
    assert "a/run" in page
    assert str(tmp_path) not in page
    assert "training.seed" in page
    assert "training.steps" not in page
    assert "different tokenizers" not in page
    assert "learned from different tokens" not in page
    config = read_json(runs[0] / "config.json")
    write_json(runs[1] / "config.json", config)
    assert "None." in page_of(*runs)
    write_json(runs[1] / "config.json", config | {"data": "other"})
    assert "learned from different tokens" in page_of(*runs)


def test_an_unfinished_run_is_shown_as_far_as_it_came(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", killed_at=7)
    (run,) = summarize_runs(read_runs([folder])).runs
    assert (run.is_finished, run.steps, run.planned_steps) == (False, 7, 20)
    assert "run is unfinished: 7 of 20 steps are recorded." in page_of(folder)


@pytest.mark.usefixtures("drawn")
def test_a_run_without_a_validation_has_its_curves(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "run", killed_at=3))
    assert page.count("<svg") == 4
    assert "No run tells" not in page


def test_damaged_lines_are_left_out_and_counted(finished: Path, tmp_path: Path) -> None:
    folder = copytree(finished, tmp_path / "run")
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = b"\x00\xff{\n"
    lines[4] = b'["no", "object"]\n'
    path.write_bytes(b"".join(lines))
    assert "2 of 24 lines of metrics.jsonl are damaged" in page_of(folder)
    assert 4 not in read_run(folder).training.steps
    lines[4] = lines[5]
    path.write_bytes(b"".join(lines))
    assert "1 of 24 lines of metrics.jsonl are damaged" in page_of(folder)
    # What a kill has cut off is no fault, unless there is another.
    path.write_bytes(b"".join(lines)[:-5])
    assert "2 of 24 lines of metrics.jsonl are damaged" in page_of(folder)
    path.write_bytes(b"".join(lines[4:])[:-5])
    assert "damaged" not in page_of(folder)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("config.json", b"{", "the configuration cannot be read"),
        ("setting.json", b"{}", "the setting cannot be read"),
        ("metrics.jsonl", None, "there is no metrics.jsonl"),
        ("config.json", None, "the configuration cannot be read"),
        ("samples.jsonl", b"x\n", "1 of 1 lines of samples.jsonl are damaged"),
        ("samples.jsonl", b'{"step": 1}\n', "1 of 1 lines of samples.jsonl are damaged"),
        ("samples.jsonl", b"", ""),
    ],
)
def test_a_report_survives_any_damaged_file(
    name: str, content: bytes | None, problem: str, finished: Path, tmp_path: Path
) -> None:
    broken = copytree(finished, tmp_path / "broken")
    if content is None:
        (broken / name).unlink()
    else:
        (broken / name).write_bytes(content)
    page = page_of(finished, broken)
    assert problem in page
    assert ("broken is damaged" in page) == bool(problem)


def test_a_diverged_run_has_a_curve_up_to_there(finished: Path, tmp_path: Path) -> None:
    folder = copytree(finished, tmp_path / "run")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 21, "elapsed_s": 99.0, "loss": "nan", "tokens": 336}\n')
    (run,) = summarize_runs(read_runs([folder])).runs
    assert run.training_loss is None
    assert page_of(folder).count("<svg") == 4
    drawn = _series({"run": read_run(folder)}, "steps", {"run": 1.0}, is_training=True)
    assert drawn["run"][0] == [*range(1, 21)]


def test_losses_of_different_tokenizers_are_warned_about(finished: Path, tmp_path: Path) -> None:
    runs = [copytree(finished, tmp_path / "a"), make_run(tmp_path / "b", vocab_size=40)]
    page = page_of(*runs)
    assert "different tokenizers (vocabularies: a 30, b 40)" in page
    assert "nats per token</text>" in page
    # With the bytes known, the figures show what can be compared.
    for folder, vocab_hash in zip(runs, "ab", strict=True):
        save_setting(replace(SETTING, vocab_hash=vocab_hash), folder)
    page = page_of(*runs)
    assert "bits per byte</text>" in page
    assert "nats per token</text>" not in page
    assert "Peak of the MFU: measured product." in page


def test_equal_sizes_do_not_make_equal_tokenizers(finished: Path, tmp_path: Path) -> None:
    runs = [copytree(finished, tmp_path / name) for name in "ab"]
    for folder, vocab_hash in zip(runs, "ab", strict=True):
        save_setting(replace(SETTING, vocab_hash=vocab_hash), folder)
    (warning,) = summarize_runs(read_runs(runs)).warnings
    assert "different tokenizers" in warning


@pytest.mark.parametrize(("num_points", "num_averaged"), [(0, 1), (1, 1), (300, 1), (900, 3)])
def test_only_long_curves_are_averaged(num_points: int, num_averaged: int, finished: Path) -> None:
    steps = np.arange(1.0, num_points + 1)
    curve = Curve(steps=steps, tokens=steps, flops=steps, elapsed_s=steps, loss=2 * steps)
    runs = {"run": replace(read_run(finished), training=curve)}
    means = steps.reshape(-1, num_averaged).mean(1)
    expected = {"run": (means.tolist(), (means / 2).tolist())} if num_points else {}
    assert _series(runs, "steps", {"run": 0.25}, is_training=True) == expected


def test_what_is_no_run_is_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one run folder, got none"):
        read_runs([])
    with pytest.raises(FileNotFoundError, match=r"there is no run folder .*absent"):
        read_runs([tmp_path / "absent"])
    with pytest.raises(ValueError, match=r"is no run folder: it has no config\.json"):
        read_runs([tmp_path])
    with pytest.raises(ValueError, match="given twice"):
        read_runs([finished, finished / ".." / finished.name])


def test_a_folder_with_another_command_s_configuration_is_a_problem(tmp_path: Path) -> None:
    write_json(tmp_path / "run" / "config.json", {"lr": 1})
    (run,) = summarize_runs(read_runs([tmp_path / "run"])).runs
    assert (run.steps, run.training_loss) == (0, None)
    assert "No run tells its steps." in page_of(tmp_path / "run")


def test_names_are_as_short_as_they_can_be() -> None:
    assert distinct_names([Path("x/a/run"), Path("x/b/run")]) == ["a/run", "b/run"]
    assert distinct_names([Path("x/a"), Path("y/b")]) == ["a", "b"]
    assert distinct_names([]) == []

"""Studies: equal budgets, paired starts, runs that survive kills, results, report and command."""

import logging
import math
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from basics.tests.ablation_studies import BASE, MODEL, SLOW, TRAINING, VOCAB, WILD, study_of
from lm_basics.ablation import (
    STUDIES,
    BaseRecipe,
    SeedPlan,
    Study,
    StudyData,
    StudyResults,
    run_study,
    shipped_study,
)
from lm_basics.ablation.page import markdown_table, study_page
from lm_basics.ablation.results import Outcome, wanted_seeds
from lm_basics.ablation.runner import build_paired_model
from lm_basics.accounting import count_parameters
from lm_basics.commands.main import main
from lm_basics.model_config import MLPConfig
from lm_basics.optim import AdamWConfig
from lm_basics.token_files import write_token_file
from lm_shared import display
from lm_shared.config import from_dict, load_config, to_dict
from lm_shared.files import read_json
from lm_shared.runs import read_metrics

pytestmark = pytest.mark.usefixtures("momentary")


@pytest.fixture
def data(tmp_path: Path) -> StudyData:
    rng = np.random.default_rng(0)
    paths = []
    for name, size in (("train", 2_000), ("validation", 200)):
        # Each token is mostly the successor of the one before: something to learn.
        ids = (np.cumsum(rng.choice([1, 2], size)) % VOCAB).tolist()
        path = tmp_path / f"{name}.bin"
        write_token_file(path, [ids], vocab_size=VOCAB, vocab_hash="")
        paths.append(path)
    return StudyData(
        train=paths[0],
        validation=paths[1],
        token_num_bytes=np.full(VOCAB, 2),
        end_of_text=0,
    )


def test_steps_are_scaled_to_equal_flops_within_half_a_step() -> None:
    wide = replace(BASE, name="wide", model=replace(MODEL, num_layers=3))
    batch = replace(BASE, name="batch", training=replace(TRAINING, batch_size=3))
    base, *others = study_of(wide, batch).arms()
    assert base.training.steps == 12
    for arm in others:
        assert abs(arm.flops - base.flops) <= arm.flops_per_step / 2
    assert others[0].training.steps < 12
    assert others[1].training.steps == 16


def test_steps_are_scaled_to_equal_tokens_if_asked() -> None:
    wide = replace(BASE, name="wide", model=replace(MODEL, num_layers=3))
    batch = replace(BASE, name="batch", training=replace(TRAINING, batch_size=3))
    arms = replace(study_of(wide, batch), budget="tokens").arms()
    assert [arm.training.steps for arm in arms] == [12, 12, 16]


def test_a_step_that_costs_more_than_the_base_is_refused() -> None:
    huge = replace(BASE, name="huge", training=replace(TRAINING, batch_size=1_000))
    with pytest.raises(ValueError, match="huge: one step needs"):
        study_of(huge).arms()


def test_senseless_studies_are_refused() -> None:
    with pytest.raises(ValueError, match="different names, got"):
        study_of(BASE)
    with pytest.raises(ValueError, match="different names, got"):
        study_of()
    with pytest.raises(ValueError, match="got 'a/b'"):
        replace(BASE, name="a/b")
    with pytest.raises(ValueError, match="num_validations must be positive, got 0"):
        replace(study_of(SLOW), num_validations=0)


def test_variants_start_as_the_base_wherever_shapes_allow() -> None:
    # Of another size: one of equal size would draw as many numbers and hide what is tested.
    block = replace(MODEL.block(0), feedforward=MLPConfig(d_ff=80))
    variant = replace(MODEL, pattern=(block,))
    theirs = build_paired_model(MODEL, MODEL, seed=3).state_dict()
    ours = build_paired_model(variant, MODEL, seed=3).state_dict()
    for name, value in ours.items():
        if ".ffn." not in name:
            torch.testing.assert_close(value, theirs[name], rtol=0, atol=0)
    assert ours["layers.0.ffn.w1.weight"].shape == (80, 24)
    other = build_paired_model(MODEL, MODEL, seed=4).state_dict()
    assert not torch.equal(other["lm_head.weight"], theirs["lm_head.weight"])


def test_another_way_to_initialize_is_not_overwritten_by_the_bases() -> None:
    zero = build_paired_model(replace(MODEL, zero_init_residual=True), MODEL, seed=0)
    assert not zero.state_dict()["layers.0.attn.output_proj.weight"].any()
    tied = build_paired_model(replace(MODEL, tie_embeddings=True), MODEL, seed=0)
    assert tied.token_embeddings.weight.std().item() == pytest.approx(24**-0.5, rel=0.2)


def test_building_models_leaves_the_global_random_state() -> None:
    before = torch.random.get_rng_state()
    build_paired_model(MODEL, MODEL, seed=0)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_study_finds_that_a_tiny_rate_is_worse(data: StudyData, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    results = run_study(study_of(SLOW), data, folder, seeds=3)
    (slow,) = results.comparisons
    assert slow.verdict == "worse"
    assert slow.effect is not None
    assert slow.effect.num_pairs == 3
    base = results.arms[0]
    assert [point.step for point in base.curve] == [4, 8, 12]
    assert base.loss == pytest.approx(base.curve[-1].loss)
    # Two bytes a token.
    assert base.loss is not None
    assert base.bits_per_byte == pytest.approx(base.loss / math.log(2) / 2)
    assert load_config(StudyResults, folder / "results.json") == results
    assert load_config(Study, folder / "study.json") == study_of(SLOW)
    assert not list(folder.rglob("*.safetensors"))


def test_arms_of_one_seed_see_the_same_data(data: StudyData, tmp_path: Path) -> None:
    same = replace(BASE, name="same")
    results = run_study(study_of(same), data, tmp_path / "out", seeds=2)
    losses = {(one.arm, one.seed): one.loss for one in results.outcomes}
    assert losses["same", 0] == losses["base", 0] != losses["base", 1]
    assert results.comparisons[0].verdict == "not told apart"


def test_a_diverged_run_is_a_result(data: StudyData, tmp_path: Path) -> None:
    results = run_study(study_of(SLOW, WILD), data, tmp_path / "out", seeds=2)
    slow, wild = results.comparisons
    assert (wild.verdict, wild.effect, wild.p_adjusted) == ("diverged", None, None)
    assert results.arms[2].num_diverged == 2
    assert results.arms[2].loss is None
    failures = [one.failure for one in results.outcomes if one.arm == "wild"]
    assert all(failure and "loss" in failure for failure in failures)
    assert slow.effect is not None
    table = markdown_table(results)
    assert "| wild | 12 |  |  |  |  |  | 2 of 2 diverged |  |" in table
    # It ran once: the second call only reads.
    again = run_study(study_of(SLOW, WILD), data, tmp_path / "out", seeds=2)
    assert again == results


def test_a_diverged_base_leaves_nothing_to_compare_with(data: StudyData, tmp_path: Path) -> None:
    wild = replace(WILD, name="base")
    results = run_study(
        study_of(SLOW, base=wild), data, tmp_path / "out", seeds=SeedPlan(num_pilot=2)
    )
    assert len(results.seeds) == 2
    assert results.comparisons[0].verdict == "diverged"
    assert "| slow | 12 |" in markdown_table(results)
    assert "the base diverged" in markdown_table(results)
    study_page(results).to_html()


def test_ended_runs_are_not_repeated_and_seeds_can_be_added(
    data: StudyData, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    first = run_study(study_of(SLOW), data, folder, seeds=2)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("outcome.json")}
    assert len(times) == 4
    seen: list[Outcome] = []
    more = run_study(study_of(SLOW), data, folder, seeds=3, on_run=seen.append)
    assert len(seen) == 6
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert set(first.outcomes) < set(more.outcomes)


@pytest.mark.slow
def test_runs_side_by_side_give_the_same_results(data: StudyData, tmp_path: Path) -> None:
    serial = run_study(study_of(SLOW), data, tmp_path / "serial", seeds=1)
    parallel = run_study(study_of(SLOW), data, tmp_path / "parallel", seeds=1, jobs=2)
    for one, other in zip(serial.outcomes, parallel.outcomes, strict=True):
        assert replace(one, elapsed_s=0.0) == replace(other, elapsed_s=0.0)


def test_a_killed_study_goes_on_and_ends_with_the_same_losses(
    data: StudyData, tmp_path: Path
) -> None:
    long = replace(BASE, training=replace(TRAINING, steps=90))
    study, folder = study_of(replace(SLOW, training=long.training), base=long), tmp_path / "out"
    whole = run_study(study, data, tmp_path / "whole", seeds=1)
    program = (
        "import pickle, sys; from pathlib import Path; from lm_basics.ablation import run_study\n"
        "study, data, folder = pickle.load(open(sys.argv[1], 'rb'))\n"
        "run_study(study, data, folder, seeds=1)"
    )
    arguments = tmp_path / "arguments.pickle"
    arguments.write_bytes(pickle.dumps((study, data, folder)))
    process = subprocess.Popen([sys.executable, "-c", program, str(arguments)])
    metrics = folder / "runs" / "base" / "seed-0" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    # In the second third: there is a checkpoint, and there are steps after it to lose.
    while not metrics.exists() or len(read_metrics(metrics)) < 40:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (metrics.parent / "outcome.json").exists()
    assert list(metrics.parent.rglob("*.safetensors"))
    resumed = run_study(study, data, folder, seeds=1)
    for one, other in zip(resumed.outcomes, whole.outcomes, strict=True):
        assert replace(one, elapsed_s=0.0) == replace(other, elapsed_s=0.0)


def test_another_study_in_the_folder_is_refused(data: StudyData, tmp_path: Path) -> None:
    run_study(study_of(SLOW), data, tmp_path / "out", seeds=1)
    other = replace(SLOW, training=replace(TRAINING, optimizer=AdamWConfig(lr=2e-5)))
    with pytest.raises(ValueError, match="holds another study"):
        run_study(study_of(other), data, tmp_path / "out", seeds=1)
    fewer = replace(data, num_validation_tokens=100)
    with pytest.raises(ValueError, match="holds a run with other settings or data"):
        run_study(study_of(SLOW), fewer, tmp_path / "out", seeds=1)


def test_bad_arguments_are_refused_before_anything_runs(data: StudyData, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seeds=0 and jobs=1 must be positive"):
        run_study(study_of(SLOW), data, tmp_path / "out", seeds=0)
    too_many = replace(data, num_validation_tokens=201)
    with pytest.raises(ValueError, match="holds 200 tokens, num_validation_tokens=201"):
        run_study(study_of(SLOW), too_many, tmp_path / "out", seeds=1)
    assert not (tmp_path / "out").exists()


def test_a_plan_runs_as_many_seeds_as_its_pilot_asks_for(data: StudyData, tmp_path: Path) -> None:
    # The effect is chosen so large that few seeds do, and more than the pilot.
    study = study_of(SLOW)
    pilot = run_study(study, data, tmp_path / "out", seeds=2)
    spread = pilot.comparisons[0].effect
    assert spread is not None
    assert spread.sd is not None
    # With one degree of freedom the quantiles are 12.71 and 3.08.
    plan = SeedPlan(effect=spread.sd * 15.8 / 4**0.5, num_pilot=2, max_seeds=6)
    assert wanted_seeds(study, pilot.outcomes, plan) == 4
    results = run_study(study, data, tmp_path / "out", seeds=plan)
    assert (len(results.seeds), results.wanted_seeds, results.num_pilot) == (4, 4, 2)
    limited = run_study(study, data, tmp_path / "out", seeds=replace(plan, max_seeds=3))
    assert (len(limited.seeds), limited.wanted_seeds) == (3, 4)
    assert "3 paired seeds, of which 2 decided the number" in markdown_table(limited)
    assert "Only 3 of them ran" in study_page(limited).to_html()
    assert "of them ran" not in study_page(results).to_html()


def test_the_shipped_studies_differ_from_their_base_in_one_thing() -> None:
    assert {"norm", "position", "feedforward", "learning-rate", "batch-size", "optimizer"} == set(
        STUDIES
    )
    for name in STUDIES:
        study = shipped_study(name, BaseRecipe())
        base, *variants = study.arms()
        for arm in variants:
            assert arm.model != base.model or arm.training != base.training
            assert 2 * abs(arm.flops - base.flops) <= arm.flops_per_step
        assert from_dict(Study, to_dict(study)) == study


def test_the_layer_without_a_gate_is_of_equal_size() -> None:
    base, silu = shipped_study("feedforward", BaseRecipe()).arms()
    assert count_parameters(base.model) == count_parameters(silu.model)
    assert base.training.steps == silu.training.steps


def test_models_without_norms_have_none_and_others_differ_in_their_places() -> None:
    arms = {arm.name: arm for arm in shipped_study("norm", BaseRecipe()).arms()}
    names = {
        name: set(build_paired_model(arm.model, arm.model, seed=0).state_dict())
        for name, arm in arms.items()
    }
    assert not any("ln" in key for key in names["no-norm"])
    assert names["base"] - names["post-norm"] == {"ln_final.weight"}
    rates = [arms[name].training.optimizer for name in ("no-norm", "no-norm-lower-lr")]
    assert all(isinstance(one, AdamWConfig) for one in rates)
    assert rates[1].lr < rates[0].lr


def test_the_command_runs_a_shipped_study_and_writes_its_report(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "out"
    monkeypatch.setattr(display, "LOG_INTERVAL_S", 0.0)
    small = "--d-model 24 --num-layers 1 --num-heads 2 --context-length 16 --vocab-size 300"
    arguments = f"ablate position --output {folder} --seeds 2 --steps 4 --batch-size 2 {small}"
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit) as stopped:
        main([*arguments.split(), "--validation-tokens", "64"])
    assert stopped.value.code == 0, capsys.readouterr().err
    # The first of the two arms is the base, and all of its steps come before those of the others.
    told = [one for one in caplog.messages if one.startswith("ablate position: ")]
    assert re.fullmatch(r"ablate position: 3 of \d+, base, seed 0: loss \d\.\d{4}", told[2])
    assert told[4] == re.sub(r"3 of (\d+),.*", r"4 of \1, base, seed 0: done", told[2])
    assert re.match(r"ablate position: (\d+) of \1, \S+, seed 1: done", told[-1])
    assert any(one.startswith("learning 300 tokens from the default") for one in caplog.messages)
    printed = capsys.readouterr().out
    assert "nope" in printed
    assert "2 paired seeds." in printed
    results = read_json(folder / "results.json")
    effect = results["comparisons"][0]["effect"]
    assert "± 95%" in printed
    assert f" {effect['high'] - effect['mean']:.4f} " in printed
    # Nothing is left to train where the pilot is enough.
    with pytest.raises(SystemExit) as stopped:
        main([*arguments.split(), "--validation-tokens", "64", "--detect", "1000"])
    assert stopped.value.code == 0
    assert "2 paired seeds, of which 2 decided the number" in capsys.readouterr().out
    assert "<svg" in (folder / "report.html").read_text()
    assert results["study"] == "position"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    for option, value in (("--seeds", "0"), ("--jobs", "0"), ("--validation-tokens", "999999999")):
        with pytest.raises(SystemExit) as stopped:
            main([*arguments.split(), "--validation-tokens", "64", "--overwrite", option, value])
        assert stopped.value.code == 2, option
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    shutil.rmtree(folder / "data")
    with pytest.raises(SystemExit) as stopped:
        main([*arguments.split(), "--validation-tokens", "64", "--steps", "5"])
    assert stopped.value.code == 2
    assert "holds another study" in capsys.readouterr().err
    assert not (folder / "data").exists()
    with pytest.raises(SystemExit) as stopped:
        main([*arguments.split(), "--validation-tokens", "64", "--overwrite", "--seeds", "1"])
    assert stopped.value.code == 0
    shutil.rmtree(folder)

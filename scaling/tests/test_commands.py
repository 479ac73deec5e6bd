import json
import math
import shlex
import sys
from pathlib import Path

import pytest
import torch

from lm_scaling.commands.laws import read_candidates
from lm_scaling.commands.main import main
from lm_scaling.experiment import ExperimentResult
from lm_scaling.laws.parametric import ParametricLaw
from lm_scaling.laws.parametric_fit import ParametricFit, fit_parametric
from lm_scaling.laws.points import ScalingPoint, read_points, write_points
from lm_scaling.laws.small_sample import SmallSampleFit, fit_small_sample
from lm_scaling.planner import Plan, plan
from lm_shared.config import load_config
from lm_shared.files import lock_folder
from scaling.tests.conftest import grid_points


@pytest.fixture
def table(tmp_path: Path, tiny_law: ParametricLaw) -> Path:
    points = grid_points(tiny_law, (3.5e5, 7.5e5, 1.5e6), (2e5, 4e5, 8e5))
    write_points(points, tmp_path / "runs.json")
    return tmp_path / "runs.json"


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    path = tmp_path / "candidates.json"
    rows = [
        {"name": "small", "parameters": 1e6, "flops_per_token": 6e6, "seconds_per_token": 6e-5},
        {"name": "large", "parameters": 5e6, "flops_per_token": 3e7, "seconds_per_token": 3e-4},
    ]
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["scaling", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0)

    return run


def test_fit_prints_the_law_and_writes_it(run, table: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "fit.json"
    assert run("fit", table, "--budgets", "1e14", "--output", output) == 0
    assert load_config(ParametricFit, output) == fit_parametric(read_points(table))
    printed = capsys.readouterr().out
    assert printed.startswith("L = 2.0000 + 60")
    assert "9 runs" in printed
    assert "C 1e+14: N " in printed


def test_fit_says_how_to_plan_where_a_sweep_left_candidates(
    run, table: Path, candidates: Path, capsys
) -> None:
    assert run("fit", table) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(f"next: uv run scaling plan {table} {candidates} --budget-flops ")
    assert run(*shlex.split(line.removeprefix("next: uv run scaling "))) == 0
    assert "10.0 times the largest run's compute" in capsys.readouterr().out
    candidates.unlink()
    assert run("fit", table) == 0
    assert "next:" not in capsys.readouterr().out


def test_fit_answers_the_course_question(run, tables: Path, capsys) -> None:
    table = tables / "isoflops_curves.json"
    options = ["--law", "isoflop", "--valley", "minimum", "--budgets", "1e23", "1e24"]
    assert run("fit", table, *options) == 0
    printed = capsys.readouterr().out
    assert "N_opt = 1.1634 * C^0.46868" in printed
    assert "C 1e+23: N 7.005e+10, D 2.379e+11" in printed
    assert "C 1e+24: N 2.061e+11, D 8.086e+11" in printed


def test_fit_offers_the_law_for_few_runs(run, table: Path, capsys) -> None:
    output = table.with_name("fit.json")
    assert run("fit", table, "--law", "small-sample", "--output", output) == 0
    printed = capsys.readouterr().out
    assert "9 runs" in printed
    assert f"wrote {output}" in printed
    assert load_config(SmallSampleFit, output) == fit_small_sample(read_points(table))


def test_plan_chooses_and_writes_what_the_library_does(
    run, table: Path, candidates: Path, tmp_path: Path, capsys
) -> None:
    output = tmp_path / "plan.json"
    assert run("plan", table, candidates, "--budget-s", "240", "--output", output) == 0
    written = load_config(Plan, output)
    assert written == plan(read_points(table), read_candidates(candidates), budget_s=240)
    printed = capsys.readouterr().out
    assert f"train {written.chosen}" in printed
    assert f"wrote {output}" in printed
    rows = [line.split() for line in printed.splitlines()]
    for row, one in zip(rows[1:3], written.alternatives, strict=True):
        assert row[0] == one.name
        assert row[4:] == [f"{one.predicted_loss:.4f}", f"{one.interval.low:.3f}", "to", row[-1]]
    assert written.tokens == pytest.approx(240 / (6e-5 if written.chosen == "small" else 3e-4))


def test_plan_hands_on_what_limits_the_tokens(
    run, table: Path, candidates: Path, tmp_path: Path
) -> None:
    limits = {"budget_flops": 1e14, "unique_tokens": 1e5, "max_epochs": 2.0, "tokens_multiple": 64}
    options = [(f"--{name.replace('_', '-')}", value) for name, value in limits.items()]
    output = tmp_path / "plan.json"
    words = [word for option in options for word in option]
    assert run("plan", table, candidates, *words, "--output", output) == 0
    written = load_config(Plan, output)
    assert written == plan(read_points(table), read_candidates(candidates), **limits)
    assert written.tokens == 2e5 // 64 * 64


def test_an_absent_speed_is_allowed_for_a_budget_in_flops(run, table: Path, tmp_path: Path) -> None:
    path = tmp_path / "unmeasured.json"
    path.write_text('[{"name": "one", "parameters": 1e6, "flops_per_token": 6e6}]')
    assert run("plan", table, path, "--budget-flops", "1e14") == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "expected a list of candidates, got dict"),
        ("[1]", "candidate 1: expected an object"),
        ('[{"name": "one", "parameters": 1.0}]', "candidate 1: flops_per_token: missing"),
        ("[", "is damaged"),
    ],
)
def test_bad_candidates_are_one_line(
    run, table: Path, tmp_path: Path, capsys, text: str, message: str
) -> None:
    path = tmp_path / "candidates.json"
    path.write_text(text)
    assert run("plan", table, path, "--budget-flops", "1e14") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_missing_table_is_one_line(run, tmp_path: Path, capsys) -> None:
    assert run("fit", tmp_path / "absent.csv") == 2
    assert capsys.readouterr().err.startswith("scaling: error: No such file")


@pytest.mark.parametrize("arguments", [["fit", "--unknown"], ["frobnicate"], []])
def test_unknown_words_end_with_code_two(run, arguments: list[str], capsys) -> None:
    assert run(*arguments) == 2


def test_the_command_and_the_library_agree(table: Path, candidates: Path) -> None:
    planned = plan(read_points(table), read_candidates(candidates), budget_flops=1e14)
    assert planned.chosen in {"small", "large"}


@pytest.mark.parametrize("budget", ["-1e17", "0", "inf", "nan"])
def test_budgets_are_checked(run, table: Path, capsys, budget: str) -> None:
    for law in ("parametric", "isoflop"):
        assert run("fit", table, "--law", law, "--budgets", budget) == 2
        assert "budgets must be positive and finite" in capsys.readouterr().err


def test_extrapolated_optima_are_called_so(run, tmp_path: Path, capsys) -> None:
    points = [
        ScalingPoint.from_budget(
            parameters=size, flops=flops, loss=3 + 0.1 * math.log(size / best) ** 2
        )
        for flops, best in ((1e14, 2e6), (1e15, 6e6))
        for size in (1e6, 2e6, 4e6)
    ]
    write_points(points, tmp_path / "valleys.json")
    assert run("fit", tmp_path / "valleys.json", "--law", "isoflop") == 0
    printed = capsys.readouterr().out
    assert "C 1e+15: N_opt 6e+06 extrapolated" in printed
    assert "C 1e+14: N_opt" not in printed


def test_a_sweep_makes_what_fit_and_plan_need(run, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "sweep"
    budgets = ("--budgets", 2e7, 4e7)
    options = (*budgets, "--vocab-size", 300, "--batch-size", 2, "--validation-tokens", 200)
    assert run("sweep", *options, "--output", folder) == 0
    assert (
        f"next: uv run scaling fit {folder / 'points.json'} --law small-sample"
        in capsys.readouterr().out
    )
    points = read_points(folder / "points.json")
    assert len(points) == 6
    assert {point.parameters for point in points[:3]} == {point.parameters for point in points[3:]}
    assert [point.flops for point in points] == pytest.approx([2e7] * 3 + [4e7] * 3, rel=0.2)
    assert run("fit", folder / "points.json", "--law", "small-sample") == 0
    tables = (folder / "points.json", folder / "candidates.json")
    assert run("plan", *tables, "--budget-s", 10) == 0
    assert "train width-" in capsys.readouterr().out
    speeds = [
        result.flops / result.elapsed_s
        for path in folder.rglob("result.json")
        for result in [load_config(ExperimentResult, path)]
    ]
    for candidate in read_candidates(folder / "candidates.json"):
        expected = candidate.flops_per_token / max(speeds)
        assert candidate.seconds_per_token == pytest.approx(expected)
    # The same sweep goes on, here with nothing left to train; another one asks.
    results = {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")}
    assert run("sweep", *options, "--output", folder) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")} == results
    assert run("sweep", *options, "--seed", 1, "--output", folder) == 2
    assert read_points(folder / "points.json") == points
    assert "--overwrite replaces it" in capsys.readouterr().err
    # On request its tables are replaced; the finished runs of before stay.
    assert run("sweep", *options, "--seed", 1, "--output", folder, "--overwrite") == 0
    assert read_points(folder / "points.json") != points
    assert (
        results.items()
        <= {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")}.items()
    )


@pytest.mark.parametrize("name", ["model.safetensors", ".git"])
def test_a_folder_with_settings_of_its_own_is_no_sweep(run, tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "config.json").write_text("[]")
    assert run("sweep", "--output", tmp_path, "--overwrite") == 2
    assert {path.name for path in tmp_path.iterdir()} == {name, "config.json"}
    assert (tmp_path / "config.json").read_text() == "[]"


@pytest.mark.parametrize("settings", ["[]", "{", '{"model_type": "qwen3"}'])
def test_settings_of_something_else_alone_are_no_sweep(run, tmp_path: Path, settings: str) -> None:
    (tmp_path / "config.json").write_text(settings)
    assert run("sweep", "--output", tmp_path, "--overwrite") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert (tmp_path / "config.json").read_text() == settings


def test_sizes_that_do_not_go_together_leave_no_trace(run, tmp_path: Path) -> None:
    assert run("sweep", "--d-models", 9, "--output", tmp_path / "sweep") == 2
    assert not (tmp_path / "sweep").exists()


def test_a_sweep_leaves_other_folders_alone(run, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("work")
    assert run("sweep", "--output", tmp_path) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_device_that_is_not_there_leaves_no_trace(run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run("sweep", "--device", "cuda", "--output", tmp_path / "sweep") == 2
    assert not (tmp_path / "sweep").exists()


def test_two_sweeps_do_not_share_a_folder(run, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "sweep"
    with lock_folder(folder):
        assert run("sweep", "--output", folder) == 2
    assert "another process works in" in capsys.readouterr().err
    assert not list(folder.iterdir())


@pytest.mark.parametrize("is_link", [False, True])
@pytest.mark.parametrize("name", ["fit", "plan"])
def test_a_table_that_is_read_is_never_replaced(
    run, table: Path, candidates: Path, tmp_path: Path, capsys, name: str, is_link: bool
) -> None:
    words = [name, table, *([candidates, "--budget-s", 240] if name == "plan" else [])]
    inputs = [table, candidates] if name == "plan" else [table]
    before = [path.read_bytes() for path in inputs]
    for path in inputs:
        output = path
        if is_link:
            output = tmp_path / f"link-to-{path.name}"
            output.symlink_to(path)
        assert run(*words, "--output", output, "--overwrite") == 2
        assert "would replace the input" in capsys.readouterr().err
    assert [path.read_bytes() for path in inputs] == before


@pytest.mark.parametrize("name", ["fit", "plan"])
def test_an_earlier_file_is_replaced_on_request_alone(
    run, table: Path, candidates: Path, tmp_path: Path, capsys, name: str
) -> None:
    output = tmp_path / "output.json"
    output.write_text("work")
    words = [name, table, *([candidates, "--budget-s", 240] if name == "plan" else [])]
    assert run(*words, "--output", output) == 2
    assert "output.json exists: --overwrite replaces it" in capsys.readouterr().err
    assert output.read_text() == "work"
    assert run(*words, "--output", output, "--overwrite") == 0
    assert output.read_text() != "work"


def test_another_sweep_measures_its_losses_itself(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("sweep", "--d-models", 8, "--budgets", 2e7, "--vocab-size", 300, "--batch-size", 2)
    few = ("--validation-tokens", 64)
    folder, fresh = tmp_path / "sweep", tmp_path / "fresh"
    tables = [folder / name for name in ("points.json", "candidates.json")]
    assert run(*words, "--validation-tokens", 200, "--output", folder) == 0
    assert run(*words, *few, "--output", fresh) == 0

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    # Stopped on its way, it leaves no table that is another's.
    with monkeypatch.context() as patched:
        patched.setattr("lm_scaling.backends.run_sweep", stop)
        assert run(*words, *few, "--output", folder, "--overwrite") == 130
    assert not any(table.exists() for table in tables)
    assert run(*words, *few, "--output", folder) == 0
    assert read_points(folder / "points.json") == read_points(fresh / "points.json")
    assert all(table.exists() for table in tables)


def test_a_sweep_too_small_for_a_law_offers_none(run, tmp_path: Path, capsys) -> None:
    options = ("--budgets", 2e7, "--vocab-size", 300, "--batch-size", 2, "--d-models", 8)
    assert run("sweep", *options, "--validation-tokens", 200, "--output", tmp_path / "sweep") == 0
    assert "next:" not in capsys.readouterr().out

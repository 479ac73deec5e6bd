"""Help appears at once: nothing heavy is imported for it, and it says what the command says."""

import importlib
import inspect
import json
from importlib.metadata import version
from pathlib import Path

import pytest

from lm_shared.command_line import load_command
from lm_shared.command_options import RecipeCommand
from lm_shared.testing.processes import run_python

UNITS = ["basics", "systems", "scaling", "data", "alignment"]
HEAVY = ["torch", "transformers", "numba", "scipy", "matplotlib", "pyarrow", "triton"]

ROOT = Path(__file__).parents[1]

PROGRAM = """
import contextlib, importlib, io, json, runpy, sys

unit, heavy = sys.argv[1], json.loads(sys.argv[2])

def run_script(arguments):
    sys.argv = ["speedrun.py", *arguments]
    runpy.run_path("speedrun.py", run_name="__main__")

if unit == "speedrun":
    run, commands = run_script, ["smoke"]
else:
    main = importlib.import_module(f"lm_{unit}.commands.main")
    run, commands = main.main, main.COMMANDS
found = {}
helps = [[*words, "--help"] for words in ([], *([name] for name in commands))]
for arguments in [*helps, *([["--version"]] if unit != "speedrun" else [])]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        run(arguments)
    found[" ".join(arguments)] = [name for name in heavy if name in sys.modules]
print(json.dumps(found))
"""


REFUSALS = """
import importlib, json, sys

unit, refused, root = sys.argv[1:]
sys.path.insert(0, root)
from lm_shared.command_line import run_command
speedrun = lambda words: sys.exit(run_command("speedrun", "pipeline.command:main", words))
run = speedrun if unit == "speedrun" else importlib.import_module(f"lm_{unit}.commands.main").main
slow = []
for words in json.loads(refused):
    try:
        run(words)
    except SystemExit as stopped:
        if stopped.code != 2 or "torch" in sys.modules:
            slow.append(words)
print(json.dumps(slow))
"""


@pytest.mark.parametrize("unit", [*UNITS, "speedrun"])
def test_help_imports_nothing_heavy(unit: str) -> None:
    result = run_python(["-c", PROGRAM, unit, json.dumps(HEAVY)], folder=ROOT)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert len(found) > 1
    assert {name: modules for name, modules in found.items() if modules} == {}


REFUSED = {
    "basics": [
        ("generate x --model absent", "there is no folder absent with a model"),
        ("generate x --model other", "other holds no model"),
        ("account absent", "no model and no file 'absent'"),
        ("account other", "No such file or directory: other/config.json"),
        ("account other/thesis.tex", "is damaged or no JSON file"),
        ("report absent", "there is no run folder absent"),
        ("report other", "other is no run folder"),
        ("report", "expected at least one run folder"),
        ("leaderboard verify absent", "expected an entry in absent"),
        ("leaderboard laptop --data absent", "No such file or directory: absent"),
        ("leaderboard laptop --keep-checkpoints 3", "entries keep eight checkpoints"),
        ("leaderboard laptop --output other", "other holds thesis.tex"),
        ("leaderboard openwebtext", "needs --data FOLDER"),
        ("train tiny --tokens absent.bin", "absent.bin is no token file"),
        ("train tiny --tokenizer absent", "No such file or directory: absent"),
        ("train h100", "there is nothing to train on"),
        ("train tiny --output other", "other holds thesis.tex"),
        ("ablate norm --output other", "other holds thesis.tex"),
        ("encode absent --tokenizer other", "No such file or directory: absent"),
        ("ngram --tokens absent.bin --validation b.bin", "absent.bin is no token file"),
    ],
    "systems": [("generate x --model absent", "there is no folder absent with a model")],
    "scaling": [
        ("fit absent.csv", "No such file or directory: absent.csv"),
        ("plan absent.csv other", "No such file or directory: absent.csv"),
        ("sweep tiny --output other", "other holds thesis.tex"),
    ],
    "data": [
        ("curate --crawl absent", "no crawl at absent"),
        ("inspect --truth absent", "No such file or directory: absent"),
    ],
    "alignment": [
        ("sft --model absent", "there is no folder absent with a model"),
        ("grpo --model other", "other holds no model"),
        ("evaluate --model absent", "there is no folder absent with a model"),
        ("sft --model model --output other", "other holds thesis.tex"),
        ("sft --model model --data absent.jsonl", "No such file or directory: absent.jsonl"),
        ("dpo --model absent --data other/thesis.tex", "no example that can be used; line 1: no"),
        ("grpo --model model --data other/thesis.tex", "no example that can be used; line 1: no"),
    ],
    "speedrun": [("smoke --output other", "other holds thesis.tex")],
}


@pytest.mark.parametrize("unit", REFUSED)
def test_what_leads_nowhere_is_told_before_torch_is_imported(unit: str, tmp_path: Path) -> None:
    for name in ("other/thesis.tex", "model/config.json", "model/tokenizer.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("years of work")
    told = json.dumps([words.split() for words, _ in REFUSED[unit]])
    result = run_python(["-c", REFUSALS, unit, told, ROOT], folder=tmp_path)
    assert result.returncode == 0, result.stderr
    errors = result.stderr.splitlines()
    assert len(errors) == len(REFUSED[unit])
    for error, (words, expected) in zip(errors, REFUSED[unit], strict=True):
        assert expected in error, words
    assert json.loads(result.stdout) == []


@pytest.mark.parametrize("unit", UNITS)
def test_the_table_says_what_the_commands_say(unit: str) -> None:
    main = importlib.import_module(f"lm_{unit}.commands.main")
    for name, (_, help_line) in main.COMMANDS.items():
        documented = inspect.getdoc(load_command(main.PACKAGE, main.COMMANDS, name))
        assert (documented or "").splitlines()[0] == help_line, name


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_tells_its_version(unit: str, capsys: pytest.CaptureFixture[str]) -> None:
    main = importlib.import_module(f"lm_{unit}.commands.main")
    with pytest.raises(SystemExit) as stopped:
        main.main(["--version"])
    assert (stopped.value.code, capsys.readouterr().out) == (0, f"{unit} {version(f'lm-{unit}')}\n")


@pytest.mark.parametrize("unit", UNITS)
def test_help_is_for_people_and_not_for_a_page(
    unit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module(f"lm_{unit}.commands.main")
    for name in main.COMMANDS:
        command = load_command(main.PACKAGE, main.COMMANDS, name)
        recipes = command.recipes if isinstance(command, RecipeCommand) else ()
        for words in ([name], *([name, recipe] for recipe in recipes)):
            with pytest.raises(SystemExit):
                main.main([*words, "--help"])
            assert "``" not in capsys.readouterr().out, words

"""Help appears at once: nothing heavy is imported for it, and it says what the command says."""

import importlib
import inspect
import json
from pathlib import Path

import pytest

from lm_shared.command_line import load_command
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
for arguments in [[], *([name] for name in commands)]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        run([*arguments, "--help"])
    found[" ".join(arguments)] = [name for name in heavy if name in sys.modules]
print(json.dumps(found))
"""


@pytest.mark.parametrize("unit", [*UNITS, "speedrun"])
def test_help_imports_nothing_heavy(unit: str) -> None:
    result = run_python(["-c", PROGRAM, unit, json.dumps(HEAVY)], folder=ROOT)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert len(found) > 1
    assert {name: modules for name, modules in found.items() if modules} == {}


@pytest.mark.parametrize("unit", UNITS)
def test_the_table_says_what_the_commands_say(unit: str) -> None:
    main = importlib.import_module(f"lm_{unit}.commands.main")
    for name, (_, help_line) in main.COMMANDS.items():
        documented = inspect.getdoc(load_command(main.PACKAGE, main.COMMANDS, name))
        assert (documented or "").splitlines()[0] == help_line, name

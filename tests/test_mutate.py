"""The tool that tries whether tests notice: what it changes, and which tests it takes."""

import argparse
import ast
from pathlib import Path

import pytest

from tools import mutate
from tools.mutants import find_mutants
from tools.mutate import ROOT, UNITS, Trial, import_graph, nearest_tests, sample_mutants


def _changed(body: str) -> set[str]:
    source = f"def f(x, y):\n    {body}\n"
    return {mutant.apply(source).splitlines()[1].strip() for mutant in find_mutants(source)}


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ("x = y < 99", {"x = (y <= 99)"}),
        ("x = 'é' if y else x", {"x = 'é' if (not y) else x"}),
        ("x += y", {"pass"}),
        ("return min(x, y)", {"return (None)", "return (max(x, y))"}),
        ("return -x", {"return (None)", "return (x)"}),
        ("x = y or 2.5", {"x = (y and 2.5)", "x = y or (3.5)"}),
        ("x = [z for z in y if z]", {"x = [z for z in y if (not z)]"}),
        ("x = y ** x", {"x = (y * x)"}),
        ("raise ValueError(f'{x + 1}')", {"pass"}),
        ("x.sort()", {"pass"}),
    ],
)
def test_a_piece_is_changed_into_what_the_tests_should_notice(body: str, changed: set[str]) -> None:
    assert _changed(body) == changed


@pytest.mark.parametrize(
    "body",
    [
        "'a docstring'",
        "logger.warning('%s', x + 1)",
        "x: int | None",
        "x = 'a' + y",
        "x = y(4096)",
        "return None",
        "def __repr__(self): return 1 + 2",
    ],
)
def test_texts_annotations_and_large_numbers_are_left_alone(body: str) -> None:
    assert _changed(body) == set()


def test_settings_outside_of_functions_and_in_signatures_are_left_alone() -> None:
    source = "A = 1 + 2\n\nclass B:\n    c: int = 3\n\n    def d(self, e=4): pass\n"
    assert find_mutants(source) == []


@pytest.mark.parametrize("unit", UNITS)
def test_a_sample_is_random_repeatable_and_still_python(unit: str) -> None:
    options = argparse.Namespace(sample=40, seed=1, only="")
    sample = list(sample_mutants(ROOT, unit, options))
    assert sample == list(sample_mutants(ROOT, unit, options))
    assert len({(path, mutant) for path, mutant in sample}) == 40
    assert len({mutant.kind for _, mutant in sample}) > 5
    for path, mutant in sample:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert ast.dump(ast.parse(mutant.apply(source))) != ast.dump(ast.parse(source))


def _write_unit(tmp_path: Path) -> None:
    files = {
        "src/lm_unit/__init__.py": "",
        "src/lm_unit/norm.py": "",
        "src/lm_unit/model.py": "from lm_unit import norm",
        "src/lm_unit/other.py": "",
        "tests/test_far.py": "import lm_unit.other",
        "tests/test_model.py": "from lm_unit.model import Model",
        "tests/test_layers.py": "from lm_unit.norm import Norm",
        "tests/test_norm.py": "import subprocess",
    }
    for name, text in files.items():
        path = tmp_path / "unit" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_nearest_tests_come_first(tmp_path: Path) -> None:
    _write_unit(tmp_path)
    path = "unit/src/lm_unit/norm.py"
    tests = nearest_tests(tmp_path, "unit", import_graph(tmp_path, "unit"), path)
    names = [Path(one).stem for one in tests]
    assert names == ["test_norm", "test_layers", "test_model", "test_far"]


class _Here:
    """A pool of no processes."""

    map = staticmethod(map)


def test_what_the_nearest_tests_miss_goes_to_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_unit(tmp_path)
    (tmp_path / "unit/src/lm_unit/norm.py").write_text("def f(x):\n    x += 1\n    return -x\n")
    asked: list[tuple[str, ...]] = []

    def try_mutant(trial: Trial) -> str:
        asked.append(tuple(Path(one).stem for one in trial.tests))
        is_missed = len(trial.tests) == 1 and trial.mutant.kind != "return"
        return "survived" if is_missed or trial.mutant.kind == "sign" else "noticed"

    monkeypatch.setattr(mutate, "ROOT", tmp_path)
    monkeypatch.setattr(mutate, "try_mutant", try_mutant)
    monkeypatch.setattr(mutate, "measure_tests", lambda path: None if "layers" in path else 1.0)
    options = argparse.Namespace(sample=9, seed=0, only="norm", files=1)
    assert mutate.try_unit(_Here(), "unit", options) == 3 / 4  # type: ignore[arg-type]
    assert asked.count(("test_norm",)) == 4
    assert asked.count(("test_model", "test_far")) == 3
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "left out, as they fail without a change: unit/tests/test_layers.py"
    assert shown[1] == "survived: unit/src/lm_unit/norm.py:3 sign: -x -> (x)"
    assert shown[2] == "unit: 3 of 4 noticed (75%)"

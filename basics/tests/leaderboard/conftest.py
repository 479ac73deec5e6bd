"""An honest entry of small size, made once, and copies of it to cheat with."""

import shutil

import pytest

from basics.tests.leaderboard_entries import ABOUT, LAPTOP, make_data, make_recipe, make_texts
from lm_basics.leaderboard import run_entry
from lm_shared.leaderboard import rules


@pytest.fixture(autouse=True)
def _busy_machine(monkeypatch):
    """Other processes may slow a replay down, and steps of milliseconds suffer most."""
    monkeypatch.setattr(rules, "SPEED_TOLERANCE", 30)


@pytest.fixture(scope="package")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return make_data(folder, make_texts(0, 8), make_texts(1, 2))


@pytest.fixture(scope="package")
def honest(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("honest") / "entry"
    run_entry(LAPTOP, make_recipe(), data, folder, about=ABOUT, device="cpu")
    return folder


@pytest.fixture
def entry(tmp_path, honest):
    """A copy to cheat with."""
    return shutil.copytree(honest, tmp_path / "entry")

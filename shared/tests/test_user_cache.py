"""The folder of caches, with and without the package that knows where it is."""

import sys
from pathlib import Path

import platformdirs
import pytest

from lm_shared.user_cache import user_cache_folder


def test_the_folder_is_where_this_system_keeps_caches() -> None:
    assert user_cache_folder() == platformdirs.user_cache_path("lm-from-scratch")


def test_without_the_package_it_is_below_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    monkeypatch.setattr(Path, "home", lambda: Path("home"))
    assert user_cache_folder() == Path("home", ".cache", "lm-from-scratch")

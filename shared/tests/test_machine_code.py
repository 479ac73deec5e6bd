import ctypes
import gc
import json
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from lm_shared.machine_code import (
    Library,
    MachineCodeError,
    address_of,
    symbol_name,
    user_cache_folder,
    zeros_at_cache_lines,
)
from lm_shared.testing.processes import run_python

# Compiled by numba in another process, so this text is the module of the tests.
KERNELS = '''
from pathlib import Path

with Path(__file__).with_name("compilations.txt").open("a") as log:
    log.write("compiled\\n")


def add(a, b):
    return a + b


def halve(number):
    return number >> 1


def add_all(numbers, count):
    total = 0
    for index in range(count):
        total += numbers[index]
    return total


def fill(numbers, count, value):
    for index in range(count):
        numbers[index] = value
    return count


def take_turns(own, other, rounds, patience):
    """Count to ``rounds``, each step after the other thread's; -1 if that one never steps."""
    for step in range(1, rounds + 1):
        own[0] = step
        tries = 0
        while other[0] < step:
            own[1] = tries
            tries += 1
            if tries > patience:
                return -1
    return rounds
'''
FUNCTIONS = {
    "tiny_kernels:add": ("int64", "int64"),
    "tiny_kernels:halve": ("uint64",),
    "tiny_kernels:add_all": ("uint8*", "int64"),
    "tiny_kernels:fill": ("int32*", "int64", "int64"),
    "tiny_kernels:take_turns": ("int64*", "int64*", "int64", "int64"),
}
SMALL = {"small_kernels:add": ("int64", "int64")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "tiny_kernels.py").write_text(KERNELS, encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def library(folder: Path) -> Library:
    """The one of most tests; its cache folder and the parent of that are missing at first."""
    library = new_library(folder)
    library.load()
    return library


@pytest.fixture
def small_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def new_library(folder: Path) -> Library:
    return Library(FUNCTIONS, ["tiny_kernels"], cache_folder=folder / "new" / "cache")


def small_library(folder: Path, expression: str) -> Library:
    source = f"def add(a, b):\n    return {expression}\n"
    (folder / "small_kernels.py").write_text(source, encoding="utf-8")
    return Library(SMALL, ["small_kernels"], cache_folder=folder / "cache")


def num_compilations(folder: Path) -> int:
    return len((folder / "compilations.txt").read_text().splitlines())


def test_compiled_functions_compute(library: Library) -> None:
    assert library["tiny_kernels:add"](2, -5) == -3
    assert library["tiny_kernels:add"](1 << 62, -1) == (1 << 62) - 1
    assert library["tiny_kernels:halve"]((1 << 64) - 1) == (1 << 63) - 1
    assert library["tiny_kernels:add_all"](b"\x01\x80\xff", 3) == 1 + 128 + 255
    numbers = np.zeros(1000, dtype=np.int32)
    assert library["tiny_kernels:fill"](address_of(numbers), 999, -7) == 999
    assert set(numbers[:999]) == {-7}
    assert numbers[999] == 0


def test_second_process_loads_without_compiler(library: Library, folder: Path) -> None:
    script = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {str(folder)!r})
from lm_shared.machine_code import Library
library = Library(json.loads({json.dumps(FUNCTIONS)!r}), ["tiny_kernels"],
                  cache_folder=Path({str(folder)!r}) / "new" / "cache")
assert library.is_compiled()
print(library["tiny_kernels:add"](40, 2))
assert "numba" not in sys.modules
assert "tiny_kernels" not in sys.modules
"""
    compilations = num_compilations(folder)
    finished = run_python(["-c", script])
    assert (finished.stdout, finished.returncode) == ("42\n", 0), finished.stderr
    assert num_compilations(folder) == compilations


def test_threads_that_load_at_once_get_the_same_functions(library: Library, folder: Path) -> None:
    again = new_library(folder)
    functions = []
    threads = [
        threading.Thread(target=lambda: functions.append(again["tiny_kernels:add"]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(functions) == 8
    assert set(map(id, functions)) == {id(again["tiny_kernels:add"])}


def test_functions_outlive_their_library(library: Library, folder: Path) -> None:
    add = new_library(folder)["tiny_kernels:add"]
    gc.collect()
    assert add(2, 3) == library["tiny_kernels:add"](2, 3) == 5


def test_calls_run_side_by_side(library: Library) -> None:
    take_turns = library["tiny_kernels:take_turns"]
    counters = np.zeros((2, 16), dtype=np.int64)
    results = []

    def run(own: int) -> None:
        arguments = address_of(counters[own]), address_of(counters[1 - own])
        results.append(take_turns(*arguments, 3, 20_000_000_000))

    threads = [threading.Thread(target=run, args=(own,)) for own in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [3, 3]


def test_damaged_object_file_is_compiled_anew(library: Library, folder: Path) -> None:
    # LLVM ends the process on what is truncated, and runs whatever a changed byte says.
    path = library.object_path()
    intact = path.read_bytes()
    position = len(intact) // 2
    changed = bytes([intact[position] ^ 1])
    path.write_bytes(intact[:position] + changed + intact[position + 1 :])
    assert new_library(folder)["tiny_kernels:add"](2, 3) == 5
    assert path.read_bytes() == intact


def test_unwritable_cache_folder_costs_a_warning(
    small_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (small_folder / "cache").write_text("a file where the folder should be")
    library = small_library(small_folder, "a * b")
    assert not library.is_compiled()
    assert library["small_kernels:add"](6, 7) == 42
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "cannot be written, every process will compile" in caplog.text
    assert library.is_compiled()


def test_failure_is_remembered(small_folder: Path) -> None:
    log = (small_folder / "compilations.txt").as_posix()
    library = small_library(small_folder, f"a.b\nopen({log!r}, 'a').write('compiled\\n')")
    with pytest.raises(MachineCodeError, match="no machine code for this computer") as first:
        library.load()
    assert "compiling failed" in str(first.value)
    assert not library.is_compiled()
    with pytest.raises(MachineCodeError) as second:
        library["small_kernels:add"](1, 2)
    assert second.value is first.value
    assert num_compilations(small_folder) == 1


def test_missing_function_is_a_failure(library: Library, folder: Path) -> None:
    # The object file of other functions under this name: intact, and yet not what is needed.
    functions = {**FUNCTIONS, "tiny_kernels:subtract": ("int64", "int64")}
    incomplete = Library(functions, ["tiny_kernels"], cache_folder=folder / "new" / "cache")
    incomplete.object_path().write_bytes(library.object_path().read_bytes())
    with pytest.raises(MachineCodeError, match="the object file lacks tiny_kernels:subtract"):
        incomplete.load()


def test_missing_source_is_a_failure(tmp_path: Path) -> None:
    library = Library(SMALL, ["no_such_kernels"], cache_folder=tmp_path)
    assert not library.is_compiled()
    with pytest.raises(MachineCodeError, match="no_such_kernels has no source file"):
        library.load()


def test_object_file_is_named_after_what_decides_the_code(small_folder: Path) -> None:
    library = small_library(small_folder, "a + b")
    path = library.object_path()
    assert path == small_library(small_folder, "a + b").object_path()
    assert path != small_library(small_folder, "b + a").object_path()
    small_library(small_folder, "a + b")
    assert path == library.object_path()
    wider = {"small_kernels:add": ("int64", "uint64")}
    for functions, sources in ((wider, ["small_kernels"]), (SMALL, ["small_kernels", "json"])):
        other = Library(functions, sources, cache_folder=small_folder / "cache")
        assert path != other.object_path()


def test_symbols_are_plain_names() -> None:
    assert symbol_name("package.module:function") == "lm_package_module_function"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint64])
def test_zeros_start_cache_lines(dtype: type[np.generic]) -> None:
    for length in (1, 2, 63, 64, 65, 1000, 100_003):
        array = zeros_at_cache_lines(length, dtype)
        assert (array.dtype, array.shape) == (np.dtype(dtype), (length,))
        assert address_of(array) % 64 == 0
        assert not array.any()
        # The memory is the array's own, to its last element.
        array[:] = 1
        last = address_of(array) + (length - 1) * array.itemsize
        assert ctypes.c_uint8.from_address(last).value == 1


def test_the_folder_is_where_this_system_keeps_caches() -> None:
    assert user_cache_folder() == platformdirs.user_cache_path("lm-from-scratch")


def test_without_the_package_it_is_below_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    monkeypatch.setattr(Path, "home", lambda: Path("home"))
    assert user_cache_folder() == Path("home", ".cache", "lm-from-scratch")

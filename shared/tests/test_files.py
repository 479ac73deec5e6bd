import errno
import os
import signal
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from lm_shared.files import (
    atomic_folder,
    atomic_path,
    hash_file,
    hash_files,
    lock_folder,
    parse_json_object,
    read_json,
    read_json_lines,
    replace_between,
    write_bytes,
    write_json,
    write_text,
)
from lm_shared.testing.processes import run_python, start_python


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writing_replaces_content_and_makes_parents(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_text(path, "old")
    write_text(path, "naïve\r\n")
    assert path.read_bytes() == "naïve\r\n".encode()
    assert names(path.parent) == ["b.txt"]


def test_what_stands_between_two_markers_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("before <a>old<z> after")
    replace_between(path, "<a>", "<z>", " new ")
    assert path.read_text() == "before <a> new <z> after"


@pytest.mark.parametrize("text", ["", "<a>", "<z>", "<z> <a>", "<a><z><a>", "<a><z><z>"])
def test_markers_that_are_not_there_once_each_in_order_are_refused(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(ValueError, match="must hold <a> and <z> once each"):
        replace_between(path, "<a>", "<z>", "new")
    assert path.read_text() == text


def test_content_is_invisible_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_bytes(path, b"old")
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"new")
        assert temporary.suffix == ".safetensors"
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_a_reader_that_opened_the_old_file_reads_it_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    write_bytes(path, b"old")
    with path.open("rb") as reader:
        write_bytes(path, b"new")
        assert reader.read() == b"old"


def fail_half_way(path: Path, error: type[BaseException]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        raise error


def fill_the_disk(path: Path) -> None:
    with atomic_path(path) as temporary:
        # The kernel's always-full device stands in for the disk.
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"x" * 100_000)


def fail_half_way_in_folder(path: Path) -> None:
    with atomic_folder(path) as temporary:
        (temporary / "half").touch()
        raise RuntimeError


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_alone(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "x.bin"
    write_bytes(path, b"old")
    with pytest.raises(error):
        fail_half_way(path, error)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["x.bin"]


def test_a_full_disk_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    write_bytes(path, b"old")
    with pytest.raises(OSError, match="No space left") as caught:
        fill_the_disk(path)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["x.bin"]


def test_a_file_size_limit_leaves_the_old_file_alone(tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
from typing import Any
from lm_shared.files import write_bytes
path = Path(sys.argv[1])
write_bytes(path, b"old")
sys.dont_write_bytecode = True
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes(path, b"x" * 5000)
except OSError as error:
    sys.exit(7)
"""
    result = run_python(["-c", script, tmp_path / "x.bin"])
    assert result.returncode == 7, result.stderr
    assert (tmp_path / "x.bin").read_bytes() == b"old"
    assert names(tmp_path) == ["x.bin"]


@pytest.mark.parametrize("writer", ["atomic_path", "atomic_folder"])
def test_a_killed_writer_loses_nothing_and_the_next_one_tidies_up(
    tmp_path: Path, writer: str
) -> None:
    script = f"""
import sys, time
from lm_shared.files import {writer}
with {writer}(sys.argv[1]) as temporary:
    (temporary / "x" if temporary.is_dir() else temporary).write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""
    path = tmp_path / ("x.txt" if writer == "atomic_path" else "x")
    write = write_text if writer == "atomic_path" else write_folder
    write(path, "old")
    with start_python(["-c", script, path]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        # A second writer does not disturb the first, which is alive.
        write(path, "meanwhile")
        assert len(names(tmp_path)) == 2
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert any(".partial-" in name for name in names(tmp_path))
    write(path, "new")
    assert names(tmp_path) == [path.name]


def write_folder(path: Path, text: str) -> None:
    with atomic_folder(path) as temporary:
        (temporary / "file").write_text(text)


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match="nothing was written"),
        atomic_path(tmp_path / "x"),
    ):
        pass


def test_new_files_have_the_usual_permissions(tmp_path: Path) -> None:
    write_text(tmp_path / "atomic", "")
    (tmp_path / "plain").write_text("")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("atomic", "plain")}
    assert len(modes) == 1


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with atomic_folder(path) as temporary:
        (temporary / "old").touch()
    with atomic_folder(path) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "new").write_text("x")
        assert names(path) == ["old"]
    assert names(path) == ["deep"]
    assert names(tmp_path) == ["model"]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "model"
    write_folder(path, "old")
    with pytest.raises(RuntimeError):
        fail_half_way_in_folder(path)
    assert names(path) == ["file"]
    assert names(tmp_path) == ["model"]


def test_a_folder_lost_between_the_renames_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "model"
    write_folder(path, "old")
    path.rename(tmp_path / ".model.replaced")
    with pytest.raises(RuntimeError):
        fail_half_way_in_folder(path)
    assert (path / "file").read_text() == "old"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Lone surrogates have no UTF-8 form.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=8,
)


@given(value=json_values)
@settings(deadline=None)
def test_json_round_trip(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value


@pytest.mark.parametrize(
    "damaged", [b"", b'{"a": 1', b'{"a": NaN}', b'{"a": 1, "a": 2}', b'"\xff"', b"\0\0\0"]
)
def test_reading_damaged_json_names_the_file(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"config\.json is damaged or no JSON file"):
        read_json(path)


def test_writing_a_number_without_a_json_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x\.json: .*not JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert names(tmp_path) == []


def test_json_lines_are_read_as_far_as_they_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    assert read_json_lines(path) == []
    lines = [b'{"a": 1}\n', b"[1]\n", b"{\n", b'{"a": NaN}\n', b'{"a": 1, "a": 2}\n', b"\xff\n"]
    path.write_bytes(b"".join(lines) + b'{"b": 2}')
    found = read_json_lines(path)
    assert [line for line, _ in found] == [*lines, b'{"b": 2}']
    # The last one is cut off: its newline is missing, and so may be its end.
    assert [record for _, record in found] == [{"a": 1}, *[None] * 6]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": \xff}', "byte 7 is not UTF-8"),
        (b'{"a" 1}', "no JSON: Expecting ':' delimiter at character 6"),
        (b"[1]", r"expected an object in braces, got \[1\]"),
        (b'{"a": 1, "a": 2}', "the key 'a' appears twice"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": ' + b"[" * 10**6, "nested too deeply"),
    ],
)
def test_a_line_that_holds_no_object_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json_object(line)


def test_hash_of_a_file_is_sha256(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    # The example of FIPS 180-2, appendix B.1.
    assert hash_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_hash_of_files_depends_on_content_and_order_but_not_on_the_place(tmp_path: Path) -> None:
    for folder in ("here", "there"):
        write_text(tmp_path / folder / "a", "1")
        write_text(tmp_path / folder / "b", "2")
    here, there = tmp_path / "here", tmp_path / "there"
    assert hash_files([here]) == hash_files([there])
    assert hash_files([here / "a", here / "b"]) == hash_files([there / "a", there / "b"])
    assert hash_files([here / "a", here / "b"]) != hash_files([here / "b", here / "a"])
    (there / "b").rename(there / "c")
    assert hash_files([here]) != hash_files([there])


def test_moved_and_nested_files_keep_their_hash(tmp_path: Path) -> None:
    for place in ("here", "there/deep"):
        write_text(tmp_path / place / "inner" / "x", "text")
        write_text(tmp_path / place / "y", "more")
    here, there = tmp_path / "here", tmp_path / "there" / "deep"
    assert hash_files([here / "y"]) == hash_files([there / "y"])
    assert hash_files([here]) == hash_files([there])
    # The path inside of the folder counts: the same file one level up is another folder.
    (there / "inner" / "x").rename(there / "x")
    assert hash_files([here]) != hash_files([there])
    (there / "inner").rmdir()
    (there / "inner2").mkdir()
    (there / "x").rename(there / "inner2" / "x")
    assert hash_files([here]) != hash_files([there])


def test_a_temporary_of_another_process_with_our_number_is_stale(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    with atomic_path(path) as temporary:
        temporary.touch()
        machine = temporary.name.split("-")[1]
    stale = tmp_path / f".x.partial-{machine}-{os.getpid()}-0000.txt"
    foreign = tmp_path / f".x.partial-ffffff-{os.getpid()}-0000.txt"
    stale.touch()
    foreign.touch()
    write_text(path, "")
    assert names(tmp_path) == [foreign.name, "x.txt"]


def test_a_locked_folder_is_refused_and_free_when_its_process_ends(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from typing import Any
from lm_shared.files import lock_folder
try:
    with lock_folder({str(tmp_path)!r}):
        print("free")
except ValueError as error:
    print(error)
"""
    with lock_folder(tmp_path):
        assert "another process works in" in run_python(["-c", script]).stdout
    assert run_python(["-c", script]).stdout == "free\n"


def test_a_folder_does_not_replace_a_file(tmp_path: Path) -> None:
    (tmp_path / "name").write_text("kept")
    with pytest.raises(NotADirectoryError), atomic_folder(tmp_path / "name"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


def test_a_linked_folder_is_replaced_where_it_leads(tmp_path: Path) -> None:
    write_text(tmp_path / "disk" / "old", "")
    (tmp_path / "link").symlink_to("disk")
    with atomic_folder(tmp_path / "link") as partial:
        (partial / "new").touch()
    assert {one.name for one in tmp_path.iterdir()} == {"disk", "link"}
    assert (tmp_path / "link").is_symlink()
    assert [one.name for one in (tmp_path / "disk").iterdir()] == ["new"]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_linked_file_is_replaced_where_it_leads(tmp_path: Path, is_there: bool) -> None:
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "file.txt", tmp_path / "link.txt"
    if is_there:
        target.write_text("old")
    link.symlink_to("disk/file.txt")
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["disk", "file.txt", "link.txt"]

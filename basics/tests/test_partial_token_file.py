import json
import multiprocessing
import os
import random
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from basics.tests.encoding_samples import (
    MERGES,
    SPECIALS,
    TOKENIZER,
    VOCAB,
    StoppedError,
    after,
    encode_plainly,
    read_all,
    write_files,
)
from lm_basics.token_files import encode_documents, open_token_file, partial_token_file
from lm_basics.token_files.encoding import encode_files
from lm_basics.tokenizer import Tokenizer
from lm_shared.files import read_json, write_json


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return write_files(tmp_path)


@pytest.fixture(autouse=True)
def commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit behind every part."""
    monkeypatch.setattr(partial_token_file, "COMMIT_INTERVAL_S", 0.0)


@pytest.mark.parametrize("num_reports", [1, 2, 5, 9])
def test_a_killed_encoding_goes_on_where_it_was(
    files: list[Path], tmp_path: Path, num_reports: int
) -> None:
    path, shares = tmp_path / "tokens.bin", []

    def encode(report: Callable[[int, int], None]) -> None:
        encode_files(TOKENIZER, files, path, block_bytes=100, num_workers=1, report=report)

    def kill() -> None:
        os._exit(9)

    child = multiprocessing.get_context("fork").Process(
        target=encode, args=(after(num_reports, kill),)
    )
    child.start()
    child.join()
    assert child.exitcode == 9
    assert not path.exists()
    encode(lambda done, total: shares.append((done, total)))
    straight = []
    encode_files(
        TOKENIZER,
        files,
        tmp_path / "straight.bin",
        block_bytes=100,
        report=lambda done, total: straight.append((done, total)),
    )
    # The kill came behind the commit of the part that was to be reported.
    assert shares[0] == straight[num_reports]
    assert shares[-1] == straight[-1] == (sum(file.stat().st_size for file in files),) * 2
    assert read_all(path) == encode_plainly(files, tmp_path / "reference.bin")


def test_kills_at_any_moment_lose_nothing(files: list[Path], tmp_path: Path) -> None:
    path, generator = tmp_path / "tokens.bin", random.Random(0)
    exit_codes: list[int | None] = []
    while exit_codes[-1:] != [0] and len(exit_codes) < 100:
        child = multiprocessing.get_context("fork").Process(
            target=encode_files,
            args=(TOKENIZER, files, path),
            kwargs={"block_bytes": 30, "num_workers": 2},
        )
        child.start()
        child.join(0.004 * len(exit_codes) * generator.uniform(0.5, 1.0))
        if child.exitcode is None:
            child.kill()
        child.join()
        exit_codes.append(child.exitcode)
    assert exit_codes[:1] == [-signal.SIGKILL]
    assert exit_codes[-1] == 0
    assert read_all(path) == encode_plainly(files, tmp_path / "reference.bin")


def test_an_error_keeps_the_earlier_output_and_the_work_done(
    files: list[Path], tmp_path: Path
) -> None:
    path, shares = tmp_path / "tokens.bin", []
    encode_documents(TOKENIZER, ["old"], path)
    earlier = read_all(path)
    for overwrite in (True, False, False):
        report = after(4)
        with pytest.raises(StoppedError):
            encode_files(TOKENIZER, files, path, block_bytes=50, report=report, overwrite=overwrite)
        assert read_all(path) == earlier
    encode_files(TOKENIZER, files, path, report=lambda done, total: shares.append(done / total))
    assert shares[0] > 0.1
    assert read_all(path) == encode_plainly(files, tmp_path / "reference.bin")


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "tokenizer": lambda call: call.update(tokenizer=Tokenizer(VOCAB, MERGES[:9], SPECIALS)),
    "separator": lambda call: call.update(separator="\n"),
    "end of text": lambda call: call.update(end_of_text="aa"),
    "column": lambda call: call.update(text_column="other"),
    "invalid bytes": lambda call: call.update(on_invalid="replace"),
    "order": lambda call: call["files"].reverse(),
    "content": lambda call: call["files"][0].write_text("new" * 200),
    "time": lambda call: os.utime(call["files"][0], ns=(0, 0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_inputs_or_settings_are_refused_or_start_anew(
    files: list[Path], tmp_path: Path, change: str
) -> None:
    path, done_bytes = tmp_path / "tokens.bin", []
    call: dict[str, Any] = {"tokenizer": TOKENIZER, "files": files}
    with pytest.raises(StoppedError):
        encode_files(path=path, block_bytes=50, report=after(5), **call)
    CHANGES[change](call)
    with pytest.raises(ValueError, match=r"tokens\.bin\.partial holds the beginning of another"):
        encode_files(path=path, **call)
    call["overwrite"] = True
    encode_files(path=path, report=lambda done, total: done_bytes.append(done), **call)
    assert done_bytes[0] == 0
    call["overwrite"] = False
    encode_files(path=path, **call)
    encode_files(path=tmp_path / "straight.bin", **call)
    assert read_all(path) == read_all(tmp_path / "straight.bin")


@pytest.mark.parametrize("change", CHANGES)
def test_a_finished_file_is_that_of_its_inputs_and_settings_alone(
    files: list[Path], tmp_path: Path, change: str
) -> None:
    path = tmp_path / "tokens.bin"
    call: dict[str, Any] = {"tokenizer": TOKENIZER, "files": files}
    encode_files(path=path, **call)
    times = [one.stat().st_mtime_ns for one in tmp_path.glob("tokens.*")]
    reports: list[tuple[int, int]] = []
    encode_files(
        path=path, report=lambda done, total: reports.append((done, total)), num_workers=2, **call
    )
    assert reports == [(sum(file.stat().st_size for file in files),) * 2]
    assert [one.stat().st_mtime_ns for one in tmp_path.glob("tokens.*")] == times
    CHANGES[change](call)
    with pytest.raises(ValueError, match=r"tokens\.bin exists: --overwrite replaces it"):
        encode_files(path=path, **call)
    assert not (tmp_path / "tokens.bin.partial").exists()


def test_a_finished_file_without_a_key_is_opened_but_not_taken_for_done(
    files: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "tokens.bin"
    written = encode_files(TOKENIZER, files, path)
    sidecar = read_json(path.with_suffix(".json"))
    del sidecar["key"]
    write_json(path.with_suffix(".json"), sidecar)
    assert open_token_file(path).num_tokens == written.num_tokens
    with pytest.raises(ValueError, match=r"tokens\.bin exists: --overwrite replaces it"):
        encode_files(TOKENIZER, files, path)
    write_json(path.with_suffix(".json"), {**sidecar, "key": 3})
    with pytest.raises(ValueError, match=r"tokens\.json is damaged"):
        open_token_file(path)


@pytest.mark.parametrize("name", ["tokens.bin", "tokens.offsets.bin", "tokens.json"])
def test_a_finished_file_of_which_a_part_is_gone_is_not_taken_for_done(
    files: list[Path], tmp_path: Path, name: str
) -> None:
    path = tmp_path / "tokens.bin"
    encode_files(TOKENIZER, files, path)
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match="exists: --overwrite replaces it"):
        encode_files(TOKENIZER, files, path)


@pytest.fixture
def interrupted(files: list[Path], tmp_path: Path) -> Path:
    """The folder of an encoding that was stopped behind its ninth part."""
    with pytest.raises(StoppedError):
        encode_files(
            TOKENIZER,
            files,
            tmp_path / "tokens.bin",
            block_bytes=50,
            report=after(9),
        )
    return tmp_path / "tokens.bin.partial"


def _finish(files: list[Path], tmp_path: Path) -> list[int]:
    """Encode to the end, check the result, and return what was reported."""
    done_bytes: list[int] = []
    encode_files(
        TOKENIZER,
        files,
        tmp_path / "tokens.bin",
        report=lambda done, total: done_bytes.append(done),
    )
    assert read_all(tmp_path / "tokens.bin") == encode_plainly(files, tmp_path / "reference.bin")
    assert not (tmp_path / "tokens.bin.partial").exists()
    return done_bytes


def test_what_no_line_of_the_journal_counts_is_cut_off(
    files: list[Path], tmp_path: Path, interrupted: Path
) -> None:
    journal = interrupted / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:5], lines[5][:-9]]))
    for name in ("ids.bin", "starts.bin"):
        with (interrupted / name).open("ab") as file:
            file.write(b"\xff" * 1001)
    # The first two lines are the key and the beginning.
    position = json.loads(lines[4])["position"]
    with pytest.raises(StoppedError):
        encode_files(
            TOKENIZER,
            files,
            tmp_path / "tokens.bin",
            block_bytes=50,
            report=after(3),
        )
    assert _finish(files, tmp_path)[0] > position > 0


@pytest.mark.parametrize("name", ["ids.bin", "starts.bin"])
def test_lost_data_starts_anew(
    files: list[Path], tmp_path: Path, interrupted: Path, name: str
) -> None:
    content = (interrupted / name).read_bytes()
    (interrupted / name).write_bytes(content[: len(content) // 2])
    assert _finish(files, tmp_path)[0] == 0


@pytest.mark.parametrize("line", [b"[]\n", b'{"surplus": 1}\n', b"\xff\n"])
def test_a_damaged_journal_is_never_trusted(
    files: list[Path], tmp_path: Path, interrupted: Path, line: bytes
) -> None:
    journal = interrupted / "journal.jsonl"
    key = journal.read_bytes().splitlines(keepends=True)[0]
    journal.write_bytes(key + line)
    assert _finish(files, tmp_path)[0] == 0


def test_a_kill_between_the_final_names_is_made_good(
    files: list[Path], tmp_path: Path, interrupted: Path
) -> None:
    path = tmp_path / "tokens.bin"
    encode_documents(TOKENIZER, ["old"], path)
    obstacle = path.with_suffix(".offsets.bin")

    def stand_in_the_way(done: int, total: int) -> None:
        if not obstacle.is_dir():
            obstacle.unlink()
            obstacle.mkdir()

    with pytest.raises(OSError, match="offsets"):
        encode_files(TOKENIZER, files, path, report=stand_in_the_way, overwrite=True)
    assert path.exists()
    with pytest.raises(FileNotFoundError, match=r"tokens\.json"):
        open_token_file(path)
    obstacle.rmdir()
    assert _finish(files, tmp_path) == [sum(file.stat().st_size for file in files)]


@pytest.mark.parametrize("name", ["tokens.bin", "tokens.offsets.bin", "tokens.json"])
def test_the_files_of_others_are_not_replaced(files: list[Path], tmp_path: Path, name: str) -> None:
    path = tmp_path / "tokens.bin"
    encode_documents(TOKENIZER, ["old"], path)
    for other in tmp_path.glob("tokens.*"):
        if other.name != name:
            other.unlink()
    kept = (tmp_path / name).read_bytes()
    with pytest.raises(ValueError, match=rf"{name} exists: --overwrite replaces it"):
        encode_files(TOKENIZER, files, path)
    assert (tmp_path / name).read_bytes() == kept
    assert not (tmp_path / "tokens.bin.partial").exists()
    encode_files(TOKENIZER, files, path, overwrite=True)
    assert read_all(path) == encode_plainly(files, tmp_path / "reference.bin")


def test_a_second_process_is_refused(files: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "tokens.bin"

    def encode_again() -> None:
        with pytest.raises(ValueError, match=r"another process works in .*tokens\.bin\.partial"):
            encode_files(TOKENIZER, files, path)

    encode_files(TOKENIZER, files, path, block_bytes=200, report=after(2, encode_again))
    assert read_all(path) == encode_plainly(files, tmp_path / "reference.bin")


def test_a_full_disk_leaves_the_earlier_output(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Or half of the bytecode of what is imported meanwhile would stay.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "tokens.bin"
    encode_documents(TOKENIZER, ["old"], path)
    earlier = read_all(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            encode_files(TOKENIZER, files, path, block_bytes=100, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert read_all(path) == earlier
    assert open_token_file(path).num_documents == 1
    assert _finish(files, tmp_path)[0] > 0


@pytest.mark.parametrize("name", ["tokens.bin", "tokens.offsets.bin", "tokens.json"])
@pytest.mark.parametrize("has_earlier", [True, False])
def test_what_was_put_there_meanwhile_is_not_replaced(
    files: list[Path], tmp_path: Path, name: str, *, has_earlier: bool
) -> None:
    path = tmp_path / "tokens.bin"
    encode_documents(TOKENIZER, ["of another"], tmp_path / "other.bin")
    if has_earlier:
        encode_documents(TOKENIZER, ["old"], path)
    with pytest.raises(StoppedError):
        encode_files(TOKENIZER, files, path, block_bytes=50, report=after(4), overwrite=has_earlier)
    foreign = (tmp_path / name.replace("tokens", "other")).read_bytes()
    (tmp_path / name).write_bytes(foreign)
    with pytest.raises(ValueError, match=rf"{name} exists: --overwrite replaces it"):
        encode_files(TOKENIZER, files, path)
    assert (tmp_path / name).read_bytes() == foreign
    shares: list[int] = []
    encode_files(
        TOKENIZER, files, path, overwrite=True, report=lambda done, total: shares.append(done)
    )
    assert shares[0] > 0
    assert read_all(path) == encode_plainly(files, tmp_path / "reference.bin")


def test_a_kill_behind_the_sidecar_is_made_good(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(folder: Path) -> None:
        raise StoppedError

    path = tmp_path / "tokens.bin"
    with monkeypatch.context() as patch:
        patch.setattr(partial_token_file, "_remove", stop)
        with pytest.raises(StoppedError):
            encode_files(TOKENIZER, files, path)
    assert path.with_suffix(".json").exists()
    _finish(files, tmp_path)

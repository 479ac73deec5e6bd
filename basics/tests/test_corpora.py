"""Downloads from a hub that fails, breaks connections, lies and changes its mind."""

import gzip
import hashlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from basics.tests.fake_hub import FakeHub, serve_hub
from lm_basics import corpora
from lm_basics.commands.main import main
from lm_basics.corpora import CORPORA, download_corpus

BLOCK = 20_000
STORIES = [f"roneneldan/TinyStories/{name}" for name in CORPORA["tinystories"].files]
TRAIN = CORPORA["tinystories"].files[0]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Have the course's files on a hub of this machine."""
    # Whatever proxy there is, it has no part in this.
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(corpora, "_BLOCK_BYTES", BLOCK)
    # Tests are offline; this hub is not elsewhere.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with serve_hub() as running:
        for corpus in CORPORA.values():
            for name in corpus.files:
                running.files[f"{corpus.dataset}/{name}"] = packed_as(name, text_of(name))
        yield running


def text_of(name: str) -> bytes:
    return f"One day, {name.removesuffix('.gz')}.<|endoftext|>".encode() * 1000


def packed_as(name: str, text: bytes) -> bytes:
    return gzip.compress(text, mtime=0) if name.endswith(".gz") else text


def assert_whole(folder: Path, name: str = "tinystories") -> None:
    """Nothing but the texts and their checksums is there."""
    texts = [folder / file.removesuffix(".gz") for file in CORPORA[name].files]
    for text in texts:
        assert text.read_bytes() == text_of(text.name)
        record = text.with_name(text.name + ".sha256").read_text()
        assert record == f"{hashlib.sha256(text.read_bytes()).hexdigest()}  {text.name}\n"
    assert len([one for one in folder.iterdir() if not one.name.startswith(".")]) == 4


@pytest.mark.parametrize("name", ["tinystories", "openwebtext"])
def test_the_command_brings_the_texts_once(
    hub: FakeHub, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["download", name, "--output", str(tmp_path / "data"), "--endpoint", hub.url + "/"]
    asked = 0
    for _ in range(2):
        with pytest.raises(SystemExit) as stopped:
            main(command)
        assert stopped.value.code == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 4
        assert lines[0].startswith(f"{tmp_path / 'data'}/")
        assert lines[3] == (
            f"next: uv run basics train-tokenizer {lines[0].partition(':')[0]} "
            f"--vocab-size {CORPORA[name].vocab_size}"
        )
        assert_whole(tmp_path / "data", name)
        assert asked in (0, len(hub.ranges))
        asked = len(hub.ranges)


def test_progress_is_told_of_files_and_of_texts(hub: FakeHub, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    download_corpus("openwebtext", tmp_path, endpoint=hub.url, report=lambda *one: told.append(one))
    size = len(hub.files["stanford-cs336/owt-sample/owt_train.txt.gz"])
    assert told[0] == ("owt_train.txt.gz", 0, size)
    assert ("owt_train.txt.gz", size, size) in told
    assert ("unpacking owt_train.txt", size, size) in told


def test_errors_and_breaks_that_pass_are_waited_out(hub: FakeHub, tmp_path: Path) -> None:
    hub.plan.extend([503, "cut"])
    download_corpus("tinystories", tmp_path, endpoint=hub.url)
    assert_whole(tmp_path)
    assert len(set(hub.ranges)) == len(hub.ranges) // 2 - 1


def test_another_call_goes_on_where_the_last_one_ended(hub: FakeHub, tmp_path: Path) -> None:
    def kill(name: str, done: int, total: int) -> None:
        if done >= 2 * BLOCK:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_corpus("tinystories", tmp_path, endpoint=hub.url, report=kill)
    (partial,) = tmp_path.glob("*.partial")
    assert partial.stat().st_size == 2 * BLOCK
    assert not (tmp_path / TRAIN).exists()
    hub.ranges.clear()
    download_corpus("tinystories", tmp_path, endpoint=hub.url)
    assert_whole(tmp_path)
    assert hub.ranges[0].startswith(f"bytes={2 * BLOCK}-")


def test_a_file_that_changes_in_between_begins_anew(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / f"{TRAIN}.0123456789ab.partial").write_bytes(b"an earlier version")
    download_corpus("tinystories", tmp_path, endpoint=hub.url)
    assert_whole(tmp_path)
    assert hub.ranges[0].startswith("bytes=0-")


@pytest.mark.parametrize("has_other_size", [True, False])
def test_a_file_that_is_not_the_announced_one_is_not_kept(
    hub: FakeHub, tmp_path: Path, has_other_size: bool
) -> None:
    other = hub.files[STORIES[0]].replace(b"One", b"Any")
    hub.announced[STORIES[0]] = other + b"." if has_other_size else other
    with pytest.raises(ValueError, match="damaged on the way or replaced, and is not kept"):
        download_corpus("tinystories", tmp_path, endpoint=hub.url)
    assert not list(tmp_path.glob("Tiny*"))


def test_a_partial_file_longer_than_the_whole_is_not_kept(hub: FakeHub, tmp_path: Path) -> None:
    blob = hashlib.sha1(text_of(TRAIN)).hexdigest()[:12]
    (tmp_path / f"{TRAIN}.{blob}.partial").write_bytes(text_of(TRAIN) + b"more")
    with pytest.raises(ValueError, match="is not kept"):
        download_corpus("tinystories", tmp_path, endpoint=hub.url)
    download_corpus("tinystories", tmp_path, endpoint=hub.url)
    assert_whole(tmp_path)


def test_what_is_no_gzip_file_leaves_nothing(hub: FakeHub, tmp_path: Path) -> None:
    name = "stanford-cs336/owt-sample/owt_train.txt.gz"
    for damaged in (hub.files[name][:-9], b"no gzip"):
        hub.files[name] = damaged
        with pytest.raises(ValueError, match=r"owt_train\.txt\.gz\.\w+\.partial is no gzip file"):
            download_corpus("openwebtext", tmp_path, endpoint=hub.url)
        assert not list(tmp_path.glob("owt*.txt"))
        assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("has_record", [True, False])
def test_other_files_of_that_name_are_not_replaced(
    hub: FakeHub, tmp_path: Path, has_record: bool
) -> None:
    (tmp_path / TRAIN).write_bytes(b"mine")
    if has_record:
        (tmp_path / f"{TRAIN}.sha256").write_text(f"{'0' * 64}  {TRAIN}\n")
    said = "it was changed since" if has_record else "was not downloaded"
    with pytest.raises(ValueError, match=f"{TRAIN} is .*{said}"):
        download_corpus("tinystories", tmp_path, endpoint=hub.url)
    assert (tmp_path / TRAIN).read_bytes() == b"mine"
    assert hub.ranges == []


def test_a_file_that_the_hub_does_not_have_is_named(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del hub.files[STORIES[0]]
    with pytest.raises(SystemExit) as stopped:
        main(["download", "tinystories", "--output", str(tmp_path), "--endpoint", hub.url])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    place = f"{hub.url}/datasets/roneneldan/TinyStories: {TRAIN}"
    assert error == f"basics: error: {place}: there is no such file\n"


def test_a_refusal_is_one_line(hub: FakeHub, tmp_path: Path) -> None:
    hub.plan.append(403)
    with pytest.raises(OSError, match=rf"TinyStories: {TRAIN}: the server answers 403; run .*\Z"):
        download_corpus("tinystories", tmp_path, endpoint=hub.url)


@pytest.mark.parametrize(
    ("is_offline", "said"), [(False, "Connection refused"), (True, "offline mode is enabled")]
)
def test_without_a_network_the_command_says_so_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    is_offline: bool,
    said: str,
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", is_offline)
    with serve_hub() as hub:
        pass
    began = time.monotonic()
    with pytest.raises(SystemExit) as stopped:
        main(["download", "tinystories", "--output", str(tmp_path), "--endpoint", hub.url])
    assert time.monotonic() - began < 10
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert error.endswith("; run the same command again later\n")


def test_a_full_disk_is_told_before_writing(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(ValueError, match=r"0\.000 GB are still to come, and 0\.000 GB are free"):
        download_corpus("tinystories", tmp_path, endpoint=hub.url)


def test_unknown_corpora_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="corpus must be one of tinystories, openwebtext, got 'x'"):
        download_corpus("x", tmp_path)

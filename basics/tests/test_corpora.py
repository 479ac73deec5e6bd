"""Downloads from a server that breaks connections, forgets, lies and changes its mind."""

import errno
import gzip
import hashlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from basics.tests.file_server import FileServer, Misbehaviour, serve
from lm_basics.commands.main import main
from lm_basics.corpora import CORPORA, download_corpus, download_file, http_download, unpack_gzip

CONTENT = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    # Whatever proxy there is, it has no part in this.
    monkeypatch.setenv("no_proxy", "*")
    with serve() as running:
        running.files["/a.txt"] = CONTENT
        yield running


class Waits(list[float]):
    """Seconds that would have been waited."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def _download(server: FileServer, path: Path, **options: object) -> str:
    options = {"wait": Waits(), "timeout_s": 5.0} | options
    return download_file(f"{server.url}/a.txt", path, **options)  # type: ignore[arg-type]


def _assert_whole(path: Path, content: bytes = CONTENT) -> None:
    assert path.read_bytes() == content
    record = path.with_name(path.name + ".sha256").read_text()
    assert record == f"{hashlib.sha256(content).hexdigest()}  {path.name}\n"
    assert sorted(path.parent.iterdir()) == [path, path.with_name(path.name + ".sha256")]


def test_a_file_comes_with_its_checksum_and_is_not_asked_for_again(
    server: FileServer, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    path = tmp_path / "data" / "a.txt"
    assert _download(server, path, report=lambda *numbers: told.append(numbers)) == SHA256
    _assert_whole(path)
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert _download(server, path) == SHA256
    assert len(server.requests) == 1


@pytest.mark.parametrize("with_reset", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_connections_that_break_anywhere_cost_no_byte_twice(
    server: FileServer, tmp_path: Path, seed: int, with_reset: bool
) -> None:
    generator = random.Random(seed)
    server.plan.extend(
        Misbehaviour(break_after=generator.randrange(40_000), with_reset=with_reset)
        for _ in range(6)
    )
    waits = Waits()
    _download(server, tmp_path / "a.txt", wait=waits)
    _assert_whole(tmp_path / "a.txt")
    asked = [0, *(int(request[1][6:-1]) for request in server.requests if request[1])]
    assert asked == sorted(asked)
    if not with_reset:
        # All bytes that were sent have come; a reset may overtake some.
        assert len(set(asked)) == 7
    assert {request[2] for request in server.requests if request[1]} == {server.etag(CONTENT)}
    # Bytes came each time, so that the waits do not grow.
    assert set(waits) == {1.0} or with_reset


def test_another_call_goes_on_where_the_last_one_ended(server: FileServer, tmp_path: Path) -> None:
    server.plan.append(Misbehaviour(break_after=100_000))
    server.plan.extend([Misbehaviour(status=503)] * 3)
    with pytest.raises(ConnectionError, match=r"gave up after 3 failures .*503.*0\.1 MB are kept"):
        _download(server, tmp_path / "a.txt", max_failures=3)
    server.plan.clear()
    _download(server, tmp_path / "a.txt")
    _assert_whole(tmp_path / "a.txt")
    assert server.requests[-1][1] == "bytes=100000-"


def test_a_process_killed_before_the_check_asks_for_nothing_again(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(http_download, "hash_file", killed)
        with pytest.raises(KeyboardInterrupt):
            _download(server, tmp_path / "a.txt")
    _download(server, tmp_path / "a.txt")
    _assert_whole(tmp_path / "a.txt")
    assert len(server.requests) == 1


def test_a_server_that_ignores_ranges_sends_the_whole(server: FileServer, tmp_path: Path) -> None:
    server.plan.append(Misbehaviour(break_after=100_000))
    server.plan.append(Misbehaviour(ignores_range=True))
    _download(server, tmp_path / "a.txt")
    _assert_whole(tmp_path / "a.txt")
    assert len(server.requests) == 2


def test_without_an_etag_the_file_begins_anew(server: FileServer, tmp_path: Path) -> None:
    server.has_etag = False
    server.plan.append(Misbehaviour(break_after=100_000))
    _download(server, tmp_path / "a.txt")
    _assert_whole(tmp_path / "a.txt")
    assert [request[1] for request in server.requests] == [None, None]


@pytest.mark.parametrize("checks_if_range", [True, False])
@pytest.mark.parametrize("content", [OTHER, OTHER[:50_000]], ids=["same length", "short"])
def test_a_file_that_changes_in_between_begins_anew(
    server: FileServer, tmp_path: Path, checks_if_range: bool, content: bytes
) -> None:
    server.checks_if_range = checks_if_range
    server.plan.append(Misbehaviour(break_after=100_000))
    server.plan.extend([Misbehaviour(status=503)] * 2)
    with pytest.raises(ConnectionError):
        _download(server, tmp_path / "a.txt", max_failures=2)
    server.plan.clear()
    server.files["/a.txt"] = content
    _download(server, tmp_path / "a.txt")
    _assert_whole(tmp_path / "a.txt", content)


def test_a_part_that_begins_elsewhere_is_not_taken(server: FileServer, tmp_path: Path) -> None:
    server.plan.append(Misbehaviour(break_after=100_000))
    server.plan.append(Misbehaviour(wrong_first=7))
    _download(server, tmp_path / "a.txt")
    _assert_whole(tmp_path / "a.txt")


def test_errors_that_pass_are_waited_out_longer_and_longer(
    server: FileServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.plan.extend(Misbehaviour(status=status) for status in (500, 502, 503, 504))
    server.plan.append(Misbehaviour(status=429, headers={"Retry-After": "40"}))
    server.plan.append(Misbehaviour(status=429, headers={"Retry-After": "999"}))
    waits = Waits()
    _download(server, tmp_path / "a.txt", wait=waits)
    _assert_whole(tmp_path / "a.txt")
    assert waits == [1, 2, 4, 8, 40, 60]
    assert "the server answers 500 Internal Server Error; trying again in 1 s" in caplog.text


@pytest.mark.parametrize(("status", "kind"), [(404, FileNotFoundError), (403, OSError)])
def test_errors_that_stay_end_it_at_once(
    server: FileServer, tmp_path: Path, status: int, kind: type[Exception]
) -> None:
    server.plan.append(Misbehaviour(status=status))
    waits = Waits()
    with pytest.raises(kind, match=f"a.txt: the server answers {status} "):
        _download(server, tmp_path / "a.txt", wait=waits)
    assert waits == []
    assert not (tmp_path / "a.txt").exists()


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with serve() as server:
        pass
    waits = Waits()
    with pytest.raises(ConnectionError, match=r"gave up after 3 failures in a row.*refused"):
        _download(server, tmp_path / "a.txt", wait=waits, max_failures=5)
    assert waits == [1, 2]
    # What has begun is worth more patience.
    (tmp_path / "a.txt.partial").write_bytes(b"some")
    waits.clear()
    with pytest.raises(ConnectionError, match=r"gave up after 5 failures in a row.*refused"):
        _download(server, tmp_path / "a.txt", wait=waits, max_failures=5)
    assert waits == [1, 2, 4, 8]


@pytest.mark.parametrize("header", ["X-Linked-Etag", "ETag"])
def test_a_checksum_that_the_server_announces_is_compared(
    server: FileServer, tmp_path: Path, header: str
) -> None:
    server.has_etag = False
    server.headers[header] = f'"{SHA256}"'
    _download(server, tmp_path / "a.txt")
    _assert_whole(tmp_path / "a.txt")
    server.headers[header] = f'"{"0" * 64}"'
    with pytest.raises(ValueError, match=f"has the SHA-256 {SHA256}, expected {'0' * 64}"):
        _download(server, tmp_path / "other" / "b.txt")
    assert list((tmp_path / "other").iterdir()) == []


def test_a_redirect_announces_the_checksum(server: FileServer, tmp_path: Path) -> None:
    def refer(sha256: str) -> Misbehaviour:
        headers = {"Location": "/storage/1", "X-Linked-Etag": f'"{sha256}"'}
        return Misbehaviour(status=302, headers=headers)

    server.files["/storage/1"] = CONTENT
    server.plan.extend([refer(SHA256), Misbehaviour(break_after=1000), refer(SHA256)])
    _download(server, tmp_path / "a.txt")
    _assert_whole(tmp_path / "a.txt")
    # The condition goes along to the storage.
    assert server.requests[-1] == ("/storage/1", "bytes=1000-", server.etag(CONTENT))
    server.plan.append(refer("0" * 64))
    with pytest.raises(ValueError, match=f"expected {'0' * 64}"):
        _download(server, tmp_path / "b.txt")


def test_a_known_checksum_is_compared(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it was damaged on the way or replaced"):
        _download(server, tmp_path / "a.txt", sha256="1" * 64)
    _download(server, tmp_path / "a.txt", sha256=SHA256)
    with pytest.raises(ValueError, match=f"expected {'1' * 64}"):
        _download(server, tmp_path / "a.txt", sha256="1" * 64)


def test_a_file_that_was_changed_here_is_told(server: FileServer, tmp_path: Path) -> None:
    _download(server, tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"a\.txt\.sha256 says .* it was changed since"):
        _download(server, tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == b"mine"


def test_a_size_that_nobody_knows_is_no_obstacle(server: FileServer, tmp_path: Path) -> None:
    server.has_length = False
    told: list[tuple[int, int]] = []
    _download(server, tmp_path / "a.txt", report=lambda *numbers: told.append(numbers))
    _assert_whole(tmp_path / "a.txt")
    assert told[-1] == (len(CONTENT), 0)


def test_a_full_disk_is_told_before_and_while_writing(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: full)
        with pytest.raises(OSError, match=r"0\.000 GB are still to come, and 0\.000 GB are free"):
            _download(server, tmp_path / "a.txt")
    waits = Waits()

    def write_fails(done: int, total: int) -> None:
        if done:
            raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    # Not taken for a broken connection.
    with pytest.raises(OSError, match="No space left on device"):
        _download(server, tmp_path / "a.txt", wait=waits, report=write_fails)
    assert waits == []
    # What had come is used once there is room.
    _download(server, tmp_path / "a.txt")
    _assert_whole(tmp_path / "a.txt")


@pytest.mark.parametrize("url", ["file:///etc/hosts", "ftp://a/b", "a.txt"])
def test_only_the_web_is_asked(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="begins with http:// or https://"):
        download_file(url, tmp_path / "a.txt")


def test_packed_files_are_unpacked_whole_or_not_at_all(tmp_path: Path) -> None:
    packed, path = tmp_path / "a.gz", tmp_path / "a"
    packed.write_bytes(gzip.compress(CONTENT[:1000] * 3000) + gzip.compress(b"end"))
    told: list[tuple[int, int]] = []
    sha256 = unpack_gzip(packed, path, report=lambda *numbers: told.append(numbers))
    assert path.read_bytes() == CONTENT[:1000] * 3000 + b"end"
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert told[-1] == (packed.stat().st_size,) * 2
    path.unlink()
    whole = packed.read_bytes()
    swapped = bytes([whole[-5] ^ 1])
    for damaged in (whole[:-9], b"no gzip", b"", whole[:-5] + swapped + whole[-4:]):
        packed.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.gz is damaged: .*; remove it and run the same"):
            unpack_gzip(packed, path)
        assert list(tmp_path.iterdir()) == [packed]


def _publish(server: FileServer) -> dict[str, bytes]:
    """Let the server have the course's files, and return the texts."""
    texts = {}
    for corpus in CORPORA.values():
        for name in corpus.files:
            text = f"One day, {name}.<|endoftext|>".encode() * 500
            texts[name.removesuffix(".gz")] = text
            content = gzip.compress(text, mtime=0) if name.endswith(".gz") else text
            server.files[f"/datasets/{corpus.dataset}/resolve/main/{name}"] = content
    return texts


@pytest.mark.parametrize("name", ["tinystories", "openwebtext"])
def test_the_command_brings_the_texts(
    server: FileServer, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = _publish(server)
    command = ["download", name, "--output", str(tmp_path / "data"), "--endpoint", server.url]
    for _ in range(2):
        with pytest.raises(SystemExit) as stopped:
            main(command)
        assert stopped.value.code == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        assert lines[0].startswith(f"{tmp_path / 'data'}/")
    found = {path.name: path.read_bytes() for path in (tmp_path / "data").glob("*.txt")}
    assert len(found) == 2
    assert found == {key: texts[key] for key in found}
    # Nothing but the texts and their checksums, and nothing was asked for twice.
    assert len(list((tmp_path / "data").iterdir())) == 4
    assert len(server.requests) == 2


def test_the_command_explains_what_is_missing(
    server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["download", "tinystories", "--output", str(tmp_path), "--endpoint", server.url])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("basics: error: http")
    assert "TinyStoriesV2-GPT4-train.txt: the server answers 404 Not Found" in error


def test_unpacking_is_made_up_for(server: FileServer, tmp_path: Path) -> None:
    _publish(server)
    for path in download_corpus("openwebtext", tmp_path, endpoint=server.url + "/"):
        path.with_name(path.name + ".sha256").unlink()
    (again, _) = download_corpus("openwebtext", tmp_path, endpoint=server.url)
    assert again.name == "owt_train.txt"
    assert len(server.requests) == 4
    with pytest.raises(ValueError, match="corpus must be one of tinystories, openwebtext, got 'x'"):
        download_corpus("x", tmp_path)

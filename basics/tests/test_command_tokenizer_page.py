"""``basics tokenizer-page``: what it shows, how it ends, what it refuses."""

import http.client
import json
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from basics.tests.inspector_client import trained_byte_pairs
from lm_basics.commands.tokenizer_page import serve_tokenizer_page
from lm_basics.tokenizer import END_OF_TEXT, Tokenizer, save_vocabulary
from lm_basics.tokenizer.tiktoken_file import ranks_from_tokenizer, write_rank_file
from lm_shared.testing.browser import JSON_HEADERS
from lm_shared.testing.processes import start_python
from lm_shared.web import WebServer, make_app

COMMAND = """
import sys
from lm_basics.commands.tokenizer_page import serve_tokenizer_page
from lm_shared.command_line import run_command
sys.exit(run_command("basics", serve_tokenizer_page))
"""


@pytest.fixture(scope="module")
def byte_pairs() -> Tokenizer:
    return trained_byte_pairs()


@contextmanager
def command(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Run the command and yield its process and output; whatever happens, it ends."""
    with start_python(["-c", COMMAND, *arguments]) as process:
        timer = threading.Timer(60, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            yield process, process.stdout
        finally:
            process.kill()
            timer.cancel()


def test_the_command_shows_what_users_have_until_it_is_interrupted(
    byte_pairs: Tokenizer, tmp_path: Path
) -> None:
    files = tmp_path / "vocab.json", tmp_path / "merges.txt"
    save_vocabulary(byte_pairs.vocab, byte_pairs.merges, *files, special_tokens=[END_OF_TEXT])
    byte_pairs.save(tmp_path / "folder")
    ranks = ranks_from_tokenizer(byte_pairs)
    write_rank_file(ranks, tmp_path / "cl100k_base.tiktoken")
    write_rank_file(ranks, tmp_path / "0a1b")
    arguments = ["--tokenizer", tmp_path / "folder", "--port", "0"]
    arguments += ["--tokenizer", f"ours={tmp_path / 'folder'}"]
    arguments += ["--gpt2-vocab", files[0], "--gpt2-merges", files[1]]
    arguments += ["--rank-file", tmp_path / "cl100k_base.tiktoken"]
    arguments += ["--rank-file", f"o200k_base={tmp_path / '0a1b'}"]
    with command(*arguments) as (process, output):
        line = output.readline()
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/ shows (.*); Ctrl-C ends it\n", line)
        assert found is not None, line + output.read()
        assert found[2] == "folder, ours, gpt2, cl100k_base, o200k_base"
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=20)
        connection.request("POST", "/tokenize", json.dumps({"text": "the cat"}), JSON_HEADERS)
        answer = json.load(connection.getresponse())
        connection.close()
        process.send_signal(signal.SIGINT)
        assert output.read() == "ended\n"
        assert process.wait() == 0
    expected = byte_pairs.encode("the cat")
    for one in answer["tokenizers"]:
        assert [token["id"] for token in one["tokens"]] == expected


def test_without_a_tokenizer_the_command_shows_three_kinds() -> None:
    with command("--port", "0") as (process, output):
        line = output.readline()
        process.send_signal(signal.SIGINT)
        rest = output.read()
        assert process.wait() == 0
    assert "shows characters, bytes, byte pairs of Python's manual" in line, line + rest


def test_a_port_in_use_is_one_line_of_the_command() -> None:
    # It takes the port and does not have to answer.
    server = WebServer(make_app([]))
    with server, command("--port", str(server.port)) as (process, output):
        printed = output.read()
        assert process.wait() == 2
    assert printed == (
        f"basics: error: port {server.port} of 127.0.0.1: Address already in use; "
        "port 0 takes a free one\n"
    )


def test_arguments_that_name_no_tokenizer_are_refused(
    byte_pairs: Tokenizer, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    byte_pairs.save(folder)
    with pytest.raises(FileNotFoundError, match="absent"):
        serve_tokenizer_page(tokenizer=("ours=absent",))
    with pytest.raises(ValueError, match="expected a path or name=path, got '=absent'"):
        serve_tokenizer_page(tokenizer=("=absent",))
    with pytest.raises(ValueError, match="expected different names, got folder, folder"):
        serve_tokenizer_page(tokenizer=(str(folder), str(folder)))
    with pytest.raises(ValueError, match="needs both files"):
        serve_tokenizer_page(gpt2_vocab=tmp_path / "vocab.json")
    with pytest.raises(FileNotFoundError, match=r"there is no rank file .*other\.tiktoken"):
        serve_tokenizer_page(rank_file=(str(tmp_path / "other.tiktoken"),))
    (tmp_path / "other.tiktoken").touch()
    with pytest.raises(ValueError, match=r"expected one of r50k_base, .*, got 'other'; for other"):
        serve_tokenizer_page(rank_file=(str(tmp_path / "other.tiktoken"),))


def test_a_folder_with_an_equals_sign_in_its_name_is_found(
    byte_pairs: Tokenizer, tmp_path: Path
) -> None:
    byte_pairs.save(tmp_path / "lr=3")
    with pytest.raises(ValueError, match="got lr=3, lr=3"):
        serve_tokenizer_page(tokenizer=(str(tmp_path / "lr=3"), str(tmp_path / "lr=3")))

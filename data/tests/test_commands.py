import logging
import re

import pytest
from rich.filesize import decimal

from lm_data.commands.main import main
from lm_data.pipeline.receipts import read_receipt
from lm_data.sample_crawl.pages import SampleCrawlConfig, read_truth
from lm_shared import display
from lm_shared.config import load_config


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


def test_crawl_curate_and_inspect_work_on_the_command_line(tmp_path, capsys, caplog, monkeypatch):
    monkeypatch.setattr(display, "LOG_INTERVAL_S", 0.0)
    caplog.set_level(logging.INFO)
    crawl, documents = tmp_path / "crawl", tmp_path / "documents"
    options = ("--num-messages", 6, "--num-modules", 1, "--num-foreign-pages", 2)
    assert run("sample-crawl", "smoke", *options, "--output", crawl) == 0
    assert "message               6" in capsys.readouterr().out
    assert len(read_truth(crawl / "truth.jsonl")) > 20
    assert load_config(SampleCrawlConfig, crawl / "config.json").num_messages == 6
    assert run("curate", "english", "--crawl", crawl, "--output", documents) == 0
    assert read_receipt(documents).documents_kept >= 6
    printed = capsys.readouterr().out
    assert "documents in" in printed
    assert re.search(r"\nmasked: emails \d+, ip addresses \d+, phone numbers \d+; boil", printed)
    assert {"rendering: 1 of 1", "writing: 2 of 2"} <= {*caplog.messages}
    size = decimal(sum(path.stat().st_size for path in crawl.glob("*.gz")))
    for name in ("extracting", "counting lines", "removing lines", "writing"):
        assert f"{name}: {size} of {size}" in caplog.messages
    assert run("inspect", "--documents", documents, "--truth", crawl / "truth.jsonl") == 0
    output = capsys.readouterr().out
    assert "recall 1.0000" in output
    assert "== language: other_language" in output


@pytest.mark.parametrize(
    "arguments",
    [
        ("curate", "english", "--crawl", "nowhere"),
        ("sample-crawl", "smoke", "--num-messages", "-5"),
        ("sample-crawl", "smoke", "--output", "."),
        ("curate", "english", "--no-such-option"),
        ("no-such-command",),
    ],
)
def test_bad_input_ends_with_exit_code_two(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "runs"])


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
@pytest.mark.parametrize(
    "command", [("sample-crawl", "smoke"), ("curate", "english")], ids=lambda one: one[0]
)
def test_other_work_is_never_replaced(command, overwrite, sample, tmp_path, capsys):
    crawl = ("--crawl", sample.folder) if command[0] == "curate" else ()
    (tmp_path / "thesis.tex").write_text("years of work")
    assert run(*command, *crawl, "--output", tmp_path, *overwrite) == 2
    assert "holds thesis.tex and is not a" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_earlier_crawl_is_replaced_on_request(tmp_path, capsys):
    options = ("--num-messages", 2, "--num-modules", 1, "--num-foreign-pages", 1)
    crawl = ("sample-crawl", "smoke", *options, "--output", tmp_path / "crawl")
    assert run(*crawl) == 0
    assert run(*crawl) == 2
    assert "is a sample crawl already: --overwrite replaces it" in capsys.readouterr().err
    (tmp_path / "crawl" / ".env").touch()
    assert run(*crawl, "--overwrite") == 2
    assert "holds .env and is not a sample crawl" in capsys.readouterr().err
    (tmp_path / "crawl" / ".env").unlink()
    assert run(*crawl, "--overwrite") == 0

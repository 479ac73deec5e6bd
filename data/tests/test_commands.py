import logging
import re

import numpy as np
import pytest
from rich.filesize import decimal

from lm_basics.token_files import open_token_file
from lm_basics.tokenizer import Tokenizer
from lm_basics.tokenizer.vocabulary import save_vocabulary
from lm_data.commands.main import main
from lm_data.pipeline.receipts import read_receipt
from lm_data.sample_crawl.pages import SampleCrawlConfig, read_truth
from lm_data.shards import iterate_texts, list_shards, read_shard
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


def test_a_classifier_is_trained_and_used_on_the_command_line(sample, tmp_path, capsys):
    lines = [("good text", "poor text")[n % 2] + f" number{n}" for n in range(200)]
    for kind in ("good", "poor"):
        chosen = (line for line in lines if line.startswith(kind))
        (tmp_path / f"{kind}.txt").write_text("<|endoftext|>".join(chosen))
    sources = (f"1={tmp_path / 'good.txt'}", f"poor={tmp_path / 'poor.txt'}")
    rest = ("--rename", "1=good", "--label", "good", "--output", tmp_path / "good", "--dim", 4)
    assert run("train-classifier", *sources, *rest) == 0
    output = capsys.readouterr().out
    assert "good                  100" in output
    assert re.search(r"precision 1\.000 \[0\.\d+, 1\.000\] of \d+ texts", output)
    assert "next: uv run data curate --classifiers" in output
    assert run("train-classifier", *sources, *rest) == 2
    assert "is a classifier already" in capsys.readouterr().err
    crawl = ("--crawl", sample.folder, "--output", tmp_path / "documents")
    assert run("curate", *crawl, "--classifiers", tmp_path / "good") == 0
    (path, *_) = list_shards(tmp_path / "documents", "train")
    assert all("classifier_score" in document.measurements for document in read_shard(path))


@pytest.mark.parametrize("layout", ["folder", "gpt2"])
def test_documents_become_numbers_that_numpy_reads(layout, corpus, tmp_path, capsys):
    texts = [*iterate_texts(corpus.folder, "validation")]
    vocab = {n: bytes([n]) for n in range(256)} | {256: b"th", 257: b"<|endoftext|>"}
    merges = [(b"t", b"h")]
    tokenizer = Tokenizer(vocab, merges, ["<|endoftext|>"])
    if layout == "folder":
        tokenizer.save(tmp_path / "tokenizer")
    else:
        (tmp_path / "tokenizer").mkdir()
        names = (tmp_path / "tokenizer" / name for name in ("vocab.json", "merges.txt"))
        save_vocabulary(vocab, merges, *names, special_tokens=["<|endoftext|>"])
    options = ("--tokenizer", tmp_path / "tokenizer", "--output", tmp_path / "tokens.bin")
    assert run("tokenize", corpus.folder, "--split", "validation", *options) == 0
    tokens = np.fromfile(tmp_path / "tokens.bin", dtype=np.uint16)
    assert f"{len(texts):,} document" in capsys.readouterr().out
    end = tokenizer.special_token_ids["<|endoftext|>"]
    assert tokens[-1] == end
    assert tokenizer.decode(tokens.tolist()) == "".join(f"{text}<|endoftext|>" for text in texts)
    assert open_token_file(tmp_path / "tokens.bin").num_documents == len(texts)


def test_a_vocabulary_beyond_uint16_is_refused_where_it_was_asked_for(tmp_path, capsys):
    vocab = {n: bytes([n]) for n in range(256)}
    vocab |= {n: str(n).encode() for n in range(256, 65_536)} | {65_536: b"<|endoftext|>"}
    Tokenizer(vocab, [], ["<|endoftext|>"]).save(tmp_path / "tokenizer")
    (tmp_path / "a.txt").write_text("One.")
    options = ("--tokenizer", tmp_path / "tokenizer", "--output", tmp_path / "tokens.bin")
    assert run("tokenize", tmp_path / "a.txt", *options, "--dtype", "uint16") == 2
    assert "65537 tokens" in capsys.readouterr().err
    assert run("tokenize", tmp_path / "a.txt", *options) == 0
    assert np.fromfile(tmp_path / "tokens.bin", dtype=np.uint32)[-1] == 65_536


@pytest.mark.parametrize(
    "arguments",
    [
        ("tokenize", "nowhere", "--tokenizer", "nowhere"),
        ("train-classifier", "a=nowhere", "--label", "a"),
        ("curate", "--crawl", "..", "--classifiers", "nowhere"),
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

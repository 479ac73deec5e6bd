"""What the commands about tokenizers are given, and what they say about it."""

import logging
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lm_basics.commands import long_work, training_watch
from lm_basics.commands.main import main
from lm_basics.token_files import open_token_file
from lm_basics.tokenizer import Tokenizer
from lm_basics.tokenizer.kernels import KERNELS
from lm_basics.tokenizer.patterns import END_OF_TEXT
from lm_basics.tokenizer.tokenizer_json import CONFIG_FILE, read_end_of_text
from lm_shared import display
from lm_shared.files import read_json, write_json
from lm_shared.machine_code import Library

Capture = pytest.CaptureFixture[str]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(one) for one in arguments])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("to be or not to be, that is the question. " * 20)
    return path


@pytest.fixture
def tokenizer(text: Path, tmp_path: Path) -> Path:
    """The folder of a tokenizer whose documents end with <eos>."""
    folder = tmp_path / "tokenizer"
    specials = ("--special-tokens", "<pad>", "--special-tokens", "<eos>", "--end-of-text", "<eos>")
    options = ("--output", folder, "--vocab-size", 270)
    assert run("train-tokenizer", text, *options, *specials) == 0
    return folder


def test_files_may_stand_behind_a_special_token(text: Path, tmp_path: Path) -> None:
    options = ("--output", tmp_path / "one", "--vocab-size", 270)
    specials = ("--special-tokens", "<pad>", "--special-tokens", END_OF_TEXT)
    assert run("train-tokenizer", *options, *specials, text) == 0
    found = Tokenizer.from_folder(tmp_path / "one").special_token_ids
    assert found == {"<pad>": 0, END_OF_TEXT: 1}


def test_the_tokenizers_own_end_of_text_is_taken_everywhere(
    text: Path, tokenizer: Path, tmp_path: Path, capsys: Capture
) -> None:
    tokens, model = tmp_path / "train.bin", tmp_path / "run" / "model"
    eos = Tokenizer.from_folder(tokenizer).special_token_ids["<eos>"]
    assert read_json(tokenizer / CONFIG_FILE)["eos_token"] == "<eos>"
    assert run("encode", text, "--tokenizer", tokenizer, "--output", tokens) == 0
    assert open_token_file(tokens).tokens[-1] == eos
    train = ("train", "tiny", "--tokens", tokens, "--output", model.parent, "--steps", 1)
    assert run(*train, "--tokenizer", tokenizer) == 0
    assert read_json(model / "config.json")["eos_token_id"] == eos
    assert read_end_of_text(model) == "<eos>"
    capsys.readouterr()
    assert run("generate", "to be", "--model", model, "--max-new-tokens", 1) == 0


def test_encoding_what_is_encoded_says_so_and_is_no_error(
    text: Path, tokenizer: Path, tmp_path: Path, capsys: Capture
) -> None:
    encode = ("encode", text, "--tokenizer", tokenizer, "--output", tmp_path / "train.bin")
    assert run(*encode) == 0
    first = capsys.readouterr().out
    assert run(*encode) == 0
    assert capsys.readouterr().out == f"already finished: {first}"
    assert run(*encode, "--overwrite") == 0
    assert capsys.readouterr().out == first
    assert run(*encode, "--separator", "be") == 2
    assert "train.bin exists: --overwrite replaces it" in capsys.readouterr().err


def test_another_special_token_may_end_documents(
    text: Path, tokenizer: Path, tmp_path: Path, capsys: Capture
) -> None:
    encode = ("encode", text, "--tokenizer", tokenizer, "--output", tmp_path / "train.bin")
    assert run(*encode, "--end-of-text", "<pad>") == 0
    pad = Tokenizer.from_folder(tokenizer).special_token_ids["<pad>"]
    assert open_token_file(tmp_path / "train.bin").tokens[-1] == pad
    assert run(*encode, "--end-of-text", "<end>", "--overwrite") == 2
    assert "'<end>' is not among the tokenizer's special tokens ('<pad>', '<eos>')" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("config", "token"),
    [({"eos_token": "<a>"}, "<a>"), ({"eos_token": {"content": "<b>"}}, "<b>"), ({}, None)],
)
def test_end_of_text_is_read_in_both_spellings(
    config: dict[str, object], token: str | None, tmp_path: Path
) -> None:
    assert read_end_of_text(tmp_path) is None
    write_json(tmp_path / CONFIG_FILE, config)
    assert read_end_of_text(tmp_path) == token


def test_the_tokenizer_of_a_model_must_have_made_its_tokens(
    text: Path, tokenizer: Path, tmp_path: Path, capsys: Capture
) -> None:
    other, tokens = tmp_path / "other", tmp_path / "train.bin"
    assert run("train-tokenizer", text, "--output", other, "--vocab-size", 260) == 0
    assert run("encode", text, "--tokenizer", tokenizer, "--output", tokens) == 0
    train = ("train", "tiny", "--tokens", tokens, "--output", tmp_path / "run")
    assert run(*train, "--tokenizer", other) == 2
    assert f"{other} is not the one that made {tokens}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_model_without_a_tokenizer_says_how_to_give_one(tmp_path: Path, capsys: Capture) -> None:
    assert run("generate", "x", "--model", tmp_path) == 2
    assert "holds no model: it has no config.json" in capsys.readouterr().err
    write_json(tmp_path / "config.json", {})
    assert run("generate", "x", "--model", tmp_path) == 2
    assert "holds no tokenizer.json: give a folder by --tokenizer" in capsys.readouterr().err


def test_a_prompt_of_several_words_is_to_be_quoted(tmp_path: Path, capsys: Capture) -> None:
    assert run("generate", "Once", "upon", "a", "time", "--model", tmp_path) == 2
    assert "expected one prompt, got 4 words: put it in quotes" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ("train-tokenizer", "{}", "--output", "out"),
        ("encode", "{}", "--tokenizer", "tokenizer", "--output", "out.bin"),
        ("compare-tokenizers", "{}"),
        ("tokenizer-report", "{}", "--tokenizer", "tokenizer"),
    ],
    ids=lambda command: command[0],
)
def test_every_command_names_what_is_no_text(
    command: tuple[str, ...],
    tokenizer: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.jsonl").write_text('{"text": "to be or not to be, that is the question"}\n' * 9)
    assert run(*(part.format("folder") for part in command)) == 2
    error = "basics: error: folder is a folder, expected files, such as folder/*.txt\n"
    assert capsys.readouterr().err.endswith(error)
    assert run(*(part.format("a.jsonl") for part in command)) == 0
    assert any(line.startswith("a.jsonl is read as plain text") for line in caplog.messages)


@pytest.mark.parametrize("command", ["train-tokenizer", "encode", "tokenizer-report"])
def test_without_a_file_the_error_says_so(command: str, tokenizer: Path, capsys: Capture) -> None:
    options = [] if command == "train-tokenizer" else ["--tokenizer", tokenizer]
    assert run(command, *options, "--output", tokenizer.parent / "x.bin") == 2
    assert "expected at least one file of text, got none" in capsys.readouterr().err


def test_a_tokenizer_is_its_folder_or_its_file(
    text: Path, tokenizer: Path, tmp_path: Path, capsys: Capture
) -> None:
    encode = ("encode", text, "--output", tmp_path / "train.bin", "--tokenizer")
    assert run(*encode, tokenizer / "tokenizer.json") == 0
    assert open_token_file(tmp_path / "train.bin").num_documents == 1
    assert run(*encode, tokenizer / CONFIG_FILE, "--overwrite") == 2
    assert "expected a folder with a tokenizer.json, got the file" in capsys.readouterr().err


@pytest.mark.parametrize("number", [0, -3])
def test_somebody_must_work(number: int, text: Path, tokenizer: Path, capsys: Capture) -> None:
    output = tokenizer.parent / "train.bin"
    encode = ("encode", text, "--tokenizer", tokenizer, "--output", output)
    for command in (encode, ("train-tokenizer", text, "--output", output)):
        assert run(*command, "--workers", number) == 2
        assert f"--workers must be at least 1, got {number}" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "a", "<|endoftext|>" * 3])
def test_training_on_nothing_is_refused(content: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a.txt").write_text(content)
    pq.write_table(pa.table({"text": [content, None]}), tmp_path / "a.parquet")
    for name in ("a.txt", "a.parquet"):
        assert run("train-tokenizer", tmp_path / name, "--output", tmp_path / "out") == 2
        assert f"no two bytes to merge in {tmp_path / name}" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    # Whoever wants no merges gets none.
    options = ("--output", tmp_path / "out", "--vocab-size", 257)
    assert run("train-tokenizer", tmp_path / "a.txt", *options) == 0
    assert "longest" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--end-of-text", "<eos>"), "--end-of-text '<eos>' is none of ['<|endoftext|>']"),
        (("--pattern", "gpt3"), "--pattern is none of gpt2, gpt4, gpt4o: the pattern 'gpt3'"),
        (("--special-tokens", "a"), "the special token 'a' is one byte"),
        (("--pattern", r"\d{1,3}+|\D"), "read {1,3}+ as a repetition"),
    ],
)
def test_unknown_words_are_refused(
    options: tuple[str, str], message: str, text: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run("train-tokenizer", text, "--output", tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_a_folder_is_refused_before_any_work(
    text: Path, tokenizer: Path, tmp_path: Path, capsys: Capture
) -> None:
    for command in (
        ("train-tokenizer", text),
        ("compare-tokenizers", text),
        ("tokenizer-report", text, "--tokenizer", tokenizer),
    ):
        for output in (text, text / "inner"):
            assert run(*command, "--output", output) == 2
            assert f"{text} is a file, expected a folder to write to" in capsys.readouterr().err


def test_names_are_shown_as_they_are(
    text: Path, tokenizer: Path, tmp_path: Path, capsys: Capture
) -> None:
    named = text.rename(text.with_name("[red]y.txt"))
    options = ("--output", tmp_path / "out")
    assert run("compare-tokenizers", named, "--tokenizer", f"[/x]={tokenizer}", *options) == 0
    assert "[/x]" in capsys.readouterr().out
    assert (
        run("tokenizer-report", named, "--tokenizer", tokenizer, "--output", tmp_path / "report")
        == 0
    )
    assert "[red]y.txt" in capsys.readouterr().out
    assert (
        run(
            "compare-tokenizers",
            named,
            "--tokenizer",
            f"byte={tokenizer}",
            "--output",
            tmp_path / "new",
        )
        == 2
    )
    assert "['byte'] are compared anyway" in capsys.readouterr().err


def test_a_separator_that_is_nowhere_is_told(
    text: Path, tokenizer: Path, capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    encode = ("encode", text, "--tokenizer", tokenizer, "--output", tokenizer.parent / "train.bin")
    with caplog.at_level(logging.WARNING):
        assert run(*encode) == 0
        assert run(*encode, "--overwrite", "--separator", ", ") == 0
        assert caplog.messages == []
        assert run(*encode, "--overwrite", "--separator", r"\n\n") == 0
    (message,) = caplog.messages
    assert message.startswith(r"The separator '\\n\\n' is between no two texts")
    assert capsys.readouterr().out.startswith("1 document, ")


def test_a_long_token_is_shortened(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a.txt").write_text("a" * 1000 + " b")
    options = ("--output", tmp_path / "out", "--vocab-size", 300)
    assert run("train-tokenizer", tmp_path / "a.txt", *options) == 0
    assert f"the longest token is '{'a' * 40}' … " in capsys.readouterr().out


def test_a_resumed_training_tells_how_much_of_it_is_new(
    text: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def interrupt(record: logging.LogRecord) -> bool:
        if record.getMessage().startswith("train: 3 "):
            signal.raise_signal(signal.SIGINT)
        return True

    tokens, output = tokenizer.parent / "train.bin", tokenizer.parent / "run"
    assert run("encode", text, "--tokenizer", tokenizer, "--output", tokens) == 0
    train = ("train", "tiny", "--tokens", tokens, "--output", output)
    options = ("--steps", 5, "--checkpoint-every", 1)
    with monkeypatch.context() as patch:
        patch.setattr(display, "LOG_INTERVAL_S", 0.0)
        training_watch.logger.addFilter(interrupt)
        try:
            assert run(*train, *options) == 130
        finally:
            training_watch.logger.removeFilter(interrupt)
    assert run(*train, *options) == 0
    assert "of these, 2 steps now, the others before" in capsys.readouterr().out


def test_seconds_of_compiling_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = Library(KERNELS.functions, KERNELS.sources, cache_folder=tmp_path)
    monkeypatch.setattr(long_work, "KERNELS", empty)
    watch = long_work.Stopwatch()
    assert watch.remark() == ""
    # Another process does the same to it.
    empty.object_path().touch()
    assert "compiling" in watch.remark()
    assert long_work.Stopwatch().remark() == ""


def test_speed_is_told_where_there_is_enough_to_time(
    tokenizer: Path, tmp_path: Path, capsys: Capture
) -> None:
    text, encode = (
        tmp_path / "large.txt",
        ("--tokenizer", tokenizer, "--output", tmp_path / "b.bin"),
    )
    text.write_text("to be " * 10)
    assert run("encode", text, *encode) == 0
    printed = capsys.readouterr().out
    assert "MB/s" not in printed
    tokens = open_token_file(tmp_path / "b.bin").num_tokens
    assert f"{60 / tokens:.3f} bytes per token, end-of-text tokens counted" in printed
    text.write_text("to be " * 200_000)
    assert run("encode", text, *encode, "--overwrite") == 0
    assert "MB/s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "page", "mistake"),
    [
        (("account", "gpt2-small"), "runs/account/account.html", ("--mfu", 2)),
        (
            ("compare-tokenizers", "{text}", "--vocab-sizes", 260),
            "runs/tokenizers/comparison.png",
            ("--tokenizer", "absent"),
        ),
        (
            ("tokenizer-report", "{text}", "--tokenizer", "{tokenizer}"),
            "runs/tokenizer-report/report.html",
            ("--against", "absent"),
        ),
        (("report", "{run}"), "runs/report/report.html", ("absent",)),
    ],
    ids=lambda one: one[0] if isinstance(one, tuple) else "",
)
def test_a_second_look_takes_the_place_of_the_first(
    command: tuple[object, ...],
    page: str,
    mistake: tuple[object, ...],
    text: Path,
    tokenizer: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "run" / "config.json", {})
    places = {"text": text, "tokenizer": tokenizer, "run": tmp_path / "run"}
    words = [str(one).format(**places) for one in command]
    assert run(*words) == 0
    (tmp_path / page).write_text("earlier")
    assert run(*words) == 0
    assert (tmp_path / page).read_bytes() != b"earlier"
    # A folder that somebody named keeps what it has; what is wrong elsewhere is told before.
    named = (tmp_path / page).parent.rename(tmp_path / "named")
    capsys.readouterr()
    assert run(*words, "--output", named) == 2
    assert "already: --overwrite replaces it" in capsys.readouterr().err
    assert run(*words, *mistake, "--output", named) == 2
    assert "already" not in capsys.readouterr().err
    (tmp_path / page).parent.mkdir()
    (tmp_path / page).with_name("thesis.tex").write_text("years of work")
    assert run(*words) == 2
    assert "holds thesis.tex" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "is_file"),
    [
        (("train-tokenizer", "{text}"), False),
        (("encode", "{text}", "--tokenizer", "{tokenizer}"), True),
        (("compare-tokenizers", "{text}", "--vocab-sizes", 260), False),
        (("tokenizer-report", "{text}", "--tokenizer", "{tokenizer}"), False),
        (("ngram", "--tokens", "{tokens}", "--validation", "{tokens}"), True),
        (("account", "gpt2-small"), False),
        (("train", "tiny", "--tokens", "{tokens}"), False),
        (("ablate", "norm"), False),
        (("report", "{run}"), False),
        (("leaderboard", "laptop"), False),
    ],
    ids=lambda one: one[0] if isinstance(one, tuple) else "",
)
def test_other_work_is_never_replaced(
    command: tuple[object, ...],
    is_file: bool,
    text: Path,
    tokenizer: Path,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    places = {"text": text, "tokenizer": tokenizer, "tokens": tmp_path / "train.bin"}
    places["run"] = tmp_path / "run"
    write_json(places["run"] / "config.json", {})
    encode = ("encode", text, "--tokenizer", tokenizer, "--output", places["tokens"])
    assert run(*encode) == 0
    words = [str(one).format(**places) for one in command]
    output = tmp_path / ("work.bin" if is_file else "work")
    thesis = output if is_file else output / "thesis.tex"
    thesis.parent.mkdir(exist_ok=True)
    thesis.write_text("years of work")
    capsys.readouterr()
    # Not even on request, where it is something else; a file of that name is what was asked for.
    has_no_option = is_file or command[0] == "leaderboard"
    for option in ([], [] if has_no_option else ["--overwrite"]):
        assert run(*words, "--output", output, *option) == 2
        error = capsys.readouterr().err
        assert "--overwrite replaces it" in error if is_file else "holds thesis.tex" in error
    assert thesis.read_text() == "years of work"


@pytest.mark.parametrize(
    "command",
    [
        ("train-tokenizer", "{text}"),
        ("encode", "{text}", "--tokenizer", "{tokenizer}"),
        ("tokenizer-report", "{text}", "--tokenizer", "{tokenizer}"),
    ],
    ids=lambda one: one[0],
)
def test_earlier_work_is_replaced_on_request(
    command: tuple[str, ...], text: Path, tokenizer: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = [one.format(text=text, tokenizer=tokenizer) for one in command]
    output = ("--output", tmp_path / "out.bin")
    assert run(*words, *output) == 0
    text.write_text("that is another question. " * 20)
    assert run(*words, *output) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert run(*words, *output, "--overwrite") == 0

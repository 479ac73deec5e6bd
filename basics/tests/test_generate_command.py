"""``basics generate``: prompts, samples, stop strings and typed lines."""

import io
import json
import logging
import shutil
import sys
from pathlib import Path

import pytest
import torch

from lm_basics.commands.generate import answer_lines
from lm_basics.commands.main import main
from lm_basics.decoding import generate
from lm_basics.export import load_model, save_model
from lm_basics.model_config import uniform_transformer
from lm_basics.sampling_config import SamplingConfig
from lm_basics.tokenizer import END_OF_TEXT, Tokenizer
from lm_basics.transformer import TransformerLM

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that writes random bytes, mostly letters."""
    folder = tmp_path_factory.mktemp("model")
    letters = {i: bytes([ord("a") + i]) for i in range(26)} | {26: b" "}
    others = [bytes([i]) for i in range(256) if bytes([i]) not in letters.values()]
    vocab = letters | {27 + i: byte for i, byte in enumerate(others)}
    tokenizer = Tokenizer(vocab, [], [END_OF_TEXT])
    torch.manual_seed(0)
    config = uniform_transformer(
        vocab_size=257, context_length=64, d_model=16, num_layers=1, num_heads=2
    )
    language_model = TransformerLM(config)
    assert language_model.lm_head is not None
    with torch.no_grad():
        # Tokens other than letters and the space become as good as impossible.
        language_model.lm_head.weight[27:] *= 0.01
        language_model.lm_head.weight[:27] *= 4
    save_model(language_model, folder, tokenizer=tokenizer)
    return folder


def _run(capsys: Capture, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["generate", *map(str, arguments)])
    assert isinstance(stopped.value.code, int)
    printed = capsys.readouterr()
    return stopped.value.code, printed.out, printed.err


def test_samples_differ_and_the_seed_repeats_them(model: Path, capsys: Capture) -> None:
    options = ("--model", model, "--max-new-tokens", 12, "--num-samples", 2)
    _, first, _ = _run(capsys, "so it", *options)
    lines = first.splitlines()
    assert lines[0] == "--- 1 of 2 ---"
    assert lines[1].startswith("so it")
    assert lines[2] == "--- 2 of 2 ---"
    assert lines[1] != lines[3]
    assert _run(capsys, "so it", *options) == (0, first, "")
    alone = _run(capsys, "so it", *options[:4])[1]
    assert alone == lines[1] + "\n"
    assert _run(capsys, "so it", *options, "--seed", 1)[1] != first


def test_a_stop_string_ends_the_text(model: Path, capsys: Capture) -> None:
    options = ("--model", model, "--max-new-tokens", 20)
    free = _run(capsys, "a", *options)[1].removesuffix("\n")
    stop = free[5:8]
    assert _run(capsys, "a", *options, "--stop", "NEVER", "--stop", stop)[1] == (
        free[: free.index(stop, 1)] + "\n"
    )


def test_a_prompt_may_stand_behind_a_stop_string(model: Path, capsys: Capture) -> None:
    options = ("--model", model, "--max-new-tokens", 20, "--stop", "NEVER")
    assert _run(capsys, *options, "a") == _run(capsys, "a", *options)


def test_top_k_one_is_greedy(model: Path, capsys: Capture) -> None:
    options = ("--model", model, "--max-new-tokens", 8)
    greedy = _run(capsys, "a", *options, "--temperature", 0)[1]
    assert _run(capsys, "a", *options, "--top-k", 1, "--temperature", 2)[1] == greedy


def test_an_empty_prompt_begins_a_document(model: Path, capsys: Capture) -> None:
    code, printed, _ = _run(capsys, "", "--model", model, "--max-new-tokens", 4)
    assert code == 0
    assert printed == _run(capsys, END_OF_TEXT, "--model", model, "--max-new-tokens", 4)[
        1
    ].removeprefix(END_OF_TEXT)


def test_typed_lines_are_continued_one_by_one(
    model: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--interactive", "--model", model, "--max-new-tokens", 5, "--temperature", 0)
    monkeypatch.setattr(sys, "stdin", io.StringIO("ab\n\ncd\nab\n"))
    code, printed, error = _run(capsys, *options)
    assert (code, error) == (0, "")
    first, second, third, end = printed.split("\n")[:-1]
    assert end == ""
    # Nothing is remembered: the same line has the same answer.
    assert first == third
    for line, answer in (("ab", first), ("cd", second)):
        alone = _run(capsys, line, *options[1:])[1]
        assert alone == line + answer + "\n"


def test_history_is_kept_when_asked(
    model: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--interactive", "--model", model, "--max-new-tokens", 5, "--temperature", 0)
    monkeypatch.setattr(sys, "stdin", io.StringIO("ab\ncd\n"))
    _, printed, _ = _run(capsys, *options, "--keep-history")
    first, second = printed.split("\n")[:2]
    whole = f"ab{first}\ncd"
    assert _run(capsys, whole, *options[1:])[1] == whole + second + "\n"


def test_ctrl_c_ends_a_dialogue_cleanly(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupted(text: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", io.StringIO("ab\ncd\n"))
    answer_lines(interrupted)
    assert capsys.readouterr().out == "\n"


def test_a_prompt_longer_than_the_context_is_told(
    model: Path, capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    prompt = "ab" * 40
    code, printed, _ = _run(capsys, prompt, "--model", model, "--max-new-tokens", 3)
    assert code == 0
    assert len(printed) == 84
    told = [one for one in caplog.messages if one.startswith("Of the prompt's 80 tokens ")]
    assert told == ["Of the prompt's 80 tokens the last 64 count."]


def test_log_lines_stand_behind_a_text(
    model: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both streams in one, as a terminal shows them.
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    _, printed, _ = _run(capsys, "ab" * 40, "--model", model, "--max-new-tokens", 3)
    text, rest = printed.split("\n", 1)
    assert len(text) == 83
    assert "Of the prompt's 80 tokens" in rest
    assert len(logging.getLogger().handlers) > 0


def test_json_lines_tell_texts_apart(model: Path, capsys: Capture) -> None:
    options = ("--model", model, "--max-new-tokens", 8, "--num-samples", 2)
    code, printed, _ = _run(capsys, "a b", *options, "--json")
    lines = [json.loads(line) for line in printed.splitlines()]
    assert code == 0
    assert [(one["prompt"], one["sample"]) for one in lines] == [("a b", 1), ("a b", 2)]
    plain = _run(capsys, "a b", *options)[1].splitlines()
    assert ["a b" + one["text"] for one in lines] == [plain[1], plain[3]]


def test_a_prompt_can_be_piped(
    model: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--model", model, "--max-new-tokens", 5)
    typed = _run(capsys, "a b", *options)
    monkeypatch.setattr(sys, "stdin", io.StringIO("a b\n"))
    assert _run(capsys, "-", *options) == typed


def test_a_model_without_a_chat_template_says_so(model: Path, capsys: Capture) -> None:
    code, printed, error = _run(capsys, "a", "--model", model, "--chat")
    assert (code, printed) == (2, "")
    assert "has no chat template" in error


def test_a_question_is_put_by_the_template_and_the_answer_stands_alone(
    model: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    chatty = tmp_path / "chatty"
    shutil.copytree(model, chatty)
    template = "{% for m in messages %}{{ m.role[0] }} {{ m.content }}{{ eos_token }}{% endfor %}a "
    (chatty / "chat_template.jinja").write_text(template)
    options = ("--model", chatty, "--max-new-tokens", 6, "--temperature", 0)
    whole = f"u hi{END_OF_TEXT}a "
    written = _run(capsys, whole, *options)[1].removeprefix(whole)
    assert _run(capsys, "hi", "--chat", *options)[1] == written
    monkeypatch.setattr(sys, "stdin", io.StringIO("hi\nso\n"))
    _, printed, _ = _run(capsys, "--interactive", "--keep-history", "--chat", *options)
    first, second = printed.split("\n")[:2]
    assert first + "\n" == written
    whole = f"u hi{END_OF_TEXT}a {first}{END_OF_TEXT}u so{END_OF_TEXT}a "
    assert _run(capsys, whole, *options)[1] == whole + second + "\n"


@pytest.mark.parametrize("count", [1, 2])
def test_a_text_ends_at_the_end_that_the_model_names(
    model: Path, tmp_path: Path, capsys: Capture, count: int
) -> None:
    other = tmp_path / "other"
    shutil.copytree(model, other)
    sampling = SamplingConfig(max_new_tokens=30, temperature=0.8, top_p=0.95)
    tokenizer = Tokenizer.from_folder(model)
    free = generate(load_model(model), tokenizer.encode("so"), sampling)
    ends = [free[9], free[6]][:count]
    named = {"eos_token_id": ends[0] if count == 1 else ends}
    (other / "generation_config.json").write_text(json.dumps(named))
    text = tokenizer.decode(free[: min(map(free.index, ends))])
    assert _run(capsys, "so", "--model", other)[1] == f"so{text}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", "--interactive"), "--interactive reads the prompts: give none"),
        (("--interactive", "--num-samples", 2), "--interactive reads the prompts: give none"),
        (("a", "--keep-history"), "--keep-history is for --interactive"),
        ((), "expected one prompt, got none: give one in quotes, or lines by --int"),
        (("a", "--num-samples", 0), "--num-samples must be at least 1, got 0"),
        (("a", "--top-k", 0), "--top-k must be at least 1 or None, got 0"),
        (("a", "--top-p", 1.5), "--top-p must lie in (0, 1], got 1.5"),
        (("a", "--stop", ""), "a stop string must not be empty"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_the_model_is_read(
    arguments: tuple[object, ...], message: str, capsys: Capture
) -> None:
    code, _, error = _run(capsys, *arguments, "--model", "absent")
    assert code == 2
    assert message in error


def test_a_training_run_stands_for_its_model(model: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "model").symlink_to(model)
    options = ("--max-new-tokens", 5)
    inside = _run(capsys, "so it", "--model", model, *options)
    assert inside[0] == 0
    assert _run(capsys, "so it", "--model", tmp_path, *options) == inside
    code, _, error = _run(capsys, "so it", "--model", tmp_path / "absent")
    assert (code, error) == (
        2,
        f"basics: error: there is no folder {tmp_path / 'absent'} with a model\n",
    )

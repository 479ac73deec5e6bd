"""The page, the figures, and the command that writes them."""

import sys
from dataclasses import replace
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

from basics.tests.accounting_models import BASE, MODELS
from lm_basics.accounting import (
    account as account_module,
    count_parameters,
    forward_flops_per_token,
)
from lm_basics.accounting.account import (
    Account,
    AccountConfig,
    account_for,
    in_bytes,
    in_count,
    in_flops,
    in_time,
)
from lm_basics.accounting.page import (
    account_page,
    growing_models,
    share_by_context_figure,
    share_by_size_figure,
)
from lm_basics.accounting.published import find_model
from lm_basics.commands.main import main
from lm_basics.export import save_model
from lm_basics.transformer import TransformerLM
from lm_shared import tensors
from lm_shared.config import from_dict, to_dict
from lm_shared.devices import DEVICES
from lm_shared.files import read_json, write_json


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["basics", "account", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_an_account_survives_json() -> None:
    account = account_for("experts", MODELS["experts"], AccountConfig(dollars_per_hour=2.0))
    assert from_dict(Account, to_dict(account)) == account
    assert account.active_parameters < account.parameters.total


def test_the_page_holds_the_courses_answers_and_nothing_from_outside() -> None:
    text = account_page(account_for("small", BASE, AccountConfig(num_tokens=1e6))).to_html()
    for number in ("1,640,452,800", "3.517e+12", "162,148,608", "16.4 GB", "4,853", "61.7"):
        assert number in text
    for name in ("llama3-405b", "gpt3-175b"):
        assert name in text
    assert text.count("<svg") == 2
    assert "<script" not in text
    assert "src=" not in text


def test_a_model_that_does_not_fit_says_over_how_many_devices_it_goes() -> None:
    huge = account_for("llama3-405b", growing_models()[-1], AccountConfig())
    text = account_page(huge).to_html()
    assert huge.largest_batch == 0
    assert huge.least_devices == -(-16 * huge.parameters.total // 80_000_000_000)
    assert f"must be spread over {huge.least_devices} devices" in text


def test_a_batch_of_one_is_one_sequence() -> None:
    account = account_for("gpt2-xl", find_model("gpt2-xl"), AccountConfig(device="l40s"))
    assert account.largest_batch == 1
    assert "hold 1 sequence." in account_page(account).to_html()


def test_growing_models_span_10_million_to_175_billion() -> None:
    models = growing_models()
    sizes = [count_parameters(model) - model.vocab_size * model.d_model for model in models]
    assert sizes == sorted(sizes)
    assert sizes[0] < 10e6
    assert sizes[-1] == pytest.approx(175e9, rel=0.01)


@pytest.mark.usefixtures("momentary")
@pytest.mark.parametrize("is_special", [False, True])
def test_a_page_tells_of_experts_checkpoints_and_dollars_where_there_are_some(
    is_special: bool,
) -> None:
    price = 2.0 if is_special else None
    options = AccountConfig(dollars_per_hour=price, checkpoint_blocks=is_special)
    account = account_for("a", MODELS["experts" if is_special else "llama"], options)
    text = account_page(account).to_html()
    told = ("A token goes through", "those of the largest block", "inputs of checkpointed blocks")
    assert [one in text for one in told] == [is_special] * 3
    hours = account.training.device_hours
    assert account.training.dollars == (2.0 * hours if is_special else None)


def _lines(figure) -> dict[str, list[float]]:
    (axes,) = figure.axes
    return {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}


def test_shares_add_up_in_the_figures() -> None:
    for figure in (share_by_size_figure(), share_by_context_figure(BASE)):
        lines = _lines(figure)
        assert len(lines) == 4
        for shares in zip(*lines.values(), strict=True):
            assert sum(shares) == pytest.approx(100)


def test_attention_takes_over_as_the_context_grows() -> None:
    shares = _lines(share_by_context_figure(BASE))["attention: scores and sums"]
    assert shares == sorted(shares)
    assert shares[-1] > 80


@pytest.mark.parametrize(("context_length", "shortest"), [(1024, 128), (4, 1)])
def test_contexts_double_from_an_eighth_on(context_length: int, shortest: int) -> None:
    (axes,) = share_by_context_figure(replace(BASE, context_length=context_length)).axes
    for line in axes.get_lines():
        assert np.array(line.get_xdata()).tolist() == [shortest * 2**i for i in range(12)]


def test_the_command_writes_page_figures_and_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(TransformerLM(BASE), tmp_path / "model")
    output = tmp_path / "account"
    options = ("--context", 512, "--batch-size", 2, "--device", "b200", "--mfu", 0.5)
    options += ("--num-tokens", "1e9", "--num-devices", 8, "--output", output)
    assert _run(monkeypatch, tmp_path / "model", *options) == 0
    printed = capsys.readouterr().out
    assert f"{count_parameters(BASE):,}" in printed
    assert "NVIDIA B200" in printed
    names = {"account.html", "account.json", "shares-by-size.png", "shares-by-context.png"}
    assert {path.name for path in output.iterdir()} == names
    account = from_dict(Account, read_json(output / "account.json"))
    assert account.sequence_length == 512
    assert account.options.num_tokens == 1e9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gpt3",), "no model and no file 'gpt3': did you mean gpt3-175b?"),
        (("openai/gpt2-xl",), "no model and no file 'openai/gpt2-xl': did you mean gpt2-xl?"),
        (("absent.json",), "No such file or directory: absent.json"),
        ((str(Path(__file__).parent),), f"No such file or directory: {Path(__file__).parent}"),
        (("gpt2-xl", "--device", "h1000"), "no device 'h1000': did you mean h100?"),
        (("gpt2-xl", "--mfu", "40"), "mfu must lie in (0, 1], got 40.0"),
        (("gpt2-xl", "--context", "0"), "--context must be positive, got 0"),
        (("gpt2-xl", "--batch-size", "-1"), "--batch-size must be positive and finite, got -1"),
        (("gpt2-xl", "--num-devices", "0"), "--num-devices must be positive and finite, got 0"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _run(monkeypatch, *arguments, "--output", tmp_path / "account") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "account").exists()


def test_quantities_in_words() -> None:
    assert in_bytes(26_247_244_800) == "26.2 GB"
    assert in_bytes(7) == "7 B"
    assert in_count(1_640_452_800) == "1.64 billion"
    assert in_count(300) == "300"
    assert in_flops(3.51677e12) == "3.517e+12"
    assert in_time(0.0312) == "31.2 ms"
    assert in_time(90) == "90 s"
    assert in_time(202.3 * 86400) == "202.3 days"


def test_an_output_that_is_a_file_is_refused_before_any_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "account").write_text("mine")
    assert _run(monkeypatch, "gpt2-small", "--output", tmp_path / "account") == 2
    captured = capsys.readouterr()
    assert "is a file, expected a folder" in captured.err
    assert not captured.out
    assert (tmp_path / "account").read_text() == "mine"


def test_a_run_and_what_it_records_of_itself_stand_for_its_model(tmp_path: Path) -> None:
    recorded = {"model": to_dict(BASE), "training": {}, "data": "x", "documents": None}
    write_json(tmp_path / "config.json", recorded)
    assert find_model(str(tmp_path / "config.json")) == BASE
    assert find_model(str(tmp_path)) == BASE
    save_model(TransformerLM(MODELS["llama"]), tmp_path / "model")
    assert find_model(str(tmp_path)).d_model == MODELS["llama"].d_model


@pytest.mark.parametrize("has_bfloat16", [False, True])
def test_on_a_cpu_the_type_is_the_one_that_training_takes(
    has_bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = replace(DEVICES["h100"], flops_per_s={"float32": 1e11, "bfloat16": 1e9})
    monkeypatch.setattr(account_module, "_this_cpu", lambda: machine)
    monkeypatch.setattr(tensors, "_has_fast_bfloat16", lambda _: has_bfloat16)
    on_cpu = account_for("base", BASE, AccountConfig(device="cpu"))
    expected = "bfloat16" if has_bfloat16 else "float32"
    assert (on_cpu.dtype, on_cpu.inference_dtype) == (expected, expected)
    one_type = account_for("base", BASE, AccountConfig(device="cpu", dtype=expected))
    assert on_cpu.training == one_type.training
    size = 2 if has_bfloat16 else 4
    assert on_cpu.inference.weight_bytes == size * count_parameters(BASE)
    rate = machine.flops_per_s[expected] * on_cpu.options.mfu
    per_token = forward_flops_per_token(BASE, BASE.context_length)
    assert on_cpu.inference.prefill_tokens_per_s == pytest.approx(rate / per_token)
    on_gpu = account_for("base", BASE, AccountConfig(device="h100", dtype="float32"))
    assert (on_gpu.dtype, on_gpu.inference_dtype) == ("float32", "bfloat16")
    # Without the checks of types that tests have.
    jaxtyping.config.update("jaxtyping_disable", True)
    with pytest.raises(ValueError, match="dtype"):
        account_for("base", BASE, AccountConfig(dtype="bf16"))  # pyright: ignore[reportArgumentType]


@pytest.mark.usefixtures("momentary")
def test_what_does_not_fit_is_told_with_what_would_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "llama3-8b", "--output", tmp_path) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.startswith(
        "this step does not fit: weights, gradients and optimizer state alone"
    )
    assert "state alone fill 2 devices; times and prices below leave that out" in printed
    assert _run(monkeypatch, "gpt2-xl", "--batch-size", 9, "--output", tmp_path, "--overwrite") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "does not fit: it needs" in printed
    ways = "--batch-size 1, --attention fused, --checkpoint-blocks, a shorter --context"
    assert f"the device has 80 GB. What takes less: {ways}; times" in printed
    assert _run(monkeypatch, "gpt2-small", "--output", tmp_path, "--overwrite") == 0
    assert "does not fit" not in capsys.readouterr().out

import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lm_shared.metrics import MetricsSink, MetricsWriter, TensorBoardSink, WandbSink, require_sink

has_tensorboard = importlib.util.find_spec("tensorboard") is not None
has_wandb = importlib.util.find_spec("wandb") is not None


@pytest.mark.skipif(has_tensorboard, reason="tensorboard is installed")
def test_without_tensorboard_the_extra_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not installed: .*lm-shared\[tensorboard\]"):
        TensorBoardSink(tmp_path)
    with pytest.raises(ValueError, match=r"not installed: .*lm-shared\[tensorboard\]"):
        require_sink("tensorboard")


@pytest.mark.skipif(has_wandb, reason="wandb is installed")
def test_without_wandb_the_extra_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not installed: .*lm-shared\[wandb\]"):
        WandbSink("project", tmp_path, {})


@pytest.mark.parametrize(
    "make_sink",
    [
        pytest.param(
            TensorBoardSink,
            marks=pytest.mark.skipif(not has_tensorboard, reason="needs tensorboard"),
        ),
        pytest.param(
            lambda folder: WandbSink("project", folder, {"lr": 1e-3}),
            marks=pytest.mark.skipif(not has_wandb, reason="needs wandb"),
        ),
    ],
    ids=["tensorboard", "wandb"],
)
def test_a_sink_writes_every_kind_of_value(
    tmp_path: Path, make_sink: Callable[[Path], MetricsSink]
) -> None:
    folder = tmp_path / "sink"
    with MetricsWriter(tmp_path / "metrics.jsonl", [make_sink(folder)]) as metrics:
        metrics.write(step=1, loss=0.5, phase="warm-up", lr=None, gap=math.inf)
        metrics.write(step=2, loss=0.25, is_last=True)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) > 0


@pytest.mark.parametrize(("resumed_at", "hidden_from"), [(None, None), (0, 1), (7, 8)])
def test_tensorboard_hides_what_comes_after_the_step_of_a_resumed_run(
    resumed_at: int | None, hidden_from: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    class Writer:
        def __init__(self, folder: str, *, purge_step: int | None) -> None:
            told.append((folder, purge_step))

        def add_scalar(self, *line: object) -> None:
            told.append(("number", *line))

        def add_text(self, *line: object) -> None:
            told.append(("text", *line))

        def close(self) -> None:
            told.append("closed")

    module = SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    sink = TensorBoardSink(tmp_path, resumed_at=resumed_at)
    sink.write(8, {"loss": 0.5, "phase": "warm-up", "lr": None})
    sink.close()
    lines = [("number", "loss", 0.5, 8), ("text", "phase", "warm-up", 8)]
    assert told == [(str(tmp_path), hidden_from), *lines, "closed"]


def test_weights_and_biases_gets_the_name_of_an_earlier_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    run = SimpleNamespace(
        log=lambda values, step: told.append((step, values)), finish=lambda: told.append("finished")
    )
    about: dict[str, Any] = {}
    module = SimpleNamespace(init=lambda **given: about.update(given) or run)
    monkeypatch.setitem(sys.modules, "wandb", module)
    sink = WandbSink("project", tmp_path / "wandb", {"lr": 1.0}, run_id="abc")
    sink.write(3, {"loss": 0.5})
    sink.close()
    assert (tmp_path / "wandb").is_dir()
    assert (about["id"], about["resume"], about["mode"]) == ("abc", "allow", "offline")
    assert told == [(3, {"loss": 0.5}), "finished"]

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path

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

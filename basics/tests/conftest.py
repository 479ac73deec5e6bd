"""Fixtures for tests that would take long: of commands that train, and of many tiny texts."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
from matplotlib.figure import Figure

from lm_basics import peak_flops

_SAVE = Figure.savefig


@pytest.fixture(scope="module")
def momentary() -> Iterator[None]:
    """Draw no more of figures than their labels, and measure no peak: both take their time.

    Of each page a test with ``drawn`` draws them after all.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", _save_labels)
        patch.setattr(peak_flops, "measure_matmul", lambda *_, **__: 1e11)
        yield


@pytest.fixture
def unchecked() -> None:
    """Leave out the checks of types, which cost most where thousands of texts are tiny."""
    jaxtyping.config.update("jaxtyping_disable", True)


@pytest.fixture
def drawn(momentary: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw whole figures in this test."""
    monkeypatch.setattr(Figure, "savefig", _SAVE)


def _save_labels(figure: Figure, target: io.StringIO | Path, **__: Any) -> None:
    labels = [label for axes in figure.axes for label in (axes.get_xlabel(), axes.get_ylabel())]
    text = "".join(f"<text>{label}</text>" for label in labels)
    svg = f'<svg width="1pt" height="1pt">{text}</svg>'
    if isinstance(target, io.StringIO):
        target.write(svg)
    else:
        Path(target).write_text(svg)

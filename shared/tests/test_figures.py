import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import image as mpl_image
from matplotlib.figure import Figure

from lm_shared.figures import (
    PALETTE,
    bar_figure,
    figure_svg,
    house_style,
    line_figure,
    waterfall_figure,
    write_png,
)

LOSS = {"training": ([1, 2, 3], [3.0, 2.0, 1.5]), "validation": ([1, 3], [3.1, 1.7])}


def texts(figure: Figure) -> list[str]:
    root = ET.fromstring(figure_svg(figure))
    return ["".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text")]


def loss_figure() -> Figure:
    return line_figure(LOSS, x_label="step", y_label="loss", baselines={"xz -9e": 1.75})


@pytest.mark.parametrize(
    "draw",
    [
        loss_figure,
        lambda: bar_figure({"crawl": 1.5, "train": 300.0}, x_label="seconds"),
        lambda: waterfall_figure(["in", "rules"], [100, 60], x_label="documents"),
    ],
    ids=["line", "bar", "waterfall"],
)
def test_drawing_twice_gives_the_same_bytes_without_traces_of_the_time(
    draw: Callable[[], Figure],
) -> None:
    first, second = figure_svg(draw()), figure_svg(draw())
    assert first == second
    assert "metadata" not in first
    assert ET.fromstring(first).tag.endswith("svg")


def test_an_image_is_whole_and_on_white(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    write_png(loss_figure(), path)
    pixels = mpl_image.imread(path)
    assert pixels.shape[:2] == (510, 1080)
    assert (pixels[0, 0] == 1).all()
    # The marker of the grid would be nearly black.
    light_gray = (np.abs(pixels[..., :3] * 255 - (0xD8, 0xDC, 0xE3)) < 3).all(-1)
    assert light_gray.sum() > 500


def test_the_page_decides_width_and_ink() -> None:
    svg = figure_svg(loss_figure())
    tag = svg[: svg.index(">")]
    assert "viewBox" in tag
    assert "width" not in tag
    assert "height" not in tag
    assert "currentColor" in svg
    assert "var(--grid" in svg
    assert "#01020" not in svg


def test_only_names_that_are_referred_to_remain() -> None:
    svg = figure_svg(loss_figure())
    names = re.findall(r'\bid="([^"]*)"', svg)
    assert names
    assert all(f"#{name}" in svg for name in names)


def test_line_figure_shows_labels_legend_and_baselines() -> None:
    shown = texts(loss_figure())
    assert {"step", "loss", "training", "validation", "xz -9e"} <= set(shown)


def test_points_take_the_color_of_their_curve_and_one_legend_entry() -> None:
    lines = {"a": ([1, 2], [1, 2]), "b": ([1, 2], [2, 1])}
    points = {"b": ([1.5], [1.5]), "c": ([1.2], [1.1])}
    figure = line_figure(lines, points=points, x_label="x", y_label="y")
    assert [line.get_color() for line in figure.axes[0].lines] == [*PALETTE[:2], *PALETTE[1:3]]
    legend = [one for one in texts(figure) if one in {"a", "b", "c"}]
    assert legend == ["a", "b", "c"]


def test_log_scales_and_large_numbers_are_written_short() -> None:
    wide = {"a": ([1e5, 1e6, 1e7], [10.0, 20_000.0, 30_000.0])}
    shown = texts(line_figure(wide, x_label="", y_label="", x_scale="log"))
    assert {"100k", "1M", "10M", "30k"} <= set(shown)
    narrow = {"a": ([1, 2], [2.0, 3.5])}
    assert "3" in texts(line_figure(narrow, x_label="", y_label="", y_scale="log"))


def test_bars_are_labeled_with_their_values_from_the_top() -> None:
    figure = bar_figure({"crawl": 12.34, "train": 1234.5}, x_label="seconds")
    assert {"12.34", "1,234", "crawl", "train"} <= set(texts(figure))
    low, high = figure.axes[0].get_ylim()
    assert low > high


def test_waterfall_widths_are_what_is_kept_and_what_was_lost() -> None:
    figure = waterfall_figure(["in", "rules", "copies"], [1000, 600, 600], x_label="documents")
    widths = [patch.get_width() for patch in figure.axes[0].patches]  # pyright: ignore[reportAttributeAccessIssue]
    assert widths == [1000, 600, 600, 0, 400, 0]
    assert {"1,000", "600", "kept", "dropped"} <= set(texts(figure))
    assert any(one.startswith("600") and "400" in one for one in texts(figure))


def test_long_names_are_cut_so_that_their_bars_have_room() -> None:
    figure = bar_figure({"https://example.org/" * 9: 1.0, "short": 2.0}, x_label="seconds")
    assert {"https://example.org/https://example.org…", "short"} <= set(texts(figure))


def test_dollar_signs_in_names_are_not_mathematics() -> None:
    assert "$5 and $6" in texts(bar_figure({"$5 and $6": 1.0}, x_label=""))


def test_the_house_style_ends_with_its_block() -> None:
    before = mpl.rcParams["axes.grid"]
    with house_style():
        assert mpl.rcParams["axes.grid"] is True
    assert mpl.rcParams["axes.grid"] == before


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="a: 2 x values for 1 y values"):
        line_figure({"a": ([1, 2], [1])}, x_label="", y_label="")
    with pytest.raises(ValueError, match="at least one series"):
        line_figure({}, x_label="", y_label="")
    with pytest.raises(ValueError, match="at least one value"):
        bar_figure({}, x_label="")
    with pytest.raises(ValueError, match="as many counts as labels, got 1 and 2"):
        waterfall_figure(["a", "b"], [1], x_label="")
    with pytest.raises(ValueError, match=r"must not grow .* got \[1, 2\]"):
        waterfall_figure(["a", "b"], [1, 2], x_label="")

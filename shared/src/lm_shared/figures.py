"""Figures in one house style, drawn by matplotlib and written as inline SVG or PNG.

Ink and grid are drawn in two marker colors that ``figure_svg`` turns into CSS: a figure takes the
text color of the page around it, so one file reads well on a light and on a dark page.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter, StrMethodFormatter

from lm_shared.files import atomic_path

Points = tuple[Sequence[float], Sequence[float]]
"""The x values and the y values of one series."""
Scale = Literal["linear", "log"]

# Okabe & Ito (2008): told apart with every common kind of color blindness. Their yellow is left
# out, it is too pale for thin lines, and their black, which would vanish on a dark page.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

_INK = "#010203"
_GRID = "#010204"
_GRID_ON_WHITE = "#d8dce3"
_CSS_COLORS = {_INK: "currentColor", _GRID: f"var(--grid, {_GRID_ON_WHITE})"}
_FONT = "system-ui, sans-serif"
_WIDTH_INCHES = 7.2
_PNG_DOTS_PER_INCH = 150
_MAX_LABEL_LENGTH = 40
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": _INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": _INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.facecolor": "none",
    "figure.figsize": (_WIDTH_INCHES, 3.4),
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.labelcolor": _INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    # Element names are hashes of their content: with a fixed salt a figure keeps its bytes.
    "svg.hashsalt": "lm_shared",
    "text.color": _INK,
    # Names come from data, and a dollar sign in them is not mathematics.
    "text.parse_math": False,
    "xtick.color": _INK,
    "xtick.major.size": 3,
    "ytick.color": _INK,
    # The grid lines already lead to the numbers.
    "ytick.major.size": 0,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house style inside of the block; no window is ever opened."""
    with mpl.rc_context(_STYLE):
        yield


def figure_svg(figure: Figure) -> str:
    """Return the figure as an ``<svg>`` element for an HTML page, the same bytes every time."""
    target = io.StringIO()
    with house_style():
        figure.savefig(target, format="svg")
    text = target.getvalue()
    svg = text[text.index("<svg") :]
    # The page decides the width; the view box keeps the proportions.
    svg = re.sub(r'^<svg ([^>]*?)width="[^"]*"', r'<svg role="img" \1', svg, count=1)
    svg = re.sub(r'^(<svg [^>]*?)height="[^"]*"', r"\1", svg, count=1)
    # It holds the time of the drawing.
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    svg = svg.replace("'DejaVu Sans'", _FONT)
    for marker, color in _CSS_COLORS.items():
        svg = svg.replace(marker, color)
    return _drop_unused_ids(svg)


def write_png(figure: Figure, path: Path | str) -> None:
    """Write the figure as an image on white, atomically."""
    for axes in figure.axes:
        for line in (*axes.get_xgridlines(), *axes.get_ygridlines()):
            line.set_color(_GRID_ON_WHITE)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_PNG_DOTS_PER_INCH, facecolor="white")


def line_figure(
    lines: Mapping[str, Points],
    *,
    x_label: str,
    y_label: str,
    points: Mapping[str, Points] | None = None,
    baselines: Mapping[str, float] | None = None,
    x_scale: Scale = "linear",
    y_scale: Scale = "linear",
) -> Figure:
    """Draw named curves, and if given named points and horizontal ``baselines`` to compare with.

    Points take the color of the curve of the same name: a fit and its measurements belong together.

    Raises:
        ValueError: a series has more values on one axis than on the other, or there is none.
    """
    points, baselines = points or {}, baselines or {}
    _check_series({**lines, **{f"points of {name}": series for name, series in points.items()}})
    with house_style():
        figure, axes = _new_figure(height_inches=3.4)
        names = list(dict.fromkeys([*lines, *points]))
        colors = {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(names)}
        for name, (x, y) in lines.items():
            axes.plot(x, y, color=colors[name], label=name)
        for name, (x, y) in points.items():
            label = None if name in lines else name
            axes.plot(x, y, "o", color=colors[name], markeredgewidth=0, label=label)
        for name, y_value in baselines.items():
            axes.axhline(y_value, color=_INK, linewidth=1, linestyle=(0, (4, 3)))
            place = (1.0, y_value)
            axes.annotate(
                name,
                place,
                xycoords=axes.get_yaxis_transform(),
                xytext=(0, 3),
                textcoords="offset points",
                ha="right",
                va="bottom",
            )
        axes.set(xlabel=x_label, ylabel=y_label, xscale=x_scale, yscale=y_scale)
        _shorten_ticks(axes.xaxis, x_scale)
        _shorten_ticks(axes.yaxis, y_scale)
        if len(names) > 1:
            axes.legend(loc="best")
    return figure


def bar_figure(values: Mapping[str, float], *, x_label: str, number_format: str = ",.4g") -> Figure:
    """Draw one horizontal bar for each name, its value written at the end.

    Raises:
        ValueError: there is no bar.
    """
    if not values:
        raise ValueError("a bar figure needs at least one value")
    with house_style():
        figure, axes = _new_figure(height_inches=0.9 + 0.3 * len(values))
        bars = axes.barh(range(len(values)), list(values.values()), color=PALETTE[0], height=0.68)
        axes.bar_label(bars, [format(value, number_format) for value in values.values()], padding=4)
        axes.set_xlabel(x_label)
        axes.margins(x=0.12)
        _arrange_rows(axes, list(values))
    return figure


def waterfall_figure(labels: Sequence[str], counts: Sequence[int], *, x_label: str) -> Figure:
    """Draw what is left after each step, and beside it, in another color, what the step took away.

    The first count is what came in.

    Raises:
        ValueError: the lengths differ, nothing is given, or a count grows.
    """
    if not counts or len(labels) != len(counts):
        raise ValueError(f"expected as many counts as labels, got {len(counts)} and {len(labels)}")
    before = [counts[0], *counts[:-1]]
    lost = [earlier - count for earlier, count in zip(before, counts, strict=True)]
    if min(lost) < 0:
        raise ValueError(f"counts must not grow from step to step, got {list(counts)}")
    with house_style():
        figure, axes = _new_figure(height_inches=0.9 + 0.3 * len(counts))
        rows = range(len(counts))
        axes.barh(rows, counts, color=PALETTE[0], height=0.68, label="kept")
        axes.barh(rows, lost, left=counts, color=PALETTE[1], height=0.68, label="dropped")
        for row, count, loss, end in zip(rows, counts, lost, before, strict=True):
            text = f"{count:,}" + (f"  (−{loss:,})" if loss else "")  # noqa: RUF001 - a minus sign
            axes.annotate(text, (end, row), xytext=(4, 0), textcoords="offset points", va="center")
        axes.set_xlabel(x_label)
        axes.margins(x=0.2)
        # Outside: labels of the rows may reach any corner.
        figure.legend(loc="outside upper right", ncols=2)
        _arrange_rows(axes, labels)
    return figure


def _new_figure(*, height_inches: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained")
    return figure, figure.add_subplot()


def _check_series(series: Mapping[str, Points]) -> None:
    if not series:
        raise ValueError("a line figure needs at least one series")
    for name, (x, y) in series.items():
        if len(x) != len(y):
            raise ValueError(f"{name}: {len(x)} x values for {len(y)} y values")


def _shorten_ticks(axis: Axis, scale: Scale) -> None:
    """Write large numbers as 10k and 3M."""
    low, high = sorted(map(abs, axis.get_view_interval()))
    if scale == "log":
        axis.set_major_formatter(EngFormatter(sep=""))
        # Between 2 and 3 there is no power of ten to write on: then the minor ticks are named.
        is_narrow = high < 10 * low
        axis.set_minor_formatter(EngFormatter(sep="") if is_narrow else NullFormatter())
    elif high >= 10_000:
        axis.set_major_formatter(EngFormatter(sep=""))
    elif high >= 1_000:
        axis.set_major_formatter(StrMethodFormatter("{x:,g}"))


def _arrange_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Name the rows from the top and leave only the lines that help to read them."""
    # A long name would leave no room for its bar.
    limit = _MAX_LABEL_LENGTH
    short = [label if len(label) <= limit else f"{label[: limit - 1]}…" for label in labels]
    axes.set_yticks(range(len(labels)), short)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    _shorten_ticks(axes.xaxis, "linear")


def _drop_unused_ids(svg: str) -> str:
    """Remove names that nothing refers to, which would repeat from figure to figure on a page."""
    used = set(re.findall(r"#([\w-]+)", svg))
    return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)

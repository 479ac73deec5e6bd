"""The figure of a comparison of tokenizers."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter

from lm_basics.tokenizer_views.comparison import TokenizerComparison
from lm_shared.figures import PALETTE, house_style

_WIDTH_INCHES = 7.2
_BAR_HEIGHT = 0.38


def comparison_figure(rows: Sequence[TokenizerComparison]) -> Figure:
    """Draw bytes per token over the size of the vocabulary, and what the sequences cost.

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("a comparison figure needs at least one tokenizer, got none")
    with house_style():
        height = max(3.4, 0.8 + 0.45 * len(rows))
        figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_compression(left, rows)
        _draw_costs(right, rows)
        # Outside: bars and their numbers may reach any corner.
        figure.legend(*right.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def _draw_compression(axes: Axes, rows: Sequence[TokenizerComparison]) -> None:
    """Draw one point per tokenizer, its name beside it."""
    largest = max(row.vocab_size for row in rows)
    for row in rows:
        place = (row.vocab_size, row.bytes_per_token)
        axes.plot(*place, "o", color=PALETTE[0])
        # The name of a point at the right edge would run out of the figure.
        is_right = row.vocab_size * 8 > largest
        axes.annotate(
            row.name,
            place,
            xytext=(-6 if is_right else 6, 4),
            textcoords="offset points",
            ha="right" if is_right else "left",
        )
    axes.set(xscale="log", xlabel="vocabulary", ylabel="bytes per token")
    axes.margins(x=0.15)
    axes.set_ylim(0, 1.12 * max(row.bytes_per_token for row in rows))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _draw_costs(axes: Axes, rows: Sequence[TokenizerComparison]) -> None:
    """Draw the length of the sequence and the cost of attention, both relative to bytes."""
    series = {
        "sequence length": [1 / row.bytes_per_token for row in rows],
        "attention cost": [row.attention_cost for row in rows],
    }
    for index, (name, values) in enumerate(series.items()):
        places = [place + (index - 0.5) * _BAR_HEIGHT for place in range(len(rows))]
        bars = axes.barh(places, values, height=_BAR_HEIGHT, color=PALETTE[index], label=name)
        axes.bar_label(bars, [f"{value:.3g}" for value in values], padding=3, fontsize=8)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.15)
    axes.set_xlabel("relative to one token per byte")

"""The learning curve of an entry against the division's clock."""

from pathlib import Path

from matplotlib.figure import Figure

from lm_basics.leaderboard.divisions import Division
from lm_shared.figures import figure_svg, house_style
from lm_shared.files import write_text
from lm_shared.runs import METRICS_NAME, read_metrics

CURVE_NAME = "curve.svg"


def write_curve(run: Path, folder: Path, division: Division) -> None:
    """Draw ``curve.svg``: the score on the first held-out tokens over the seconds of the run."""
    lines = [line for line in read_metrics(run / METRICS_NAME) if "val_score" in line]
    seconds = [line["elapsed_s"] for line in lines]
    with house_style():
        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(seconds, [line["val_score"] for line in lines], marker="o")
        axes.axvline(division.time_limit_s, color=axes.xaxis.label.get_color(), linewidth=1)
        axes.set(xlabel="seconds of training", ylabel=f"held-out {division.score}")
        axes.set_xlim(left=0)
    write_text(folder / CURVE_NAME, figure_svg(figure))

"""From scores to a decision, and how good it is: threshold, precision and recall.

Precision is the share of the texts at or above the threshold that have the label, recall the share
of the texts with the label that are there. Both are measured on texts that neither the model nor
the threshold has seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lm_shared.intervals import Interval, wilson_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """A share of held-out texts."""

    value: float
    """The share."""
    interval: Interval
    """Wilson's score interval."""
    num_texts: int
    """Texts of which it is the share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """How good a decision is on held-out texts."""

    num_texts: int
    """Held-out texts."""
    num_labelled: int
    """Those that have the label."""
    precision: Rate | None
    """``None`` where no text reaches the threshold."""
    recall: Rate
    """Share of the texts with the label that reach the threshold."""


def choose_threshold(
    scores: Sequence[float], has_label: Sequence[bool], *, min_precision: float | None = None
) -> float:
    """Return the score from which on a text counts as having the label.

    It has the highest F1, ``2 TP / (2 TP + FP + FN)``, or, with ``min_precision``, the highest
    recall among those of at least this precision. Among equals the highest threshold is taken.

    Raises:
        ValueError: No text has the label, or no threshold has this precision.
    """
    num_labelled = sum(has_label)
    if num_labelled == 0:
        raise ValueError("no text has the label: there is nothing to choose a threshold by")
    ranked = sorted(zip(scores, has_label, strict=True), reverse=True)
    best_value, best_threshold, best_precision, num_found = 0.0, None, 0.0, 0
    for rank, (score, is_labelled) in enumerate(ranked, start=1):
        num_found += is_labelled
        if rank < len(ranked) and ranked[rank][0] == score:
            # Texts with the same score are on the same side.
            continue
        precision = num_found / rank
        best_precision = max(best_precision, precision)
        if min_precision is None:
            value = 2 * num_found / (rank + num_labelled)
        else:
            value = num_found / num_labelled if precision >= min_precision else 0.0
        if value > best_value:
            best_value, best_threshold = value, score
    if best_threshold is None:
        raise ValueError(
            f"no threshold reaches min_precision={min_precision}, the best is {best_precision:.4f}"
        )
    return best_threshold


def measure_quality(
    scores: Sequence[float], has_label: Sequence[bool], threshold: float
) -> Quality:
    """Return precision and recall of a threshold.

    Raises:
        ValueError: No text has the label.
    """
    is_found = [score >= threshold for score in scores]
    num_found, num_labelled = sum(is_found), sum(has_label)
    num_right = sum(found and labelled for found, labelled in zip(is_found, has_label, strict=True))
    if num_labelled == 0:
        raise ValueError("no held-out text has the label: there is nothing to measure recall by")
    return Quality(
        num_texts=len(scores),
        num_labelled=num_labelled,
        precision=_rate(num_right, num_found) if num_found else None,
        recall=_rate(num_right, num_labelled),
    )


def _rate(part: int, whole: int) -> Rate:
    return Rate(value=part / whole, interval=wilson_interval(part, whole), num_texts=whole)

"""``data train-classifier``: labelled text in, a classifier with its threshold out."""

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lm_data.classifier_training.config import ClassifierConfig
from lm_data.filters.classifiers import Action
from lm_shared.command_options import Each, Overwrite
from lm_shared.wording import counted, wrote

if TYPE_CHECKING:
    from lm_data.classifier_training.thresholds import Rate

_DEFAULTS = ClassifierConfig()


def train(
    sources: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="TEXT [TEXT ...]", help_behavior_hint="(required)"),
    ],
    /,
    *,
    label: str,
    action: Action = "drop",
    output: Path = Path("runs/classifier"),
    text_column: str = "text",
    label_column: str = "label",
    rename: Annotated[
        tuple[str, ...],
        Each,
        tyro.conf.arg(metavar="OLD=NEW", help_behavior_hint="(default: none, repeatable)"),
    ] = (),
    config: Annotated[ClassifierConfig, tyro.conf.arg(name="")] = _DEFAULTS,
    overwrite: Overwrite = False,
) -> None:
    """Train a fastText classifier, choose its threshold, and measure it on held-out texts.

    Args:
        sources: files with labels (.csv, .tsv, .jsonl, or lines that begin with __label__), and
            label=path for Parquet, text and folders of one label.
        label: what the classifier looks for.
        action: what curation does with documents that have the label: drop them, or keep no others.
        output: folder of the classifier.
        text_column: column of the texts.
        label_column: column of the labels.
        rename: a label of the files, and what to call it.
        config: settings of the training.
        overwrite: replace an earlier classifier, as a whole.
    """
    from lm_data.classifier_training.labelled_text import Source, read_examples
    from lm_data.classifier_training.training import train_classifier

    if not sources:
        raise ValueError("expected labelled text, got none")
    names = dict(_parse_name(one) for one in rename)
    places = [Source.parse(source) for source in sources]
    examples = chain.from_iterable(
        read_examples(place, text_column=text_column, label_column=label_column, names=names)
        for place in places
    )
    report = train_classifier(
        examples, output, label=label, action=action, config=config, overwrite=overwrite
    )
    for name, count in report.examples.items():
        print(f"{name:<16} {count:>8}")
    held_out = report.held_out
    print(
        f"trained on {counted(report.num_training, 'text')}, threshold "
        f"{report.decision.threshold:.4f} by {counted(report.num_threshold, 'other')}, measured on "
        f"{counted(held_out.num_texts, 'other')}:"
    )
    print(f"precision {_describe(held_out.precision)}\nrecall    {_describe(held_out.recall)}")
    print(wrote(output, then=("data", "curate", "--classifiers", output)))


def _parse_name(argument: str) -> tuple[str, str]:
    old, separator, new = argument.partition("=")
    if not (old and separator and new):
        raise ValueError(f"expected old=new, got {argument!r}")
    return old, new


def _describe(rate: "Rate | None") -> str:
    if rate is None:
        return "unknown: no held-out text reaches the threshold"
    low, high = rate.interval.low, rate.interval.high
    return f"{rate.value:.3f} [{low:.3f}, {high:.3f}] of {counted(rate.num_texts, 'text')}"

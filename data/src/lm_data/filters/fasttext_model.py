"""Predictions of fastText models (Joulin et al., 2016), which language and classifiers share.

A model is read once in a process; predicting changes nothing in it, so threads and forked children
may share it. One that was replaced on the disk is read again. fastText itself is imported with the
first model, since settings need none.
"""

import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

LABEL_PREFIX = "__label__"
UNDETERMINED = "und"
"""ISO 639-2 code of an undetermined language: the label of a text that a model knows nothing of."""

_END_OF_LINE = "</s>"
_MAGIC = (793_712_314).to_bytes(4, "little")
_BEGINNING = struct.Struct("<8xi60xi")
"""Length of the vectors and number of labels, between others."""
_SHAPE = struct.Struct("<qq")


def join_lines(text: str) -> str:
    """Return a text as the one line that fastText learns from and predicts; it may be empty."""
    # fastText splits at zero bytes too, and where a page spells its end of a line it would stop.
    words = (word for word in text.replace("\0", " ").split() if word != _END_OF_LINE)
    # Half a surrogate pair, which JSON may hold, has no UTF-8.
    return " ".join(words).encode(errors="replace").decode()


def predict_label(text: str, model_path: Path) -> tuple[str, float]:
    """Return the most probable label, without its prefix, and its probability.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no whole fastText model.
    """
    scores = _predict(text, model_path, num_labels=1)
    return next(iter(scores.items()), (UNDETERMINED, 0.0))


def score_labels(text: str, model_path: Path) -> dict[str, float]:
    """Return the probability of every label, the highest first; nothing where a model has none.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no whole fastText model.
    """
    return _predict(text, model_path, num_labels=-1)


def list_labels(model_path: Path) -> list[str]:
    """Return the labels of a model, without their prefix, in alphabetical order.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no whole fastText model.
    """
    return sorted(label.removeprefix(LABEL_PREFIX) for label in load_model(model_path).get_labels())


def _predict(text: str, model_path: Path, num_labels: int) -> dict[str, float]:
    labels, scores = load_model(model_path).predict(join_lines(text), k=num_labels)
    # A softmax in single precision can exceed 1 by rounding.
    return {
        label.removeprefix(LABEL_PREFIX): min(max(float(score), 0.0), 1.0)
        for label, score in zip(labels, scores, strict=True)
    }


def load_model(path: Path) -> Any:
    """Return the model of a file; the last few stay in memory.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no whole fastText model.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no fastText model at {path}")
    status = path.stat()
    return _read_model(path.absolute(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _read_model(path: Path, modified_ns: int, size: int) -> Any:
    del modified_ns, size  # A file with others is another model.
    import fasttext  # noqa: PLC0415

    _check_whole(path)
    return fasttext.load_model(str(path))


def _check_whole(path: Path) -> None:
    """Raise an error for a file that is no model or was cut off, which crashes or stalls fastText.

    A model begins with its settings and the numbers of words and labels, and ends with the matrix
    of labels: its shape, then a vector for each.
    """
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING.size)
        if len(beginning) < _BEGINNING.size or not beginning.startswith(_MAGIC):
            raise ValueError(f"{path} is no fastText model")
        dim, num_labels = _BEGINNING.unpack(beginning)
        matrix_size = _SHAPE.size + 4 * num_labels * dim
        start = path.stat().st_size - matrix_size
        if num_labels > 0 and start > len(beginning):
            file.seek(start)
            if _SHAPE.unpack(file.read(_SHAPE.size)) == (num_labels, dim):
                return
    raise ValueError(
        f"{path} is cut off, has no labels, or is quantized to the last (qout): copy or download "
        "it again, or take another model"
    )

"""The class of every character in the GPT-2 pattern, as the ``regex`` module sees it.

The table is made by that module, so that fast and plain path follow the same version of Unicode.
Making it takes a tenth of a second; therefore it is kept in the user's cache folder.
"""

import logging
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import regex
from numpy.typing import NDArray
from platformdirs import user_cache_path

from lm_basics.tokenizer.kernels.records import LETTER, NUMBER, OTHER, WHITESPACE
from lm_shared.files import write_bytes

_NUM_CHARACTERS = sys.maxunicode + 1
_PATTERNS = {LETTER: r"\p{L}+", NUMBER: r"\p{N}+", WHITESPACE: r"\s+"}

logger = logging.getLogger(__name__)


@cache
def character_classes() -> NDArray[np.uint8]:
    """Return the class of every code point, 1,114,112 numbers."""
    path = user_cache_path("lm-from-scratch") / f"classes-{version('regex')}.bin"
    classes = _read(path)
    if classes is None:
        classes = classify_all_characters()
        try:
            write_bytes(path, classes.tobytes())
        except OSError as error:
            logger.debug("%s cannot be written: %s", path, error)
    return classes


def classify_all_characters() -> NDArray[np.uint8]:
    """Ask ``regex`` for the class of every code point."""
    classes = np.full(_NUM_CHARACTERS, OTHER, dtype=np.uint8)
    everything = "".join(map(chr, range(_NUM_CHARACTERS)))
    for kind, pattern in _PATTERNS.items():
        for run in regex.finditer(pattern, everything):
            classes[run.start() : run.end()] = kind
    return classes


def _read(path: Path) -> NDArray[np.uint8] | None:
    """Return the table in a file, ``None`` where there is none of the right kind."""
    try:
        classes = np.fromfile(path, dtype=np.uint8)
    except OSError:
        return None
    is_valid = len(classes) == _NUM_CHARACTERS and int(classes.max()) <= OTHER
    return classes if is_valid else None

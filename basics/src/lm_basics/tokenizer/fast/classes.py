"""The class of every character in the GPT-2 pattern, as the ``regex`` module sees it.

The table is made by that module, so that fast and plain path follow the same version of Unicode.
Making it takes a tenth of a second; therefore it is kept in the user's cache folder.
"""

import hashlib
import logging
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import regex
from numpy.typing import NDArray

from lm_basics.tokenizer.kernels.records import LETTER, NUMBER, OTHER, WHITESPACE
from lm_shared.files import write_bytes
from lm_shared.user_cache import user_cache_folder

_NUM_CHARACTERS = sys.maxunicode + 1
_PATTERNS = {LETTER: r"\p{L}+", NUMBER: r"\p{N}+", WHITESPACE: r"\s+"}

logger = logging.getLogger(__name__)


@cache
def character_classes() -> NDArray[np.uint8]:
    """Return the class of every code point, 1,114,112 numbers."""
    path = user_cache_folder() / f"classes-{version('regex')}.bin"
    classes = _read(path)
    if classes is None:
        classes = classify_all_characters()
        try:
            data = classes.tobytes()
            write_bytes(path, data + hashlib.sha256(data).digest())
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
    """Return the table in a file, ``None`` where it is missing or damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    classes, digest = data[:_NUM_CHARACTERS], data[_NUM_CHARACTERS:]
    is_intact = hashlib.sha256(classes).digest() == digest
    return np.frombuffer(classes, dtype=np.uint8) if is_intact else None

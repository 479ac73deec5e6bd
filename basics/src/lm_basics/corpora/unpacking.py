"""A .gz file unpacked as a stream, and checked by what gzip writes at its end."""

import gzip
import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path

from lm_shared.files import atomic_path

_BLOCK_BYTES = 1 << 20


def unpack_gzip(
    packed: Path, path: Path, *, report: Callable[[int, int], None] | None = None
) -> str:
    """Write the content of ``packed`` to ``path``, atomically, and return its SHA-256.

    Args:
        packed: The .gz file, which stays.
        path: Where the content goes.
        report: Told how many bytes of how many were read.

    Raises:
        ValueError: ``packed`` is damaged: not gzip, cut off, or with another check value.
    """
    digest, size = hashlib.sha256(), packed.stat().st_size
    try:
        if size == 0:
            raise EOFError("it is empty")
        with (
            atomic_path(path) as temporary,
            packed.open("rb") as raw,
            gzip.open(raw) as stream,
            temporary.open("wb") as file,
        ):
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
                file.write(block)
                if report is not None:
                    report(raw.tell(), size)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{packed} is damaged: {error}; remove it and run the same command again"
        ) from error
    return digest.hexdigest()

"""The sidecar of a token file: what is needed to interpret and check the two arrays beside it."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lm_shared.files import read_json, write_json

OFFSET_DTYPE = np.dtype("<i8")
"""Of the positions at which documents begin."""

_FORMAT = "lm-tokens-1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sidecar:
    """Content of the ``.json`` file."""

    format: str = _FORMAT
    """Version of all three files."""
    dtype: str
    """Of the ids, as numpy spells it."""
    num_tokens: int
    """Ids of all documents."""
    num_documents: int
    """Documents, empty ones included."""
    num_bytes: int | None
    """UTF-8 bytes of the text behind the tokens; ``None`` where the writer did not know."""
    vocab_size: int
    """All ids are below."""
    vocab_hash: str
    """``Tokenizer.vocab_hash`` of the tokenizer that made the ids."""


def dtype_on_disk(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """Return the smallest dtype that holds every id: uint16 up to 65,536 of them, else uint32."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def check_name(path: Path) -> None:
    """Raise ``ValueError`` unless the companions of ``path`` would have other names."""
    if path.suffix != ".bin":
        raise ValueError(f"expected a path that ends in .bin, got {path}")


def check_output(path: Path, inputs: Collection[Path] = ()) -> None:
    """Refuse to write a token file over what is none.

    Raises:
        ValueError: ``path`` does not end in .bin, it or a companion is a folder or one of
            ``inputs``, or a file stands where the sidecar would and is no sidecar.
    """
    check_name(path)
    sources = {source.resolve() for source in inputs}
    for output in (path, offsets_path(path), sidecar_path(path)):
        if output.is_dir():
            raise ValueError(f"{output} is a folder, a token file cannot be written there")
        if output.resolve() in sources:
            raise ValueError(f"{output} is read and would be replaced: choose another output")
    if sidecar_path(path).exists() and not _is_sidecar(sidecar_path(path)):
        raise ValueError(
            f"{sidecar_path(path)} would be replaced and belongs to no token file: choose another "
            "output"
        )


def _is_sidecar(path: Path) -> bool:
    try:
        data = read_json(path)
    except ValueError:
        return False
    return isinstance(data, dict) and str(data.get("format", "")).startswith("lm-tokens-")


def sidecar_path(path: Path) -> Path:
    """Return the path of the sidecar."""
    return path.with_suffix(".json")


def offsets_path(path: Path) -> Path:
    """Return the path of the positions at which documents begin."""
    return path.with_suffix(".offsets.bin")


def write_sidecar(path: Path, sidecar: Sidecar) -> None:
    """Write the sidecar of the token file ``path``: last, for it says that the rest is there."""
    write_json(sidecar_path(path), asdict(sidecar))


def read_sidecar(path: Path) -> Sidecar:
    """Read the sidecar of the token file ``path``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or ``path`` does not end in .bin.
    """
    check_name(path)
    if not sidecar_path(path).is_file():
        raise FileNotFoundError(
            f"{path} is no token file, for {sidecar_path(path)} is missing: encode the text first, "
            "as with the command basics encode"
        )
    data: Any = read_json(sidecar_path(path))
    try:
        sidecar = Sidecar(**data)
        counts = (sidecar.num_tokens, sidecar.num_documents, sidecar.vocab_size)
        is_valid = (
            "format" in data
            and sidecar.format == _FORMAT
            and sidecar.dtype in ("<u2", "<u4")
            and all(isinstance(count, int) and count > 0 for count in counts)
            and isinstance(sidecar.num_bytes, int | None)
        )
    except TypeError as error:
        raise damaged(sidecar_path(path), str(error)) from error
    if not is_valid:
        raise damaged(sidecar_path(path), f"it holds {data}")
    return sidecar


def damaged(path: Path, reason: str) -> ValueError:
    """Return the error to raise for a file that is not as it was written."""
    return ValueError(f"{path} is damaged: {reason}; delete it and encode the documents again")

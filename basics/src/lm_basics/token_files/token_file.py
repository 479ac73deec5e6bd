"""Token files: the ids of many documents as one flat array on disk.

``tokens.bin`` holds the ids back to back, little-endian, in uint16 where the vocabulary has at most
65,536 tokens and in uint32 otherwise, so that training maps it into memory and reads only what it
samples. ``tokens.offsets.bin`` holds the position of each document's first token (int64), and the
sidecar ``tokens.json`` what is needed to interpret and check both. The sidecar is written last:
where it exists, the rest is complete.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, Integer
from numpy.typing import NDArray

from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.patterns import END_OF_TEXT
from lm_shared.files import atomic_path, read_json, resolve_path, write_json

OFFSET_DTYPE = np.dtype("<i8")
"""Of the positions at which documents begin."""


_FORMAT = "lm-tokens-1"


_CHECKED_TOKENS = 1 << 22


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenFile:
    """An open token file; ``tokens`` is mapped, not read."""

    path: Path
    """The ``.bin`` file."""
    tokens: Integer[np.ndarray, " tokens"]
    """Ids of all documents."""
    document_starts: Int64[np.ndarray, " documents"]
    """Position of the first token of each document."""
    vocab_size: int
    """All ids are below."""
    vocab_hash: str
    """``Tokenizer.vocab_hash`` of the tokenizer that made the ids."""
    num_bytes: int | None
    """UTF-8 bytes of the text behind the tokens; ``None`` where the writer did not know."""

    @property
    def num_tokens(self) -> int:
        """Tokens of all documents."""
        return len(self.tokens)

    @property
    def num_documents(self) -> int:
        """Documents, empty ones included."""
        return len(self.document_starts)


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
    key: str | None = None
    """Of the inputs and settings of ``encode_files``, which alone knows them."""


def encode_documents(
    tokenizer: Tokenizer,
    texts: Iterable[str],
    path: Path,
    *,
    end_of_text: str = END_OF_TEXT,
) -> TokenFile:
    """Encode each text as a document that ends with the token ``end_of_text``.

    Text that spells a special token is encoded as the ordinary text that it is, so no document can
    forge the end of another.

    Raises:
        ValueError: ``end_of_text`` is no special token of ``tokenizer``, or there are no texts.
    """
    if isinstance(texts, str):
        raise TypeError(f"expected an iterable of texts, got the string {texts[:40]!r}")
    if end_of_text not in tokenizer.special_token_ids:
        raise ValueError(f"{end_of_text!r} is not among the tokenizer's special tokens")
    end = np.array([tokenizer.special_token_ids[end_of_text]], dtype=tokenizer.id_dtype)
    documents = (
        (np.concatenate([tokenizer.encode_to_numpy(text, allowed_special=()), end]), text)
        for text in texts
    )
    measured = ((ids, len(text.encode())) for ids, text in documents)
    vocab_size, vocab_hash = tokenizer.vocab_size, tokenizer.vocab_hash
    return _write(Path(path), measured, vocab_size=vocab_size, vocab_hash=vocab_hash)


def write_token_file(
    path: Path,
    documents: Iterable[Sequence[int] | NDArray[np.integer]],
    *,
    vocab_size: int,
    vocab_hash: str,
    num_bytes: int | None = None,
) -> TokenFile:
    """Write documents of token ids.

    Args:
        path: ends in ``.bin``; the two companions are named after it.
        documents: token ids; end-of-text tokens are the caller's.
        vocab_size: exclusive upper limit of the ids.
        vocab_hash: ``Tokenizer.vocab_hash``.
        num_bytes: UTF-8 bytes of the text, if known.

    Raises:
        TypeError: a document holds other things than integers.
        ValueError: an id is outside of the vocabulary, or there is no token at all.
    """
    measured = ((document, None) for document in documents)
    return _write(
        Path(path), measured, vocab_size=vocab_size, vocab_hash=vocab_hash, num_bytes=num_bytes
    )


def open_token_file(path: Path | str) -> TokenFile:
    """Map a token file into memory and check all of it.

    Raises:
        FileNotFoundError: one of the three files is missing.
        ValueError: the files are damaged, disagree, or hold ids outside of the vocabulary.
    """
    path = Path(path)
    sidecar = read_sidecar(path)
    tokens = _map_array(path, np.dtype(sidecar.dtype), sidecar.num_tokens)
    starts = np.array(_map_array(offsets_path(path), OFFSET_DTYPE, sidecar.num_documents))
    bounds = np.append(starts, sidecar.num_tokens)
    if starts[0] != 0 or np.any(np.diff(bounds) < 0):
        raise damaged(offsets_path(path), "its positions do not ascend from 0 to the last token")
    for first in range(0, len(tokens), _CHECKED_TOKENS):
        block = tokens[first : first + _CHECKED_TOKENS]
        _check_ids(block, sidecar.vocab_size, f"{path} is damaged, encode the documents again: it")
    return TokenFile(
        path=path,
        tokens=tokens,
        document_starts=starts.astype(np.int64),
        vocab_size=sidecar.vocab_size,
        vocab_hash=sidecar.vocab_hash,
        num_bytes=sidecar.num_bytes,
    )


def check_output(path: Path, inputs: Collection[Path] = ()) -> None:
    """Refuse to write a token file over what is none.

    Raises:
        ValueError: ``path`` does not end in .bin, it or a companion is a link, a folder, a device,
            a pipe or one of ``inputs``, or a file stands where the sidecar would and is no sidecar.
    """
    check_name(path)
    sources = {resolve_path(source) for source in inputs}
    for output in token_file_paths(path):
        # What it leads to may be a part of another token file.
        if output.is_symlink():
            choice = ", or name the file that it leads to" if output == path else ""
            raise ValueError(f"{output} is a link: remove it{choice}")
        if output.is_dir():
            raise ValueError(f"{output} is a folder, a token file cannot be written there")
        if resolve_path(output) in sources:
            raise ValueError(f"{output} is read and would be replaced: choose another output")
        if output.exists() and not output.is_file():
            raise ValueError(f"{output} is no regular file, a token file cannot be written there")
    if sidecar_path(path).exists() and not _is_sidecar(sidecar_path(path)):
        raise ValueError(
            f"{sidecar_path(path)} would be replaced and belongs to no token file: choose another "
            "output"
        )


def check_name(path: Path) -> None:
    """Raise ``ValueError`` unless the companions of ``path`` would have other names."""
    if path.suffix != ".bin":
        raise ValueError(f"expected a path that ends in .bin, got {path}")


def sidecar_path(path: Path) -> Path:
    """Return the path of the sidecar."""
    return path.with_suffix(".json")


def offsets_path(path: Path) -> Path:
    """Return the path of the positions at which documents begin."""
    return path.with_suffix(".offsets.bin")


def token_file_paths(path: Path) -> tuple[Path, Path, Path]:
    """Return the paths of all that belongs to the token file ``path``, itself first."""
    return path, offsets_path(path), sidecar_path(path)


def dtype_on_disk(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """Return the smallest dtype that holds every id: uint16 up to 65,536 of them, else uint32."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


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
            and isinstance(sidecar.key, str | None)
        )
    except TypeError as error:
        raise damaged(sidecar_path(path), str(error)) from error
    if not is_valid:
        raise damaged(sidecar_path(path), f"it holds {data}")
    return sidecar


def damaged(path: Path, reason: str) -> ValueError:
    """Return the error to raise for a file that is not as it was written."""
    return ValueError(f"{path} is damaged: {reason}; delete it and encode the documents again")


def _is_sidecar(path: Path) -> bool:
    try:
        data = read_json(path)
    except ValueError:
        return False
    return isinstance(data, dict) and str(data.get("format", "")).startswith("lm-tokens-")


def _write(
    path: Path,
    documents: Iterable[tuple[Sequence[int] | NDArray[np.integer], int | None]],
    *,
    vocab_size: int,
    vocab_hash: str,
    num_bytes: int | None = None,
) -> TokenFile:
    """Write documents, each with the bytes of its text where they are counted one by one."""
    check_output(path)
    dtype = dtype_on_disk(vocab_size)
    starts = [0]
    with atomic_path(path) as partial_path:
        with partial_path.open("wb") as file:
            for document, document_bytes in documents:
                # An empty list alone would become an array of floats.
                ids = np.asarray(document, dtype=None if len(document) else np.int64)
                _check_ids(ids, vocab_size, f"document {len(starts) - 1} for {path}")
                file.write(ids.astype(dtype).tobytes())
                starts.append(starts[-1] + len(ids))
                if document_bytes is not None:
                    num_bytes = document_bytes + (num_bytes or 0)
        num_tokens = starts.pop()
        if num_tokens == 0:
            raise ValueError(f"{path}: there is no token to write, all documents are empty")
        # From here to the new sidecar, the files of an earlier writing would not fit together.
        sidecar_path(path).unlink(missing_ok=True)
    with atomic_path(offsets_path(path)) as partial_path:
        np.array(starts, dtype=OFFSET_DTYPE).tofile(partial_path)
    sidecar = Sidecar(
        dtype=dtype.str,
        num_tokens=num_tokens,
        num_documents=len(starts),
        num_bytes=num_bytes,
        vocab_size=vocab_size,
        vocab_hash=vocab_hash,
    )
    write_sidecar(path, sidecar)
    return open_token_file(path)


def _check_ids(ids: NDArray[Any], vocab_size: int, name: str) -> None:
    """Raise unless all are integers inside of the vocabulary."""
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name} holds {ids.dtype} numbers, expected integers")
    if ids.size:
        for extreme in (int(ids.min()), int(ids.max())):
            if not 0 <= extreme < vocab_size:
                raise ValueError(f"{name} holds the id {extreme}, but vocab_size is {vocab_size}")


def _map_array(path: Path, dtype: np.dtype[Any], length: int) -> NDArray[Any]:
    """Map a flat file of ``length`` numbers, after a check of its size."""
    expected, size = length * dtype.itemsize, path.stat().st_size
    if size != expected:
        raise damaged(path, f"expected {expected} bytes for {length} numbers, found {size}")
    return np.memmap(path, dtype=dtype, mode="r")

"""The SHA-256 of a file, kept beside it as ``sha256sum`` writes and checks it."""

from pathlib import Path

from lm_shared.files import hash_file, write_text


def checksum_path(path: Path) -> Path:
    """Return where the SHA-256 of ``path`` is kept: ``<name>.sha256``."""
    return path.with_name(path.name + ".sha256")


def record_checksum(path: Path, sha256: str | None = None) -> str:
    """Write the SHA-256 of ``path`` beside it and return it; None means that it is computed."""
    sha256 = sha256 or hash_file(path)
    write_text(checksum_path(path), f"{sha256}  {path.name}\n")
    return sha256


def check_record(path: Path) -> str | None:
    """Return the SHA-256 of ``path`` if it was recorded, and None if it or its record is missing.

    Raises:
        ValueError: It was recorded and is another file now.
    """
    record = checksum_path(path)
    if not (path.is_file() and record.is_file()):
        return None
    recorded = record.read_text(encoding="utf-8").partition(" ")[0]
    found = hash_file(path)
    if found != recorded:
        raise ValueError(
            f"{path} has the SHA-256 {found}, but {record.name} says {recorded}: it was changed "
            "since; remove both to have it downloaded again"
        )
    return found

"""What an interrupted download has left: the first bytes of a file, and which file that is."""

from dataclasses import asdict, dataclass
from pathlib import Path

from lm_shared.files import read_json, write_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A file on a server, as the server describes it."""

    url: str
    """Address that was asked for."""
    etag: str | None
    """What the server calls this version of the file; None where that does not tell bytes apart."""
    num_bytes: int | None
    """Size of the whole file; None where the server does not say."""
    sha256: str | None
    """Of the whole file; None where the server does not say."""


class PartialDownload:
    """The file ``<name>.partial`` and beside it, as JSON, its ``Source``.

    Args:
        path: Where the whole file will be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + ".partial")
        self._source_path = path.with_name(path.name + ".partial.json")

    def source(self, url: str) -> Source | None:
        """Return what the bytes come from, if they may be gone on with from ``url``."""
        try:
            source = Source(**read_json(self._source_path))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return source if source.url == url and source.etag and self.path.is_file() else None

    def num_bytes(self) -> int:
        """Return how many bytes are there."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def begin(self, source: Source) -> None:
        """Drop the bytes that are there, and record what the next ones come from."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # In this order: a kill in between leaves nothing that looks like the new file's beginning.
        self.path.write_bytes(b"")
        write_json(self._source_path, asdict(source))

    def remove(self) -> None:
        """Drop everything."""
        self.path.unlink(missing_ok=True)
        self._source_path.unlink(missing_ok=True)

    def finish(self, path: Path) -> None:
        """Let the bytes take their final name."""
        self.path.replace(path)
        self._source_path.unlink(missing_ok=True)

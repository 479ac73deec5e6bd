"""The steps of curation by name, their settings, and how pages become documents."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from lm_data.convert.html import HtmlConfig, extract_text, normalize_whitespace
from lm_data.crawl.http_body import OVERSIZED, UNDECODABLE, is_binary
from lm_data.crawl.warc import Response
from lm_data.crawl.wet import ExtractedText
from lm_data.deduplicate.lines import LineConfig
from lm_data.deduplicate.minhash import MinHashConfig
from lm_data.document import Document
from lm_data.filters.c4 import C4Config
from lm_data.filters.fineweb import RULE_SETS, RuleSet
from lm_data.filters.language import LanguageConfig
from lm_data.filters.rules import GopherConfig
from lm_shared.config import check_choice

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
C4 = "c4"
CLASSIFIER = "classifier"

CHOSEN_STEPS = (*RULE_SETS, CLASSIFIER)
"""Names of the steps that run where they are asked for."""
STEP_NAMES = (RESPONSE, HTML, LANGUAGE, RULES, *CHOSEN_STEPS, EXACT, LINES, MINHASH)
"""Names of the steps that drop documents, in their order."""

MEASUREMENTS: dict[str, type] = {
    "alphabetic_share": float,
    "classifier_score": float,
    "crawl_languages": str,
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
    rule_sets: tuple[RuleSet, ...] = ()
    """Further published rules: repetition, gopher (the rest of them), c4, fineweb."""
    c4: C4Config = field(default_factory=C4Config)
    """How strict the rule set c4 is."""
    classifiers: tuple[Path, ...] = ()
    """Folders of classifiers, as data train-classifier writes them, that decide as well."""
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
        for name in self.rule_sets:
            check_choice("rule set", name, RuleSet)
        if not 0.0 < self.validation_share < 1.0:
            raise ValueError(f"validation_share={self.validation_share} is not between 0 and 1")
        if self.max_body_size < 1:
            raise ValueError(f"max_body_size={self.max_body_size} is not positive")


CORPUS_CONTENTS = ("train", "validation", "dropped", "config.json")
"""What the folder of a corpus holds besides its receipt."""

CURATE_RECIPES: dict[str, tuple[str, CurateConfig]] = {
    "english": ("English prose by the published rules.", CurateConfig()),
    "fineweb": (
        "English pages by the rules of FineWeb: repetition, Gopher, C4 and its own.",
        CurateConfig(rule_sets=tuple(RULE_SETS), c4=C4Config(terminal_punctuation=False)),
    ),
}
"""Curations by name: one line of help, then the configuration."""


def convert_response(response: Response, config: HtmlConfig) -> Document:
    """Return the response's text as a document; errors and other media are dropped at once."""
    document = Document(
        id=_hash_id(response.record_id),
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


def convert_extracted(page: ExtractedText, config: HtmlConfig) -> Document:
    """Return a text of a WET file as a document; the step from bytes to text is done already."""
    text = normalize_whitespace(page.text)[: config.max_characters]
    document = Document(
        id=_hash_id(page.record_id),
        url=page.url,
        text=text,
        source=_find_host(page.url),
        measurements={
            "fetched": page.date,
            "num_body_bytes": page.num_bytes,
            "crawl_languages": page.languages,
        },
    )
    return document if text else document.drop(HTML, "no_text")


def _hash_id(record_id: str) -> str:
    # Not of the text: a page keeps its id when the extraction changes.
    return hashlib.blake2b(record_id.encode(), digest_size=8).hexdigest()


def _find_host(url: str) -> str:
    try:
        return urlsplit(url).hostname or UNKNOWN_HOST
    except ValueError:
        # Crawls hold addresses that are none, such as brackets without an IPv6 address.
        return UNKNOWN_HOST

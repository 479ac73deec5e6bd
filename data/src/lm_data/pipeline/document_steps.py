"""The steps of curation that look at one document at a time.

A step is a pure function from document to document. It rejects by recording its name and a reason,
and leaves documents alone that an earlier step rejected.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from lm_data.convert.html import normalize_whitespace
from lm_data.document import Document
from lm_data.filters.c4 import C4Config, clean_page
from lm_data.filters.classifiers import Classifier
from lm_data.filters.fineweb import RULE_SETS, RuleSet
from lm_data.filters.language import LanguageConfig, identify_language
from lm_data.filters.pii import mask_emails, mask_ips, mask_phone_numbers
from lm_data.filters.rules import GopherConfig, find_failed_rule, measure_gopher
from lm_data.filters.text_parts import find_broken_rule
from lm_data.pipeline.steps import C4, CLASSIFIER, LANGUAGE, RULES

Step = Callable[[Document], Document]


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
    """Keeps documents that pass the course's selection of Gopher's rules, and the chosen sets."""

    config: GopherConfig
    """Limits of the selection."""
    rule_sets: tuple[RuleSet, ...] = ()
    """Further rules."""
    c4: C4Config = field(default_factory=C4Config)
    """How strict C4's rules are."""

    def __call__(self, document: Document) -> Document:
        """Measure what the selection looks at, and ``failed_value`` where a rule fails."""
        if not document.is_kept:
            return document
        document = self._apply_selection(document)
        for name in RULE_SETS:
            if name in self.rule_sets and document.is_kept:
                document = self._clean(document) if name == C4 else _apply_set(document, name)
        return document

    def _apply_selection(self, document: Document) -> Document:
        measured = measure_gopher(document.text)
        document = document.measure(
            num_words=measured.num_words,
            mean_word_length=measured.mean_word_length,
            ellipsis_share=measured.ellipsis_share,
            alphabetic_share=measured.alphabetic_share,
        )
        return _drop_broken(document, RULES, find_failed_rule(measured, self.config))

    def _clean(self, document: Document) -> Document:
        text, reason = clean_page(document.text, self.c4)
        if reason is not None:
            return document.drop(C4, reason)
        return replace(document, text=normalize_whitespace(text))


def _apply_set(document: Document, name: RuleSet) -> Document:
    is_english = document.measurements.get("language") in (None, "en")
    broken = find_broken_rule(document.text, RULE_SETS[name], is_english=is_english)
    return _drop_broken(document, name, broken)


def _drop_broken(document: Document, step: str, broken: tuple[str, float] | None) -> Document:
    if broken is None:
        return document
    rule, value = broken
    return document.measure(failed_value=value).drop(step, rule)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierStep:
    """Keeps documents that a classifier decides to keep."""

    classifier: Classifier
    """A model and its decision."""
    max_characters: int
    """The beginning of the text by which it is judged."""

    def __call__(self, document: Document) -> Document:
        """Measure ``classifier_score``; with several classifiers that of the last one stays."""
        if not document.is_kept:
            return document
        score = self.classifier.score(document.text[: self.max_characters])
        document = document.measure(classifier_score=round(score, 6))
        reason = self.classifier.find_reason(score)
        return document if reason is None else document.drop(CLASSIFIER, reason)


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

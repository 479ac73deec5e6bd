"""Near duplicates: copies of a text with the small changes that copies on the web have."""

import random
from collections.abc import Sequence

DROPPED_PARAGRAPH_SHARE = 0.03
REPLACEMENTS = {
    "which": "that",
    "shall": "will",
    "upon": "on",
    "great": "large",
    "been": "ben",
    "necessary": "neccessary",
    "government": "Government",
    "country": "nation",
    "between": "betwixt",
}


def make_near_duplicate(
    paragraphs: Sequence[str], rng: random.Random, *, changed_share: float
) -> tuple[str, ...]:
    """Replace about ``changed_share`` of the words and drop one short paragraph.

    A changed word touches five word 5-grams, so a share of 0.5% leaves a Jaccard similarity of
    about 0.95. Words change to a synonym or a misprint, or stand twice.
    """
    # A long paragraph would take more of the similarity than all changed words together.
    total = sum(map(len, paragraphs))
    limit = DROPPED_PARAGRAPH_SHARE * total
    short = [place for place, text in enumerate(paragraphs) if len(text) <= limit]
    dropped = rng.choice(short) if short else None
    kept = [text for place, text in enumerate(paragraphs) if place != dropped]
    return tuple(_change_words(text, rng, changed_share) for text in kept)


def _change_words(text: str, rng: random.Random, share: float) -> str:
    words = text.split(" ")
    for place, word in enumerate(words):
        if rng.random() < share:
            words[place] = REPLACEMENTS.get(word, f"{word} {word}")
    return " ".join(words)

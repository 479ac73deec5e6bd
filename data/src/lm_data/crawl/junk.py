"""Junk pages: what most of a crawl consists of, one maker per kind."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from lm_data.crawl.page_templates import Page, render_page

SPAM_WORDS = (
    "telecommunications", "entertainment", "accommodation", "advertisements", "subscriptions",
    "cryptocurrency", "recommendations", "international", "refinancing", "rejuvenating",
    "professional", "pharmaceuticals", "personalized", "consultations", "comprehensive",
)  # fmt: skip
SHORT_WORDS = (
    "I", "a", "to", "be", "we", "go", "it", "is", "in", "on", "of", "my", "no", "so", "up", "do",
    "he", "me", "at", "or",
)  # fmt: skip
LATIN_TEXT = (
    "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut "
    "labore et dolore magna aliqua enim ad minim veniam quis nostrud exercitation ullamco laboris "
    "nisi aliquip ex ea commodo consequat duis aute irure in reprehenderit voluptate velit esse "
    "cillum fugiat nulla pariatur excepteur sint occaecat cupidatat non proident sunt culpa qui "
    "officia deserunt mollit anim id est laborum"
)
MENU_ITEMS = (
    "Home", "About", "Contact", "Login", "Register", "Cart", "Checkout", "News", "Blog", "FAQ",
    "Terms", "Privacy", "Careers", "Press", "Support", "Forum", "Gallery", "Events", "Sitemap",
)  # fmt: skip
TEASERS = (
    "The ten things that your dentist will never tell you about",
    "This one simple trick has changed the way that people cook",
    "What happened next in the small town surprised everybody and",
    "Why the experts now say that you should never again buy",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class JunkPage:
    """A junk page as the server sends it."""

    body: bytes
    """Payload."""
    status_line: str = "200 OK"
    """HTTP status."""
    content_type: str = "text/html; charset=utf-8"
    """HTTP content type."""


def make_junk_page(kind: str, rng: random.Random) -> JunkPage:
    """Make a page of one of the ``JUNK_KINDS``.

    Raises:
        ValueError: The kind is unknown.
    """
    if kind not in _MAKERS:
        raise ValueError(f"kind={kind!r} is none of {', '.join(JUNK_KINDS)}")
    return _MAKERS[kind](rng)


def _page(title: str, paragraphs: list[str], rng: random.Random) -> JunkPage:
    page = Page(title=title, site="Junk Yard", paragraphs=tuple(paragraphs))
    return JunkPage(body=render_page("article", page, rng).encode())


def _make_too_short(rng: random.Random) -> JunkPage:
    number = rng.randrange(10**6)
    return _page("Thank you", [f"Your order {number} has been received. Please come again."], rng)


def _make_menu(rng: random.Random) -> JunkPage:
    items = "".join(
        f'<li><a href="/{rng.randrange(10**4)}">{rng.choice(MENU_ITEMS)}</a></li>'
        for _ in range(60)
    )
    html = f"<html><body><nav><ul>{items}</ul></nav><ul class='menu'>{items}</ul></body></html>"
    return JunkPage(body=html.encode())


def _make_keyword_spam(rng: random.Random) -> JunkPage:
    lines = [" ".join(rng.choices(SPAM_WORDS, k=12)) + " for you." for _ in range(25)]
    return _page("Best offers", lines, rng)


def _make_lorem(rng: random.Random) -> JunkPage:
    words = LATIN_TEXT.split()
    sentences = [" ".join(rng.choices(words, k=40)).capitalize() + "." for _ in range(12)]
    return _page("Sample page", sentences, rng)


def _make_numbers(rng: random.Random) -> JunkPage:
    rows = [
        "The monthly figures for the station are "
        + " ".join(f"{rng.uniform(0, 1000):.1f}" for _ in range(6))
        for _ in range(40)
    ]
    return _page("The table of all the values", rows, rng)


def _make_ellipsis(rng: random.Random) -> JunkPage:
    lines = [f"{rng.choice(TEASERS)} {rng.randrange(100)} of the others..." for _ in range(30)]
    return _page("Read more", lines, rng)


def _make_short_words(rng: random.Random) -> JunkPage:
    lines = [" ".join(rng.choices(SHORT_WORDS, k=40)) for _ in range(10)]
    return _page("Index of the letters", lines, rng)


def _make_binary(rng: random.Random) -> JunkPage:
    return JunkPage(body=b"\x89PNG\r\n\x1a\n" + rng.randbytes(4000))


def _make_script_only(rng: random.Random) -> JunkPage:
    # More than any page's text, and yet nothing that a reader would see.
    script = f"window.app={{id:{rng.randrange(10**6)},mount:'#root'}};" * 40
    html = f"<html><head><title>App</title></head><body><div id=root></div><script>{script}"
    return JunkPage(body=f"{html}</script></body></html>".encode())


def _make_http_error(rng: random.Random) -> JunkPage:
    status = rng.choice(("404 Not Found", "500 Internal Server Error", "403 Forbidden"))
    body = f"<html><body><h1>{status}</h1><p>The page could not be served.</p></body></html>"
    return JunkPage(body=body.encode(), status_line=status)


def _make_not_html(rng: random.Random) -> JunkPage:
    content_type = rng.choice(("image/png", "application/json", "text/css", "application/pdf"))
    return JunkPage(body=rng.randbytes(600), content_type=content_type)


_MAKERS: dict[str, Callable[[random.Random], JunkPage]] = {
    "too_short": _make_too_short,
    "menu": _make_menu,
    "keyword_spam": _make_keyword_spam,
    "lorem": _make_lorem,
    "numbers": _make_numbers,
    "ellipsis": _make_ellipsis,
    "short_words": _make_short_words,
    "binary": _make_binary,
    "script_only": _make_script_only,
    "http_error": _make_http_error,
    "not_html": _make_not_html,
}
JUNK_KINDS = tuple(_MAKERS)
"""Names of the kinds of junk, in the order in which the sample crawl uses them."""

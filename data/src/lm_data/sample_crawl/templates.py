"""How the pages of the sample crawl look: five kinds of web site, and eleven kinds of junk."""

import html
import random
from collections.abc import Callable
from dataclasses import dataclass

COOKIE_BANNER = (
    '<div class="cookie-banner" id="cookie-consent" role="dialog">We use cookies to improve your '
    'experience. <a href="/privacy">Learn more</a> <button>Accept all cookies</button></div>'
)
TRACKING = (
    "<script>(function(w,d){w.dataLayer=w.dataLayer||[];"
    "w.dataLayer.push({event:'pageview',id:%d});})(window,document);</script>"
)
NAVIGATION = ("Home", "Documents", "Presidents", "Statistics", "Media", "About", "Search", "Help")
HEADLINES = (
    "Ten facts about the Capitol", "The history of the inaugural ball", "Letters from the attic",
    "How a bill becomes a law", "A day in the reading room", "Maps of the early republic",
)  # fmt: skip
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
class Page:
    """What a template shows."""

    title: str
    """Heading of the page."""
    site: str
    """Name of the web site."""
    paragraphs: tuple[str, ...]
    """The text, unescaped."""
    language: str = "en"
    """Value of the ``lang`` attribute."""
    charset: str = "utf-8"
    """Charset that the page declares."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedPage:
    """A page as the server sends it."""

    body: bytes
    """Payload of the answer."""
    status_line: str = "200 OK"
    """Status code and phrase."""
    content_type: str = "text/html; charset=utf-8"
    """``Content-Type`` header, parameters included."""


def render_page(template: str, page: Page, rng: random.Random) -> str:
    """Render a page with one of the ``TEMPLATES``; ``rng`` varies advertisements and scripts.

    Raises:
        ValueError: The template is unknown.
    """
    if template not in _RENDERERS:
        raise ValueError(f"template={template!r} is none of {', '.join(TEMPLATES)}")
    return _RENDERERS[template](page, rng)


def _head(page: Page, rng: random.Random, extra: str = "") -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="{page.language}">\n<head>\n<meta charset="{page.charset}">\n'
        f"<title>{html.escape(page.title)} | {html.escape(page.site)}</title>\n"
        f"<style>body{{margin:0}}.ad{{float:right}}</style>\n{TRACKING % rng.randrange(10**6)}\n"
        f"{extra}</head>\n"
    )


def _links(names: tuple[str, ...] | list[str]) -> str:
    return "".join(f'<li><a href="/{name.lower()}">{name}</a></li>' for name in names)


def _paragraphs(page: Page) -> list[str]:
    return [html.escape(text, quote=False) for text in page.paragraphs]


def _render_article(page: Page, rng: random.Random) -> str:
    """Sectioning elements of HTML 5."""
    body = "\n".join(f"<p>{text}</p>" for text in _paragraphs(page))
    related = _links(rng.sample(HEADLINES, 3))
    return (
        f"{_head(page, rng)}<body>\n{COOKIE_BANNER}\n<header><nav><ul>{_links(NAVIGATION)}</ul>"
        f"</nav></header>\n<main>\n<article>\n<h1>{html.escape(page.title)}</h1>\n{body}\n"
        f"</article>\n</main>\n<aside><h2>Related</h2><ul>{related}</ul></aside>\n"
        f"<footer><p>Copyright {html.escape(page.site)}. All rights reserved.</p></footer>\n"
        "</body></html>"
    )


def _render_blog(page: Page, rng: random.Random) -> str:
    """Nested containers of a blog engine, with widgets and comments."""
    texts = _paragraphs(page)
    ad = (
        f'<div class="ad advert" id="ad-{rng.randrange(99)}"><a href="/buy">Advertisement</a></div>'
    )
    # In the middle of the text, where no rule about the page's edges can find it.
    texts.insert(len(texts) // 2, ad)
    body = "\n".join(f"<p>{text}</p>" if text is not ad else text for text in texts)
    return (
        f'{_head(page, rng)}<body class="single">\n<div id="page"><div id="masthead">'
        f'<a href="/">{html.escape(page.site)}</a></div>\n<div id="primary-menu" class="menu">'
        f"<ul>{_links(NAVIGATION)}</ul></div>\n"
        f'<div id="content" class="site-content"><div class="entry-header">'
        f'<h1 class="entry-title">{html.escape(page.title)}</h1>'
        f'</div>\n<div class="entry-content">\n{body}\n</div>\n'
        '<div class="share-buttons"><a href="#">Share</a> <a href="#">Tweet</a></div></div>\n'
        f'<div id="sidebar" class="widget-area"><ul>{_links(rng.sample(HEADLINES, 4))}</ul></div>\n'
        f"{COOKIE_BANNER}\n"
        '<div id="footer" class="site-footer">Proudly powered by a blog engine</div></div>\n'
        "</body></html>"
    )


def _render_tables(page: Page, rng: random.Random) -> str:
    """Layout by tables, upper-case tags, no closing of paragraphs: the web of 1998."""
    body = "\n".join(f"<P>{text}" for text in _paragraphs(page))
    menu = "<BR>".join(f'<A HREF="{name}.htm">{name}</A>' for name in NAVIGATION)
    return (
        f"<HTML><HEAD><TITLE>{html.escape(page.title)}</TITLE></HEAD>\n"
        f"<BODY BGCOLOR=#FFFFFF><TABLE WIDTH=100% BORDER=0><TR><TD VALIGN=top>{menu}</TD>\n"
        f"<TD><CENTER><H2>{html.escape(page.title)}</H2></CENTER>\n{body}\n"
        f"</TD></TR></TABLE>\n<HR><FONT SIZE=1>You are visitor number {rng.randrange(10**6)} of "
        f"{html.escape(page.site)}.</FONT></BODY></HTML>"
    )


def _render_breaks(page: Page, rng: random.Random) -> str:
    """One container, its paragraphs held apart by line breaks."""
    body = "<br />\n<br />\n".join(_paragraphs(page))
    return (
        f'{_head(page, rng)}<body><div class="topbar">{_inline_links()}</div>\n'
        f"<h1>{html.escape(page.title)}</h1>\n"
        f'<div class="document-text">{body}</div>\n'
        f'<div class="breadcrumbs">{_inline_links()}</div>\n'
        f"<p>Text provided by {html.escape(page.site)} free of charge for every reader.</p>\n"
        f"<form><input name=q><input type=submit value=Search></form></body></html>"
    )


def _render_broken(page: Page, rng: random.Random) -> str:
    """Unclosed and crossed tags, unquoted attributes, a stray end tag."""
    body = "\n".join(f"<p class=body><span>{text}</b>" for text in _paragraphs(page))
    return (
        f"{_head(page, rng)}<body><div id=main><h1><i>{html.escape(page.title)}</h1></i>\n"
        f"</table>{body}\n<div class=footer><a href=/>Back to {html.escape(page.site)}</a>"
    )


def _inline_links() -> str:
    return " | ".join(f'<a href="/{name.lower()}">{name}</a>' for name in NAVIGATION)


_RENDERERS: dict[str, Callable[[Page, random.Random], str]] = {
    "article": _render_article,
    "blog": _render_blog,
    "tables": _render_tables,
    "breaks": _render_breaks,
    "broken": _render_broken,
}
TEMPLATES = tuple(_RENDERERS)
"""Names of the templates."""


def make_junk_page(kind: str, rng: random.Random) -> ServedPage:
    """Make a page of one of the ``JUNK_KINDS``.

    Raises:
        ValueError: The kind is unknown.
    """
    if kind not in _MAKERS:
        raise ValueError(f"kind={kind!r} is none of {', '.join(JUNK_KINDS)}")
    return _MAKERS[kind](rng)


def _page(title: str, paragraphs: list[str], rng: random.Random) -> ServedPage:
    page = Page(title=title, site="Junk Yard", paragraphs=tuple(paragraphs))
    return ServedPage(body=render_page("article", page, rng).encode())


def _make_too_short(rng: random.Random) -> ServedPage:
    number = rng.randrange(10**6)
    return _page("Thank you", [f"Your order {number} has been received. Please come again."], rng)


def _make_menu(rng: random.Random) -> ServedPage:
    items = "".join(
        f'<li><a href="/{rng.randrange(10**4)}">{rng.choice(MENU_ITEMS)}</a></li>'
        for _ in range(60)
    )
    html = f"<html><body><nav><ul>{items}</ul></nav><ul class='menu'>{items}</ul></body></html>"
    return ServedPage(body=html.encode())


def _make_keyword_spam(rng: random.Random) -> ServedPage:
    lines = [" ".join(rng.choices(SPAM_WORDS, k=12)) + " for you." for _ in range(25)]
    return _page("Best offers", lines, rng)


def _make_lorem(rng: random.Random) -> ServedPage:
    words = LATIN_TEXT.split()
    sentences = [" ".join(rng.choices(words, k=40)).capitalize() + "." for _ in range(12)]
    return _page("Sample page", sentences, rng)


def _make_numbers(rng: random.Random) -> ServedPage:
    rows = [
        "The monthly figures for the station are "
        + " ".join(f"{rng.uniform(0, 1000):.1f}" for _ in range(6))
        for _ in range(40)
    ]
    return _page("The table of all the values", rows, rng)


def _make_ellipsis(rng: random.Random) -> ServedPage:
    lines = [f"{rng.choice(TEASERS)} {rng.randrange(100)} of the others..." for _ in range(30)]
    return _page("Read more", lines, rng)


def _make_short_words(rng: random.Random) -> ServedPage:
    lines = [" ".join(rng.choices(SHORT_WORDS, k=40)) for _ in range(10)]
    return _page("Index of the letters", lines, rng)


def _make_binary(rng: random.Random) -> ServedPage:
    return ServedPage(body=b"\x89PNG\r\n\x1a\n" + rng.randbytes(4000))


def _make_script_only(rng: random.Random) -> ServedPage:
    # More than any page's text, and yet nothing that a reader would see.
    script = f"window.app={{id:{rng.randrange(10**6)},mount:'#root'}};" * 40
    html = f"<html><head><title>App</title></head><body><div id=root></div><script>{script}"
    return ServedPage(body=f"{html}</script></body></html>".encode())


def _make_http_error(rng: random.Random) -> ServedPage:
    status = rng.choice(("404 Not Found", "500 Internal Server Error", "403 Forbidden"))
    body = f"<html><body><h1>{status}</h1><p>The page could not be served.</p></body></html>"
    return ServedPage(body=body.encode(), status_line=status)


def _make_not_html(rng: random.Random) -> ServedPage:
    content_type = rng.choice(("image/png", "application/json", "text/css", "application/pdf"))
    return ServedPage(body=rng.randbytes(600), content_type=content_type)


_MAKERS: dict[str, Callable[[random.Random], ServedPage]] = {
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

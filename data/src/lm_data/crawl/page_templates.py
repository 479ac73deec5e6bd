"""Page templates: the boilerplate of different kinds of web sites around a text."""

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

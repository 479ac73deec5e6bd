"""The page of the tokenizer inspector: one HTML text without any data.

Style and script are inside of it, and its policy names them by their hashes: a browser runs nothing
else and loads nothing from elsewhere, not even if text that is inspected became part of the page.
"""

import base64
import hashlib
import importlib.resources
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class InspectorPage:
    """The page, and what its browser must be told."""

    html: str
    """The document."""
    content_security_policy: str
    """Value of the header of that name."""


def inspector_page() -> InspectorPage:
    """Put the page together."""
    style = _read("lm_shared", "templates/report.css") + _read(
        "lm_basics.tokenizer_views", "inspector.css"
    )
    script = _read("lm_basics.tokenizer_views", "inspector.js")
    document = _read("lm_basics.tokenizer_views", "inspector.html")
    directives = {
        "default-src": "'none'",
        "script-src": _source_of(script),
        "style-src": _source_of(style),
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        # With these the browser refuses to parse any string as HTML, even for the page's script.
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return InspectorPage(
        html=document.replace("{style}", style).replace("{script}", script),
        content_security_policy="; ".join(f"{name} {value}" for name, value in directives.items()),
    )


def _read(package: str, name: str) -> str:
    return importlib.resources.files(package).joinpath(name).read_text("utf-8")


def _source_of(content: str) -> str:
    """Return how a policy names an inline element."""
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"

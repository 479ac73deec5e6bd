"""Reports: one self-contained HTML page with numbers, tables, figures and samples of text.

Nothing on the page comes from elsewhere: style and figures are inside of it, there is no script,
and it opens from a disk without a network. All text is escaped, so samples may hold anything.
"""

import html
import importlib.resources
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from xml.etree import ElementTree as ET

from lm_shared.files import write_text

Cell = str | int | float | bool | None
"""A table cell; numbers are aligned and shortened, ``None`` shows as a dash."""

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<div class="page">
<nav aria-label="Contents"><div>
<p>Contents</p>
<ol>
{contents}
</ol>
</div></nav>
<main>
<header>
<h1>{title}</h1>
{lead}
</header>
{body}
</main>
</div>
</body>
</html>
"""


class Report:
    """A page, built from top to bottom: every method adds one piece and returns the report."""

    def __init__(self, title: str, lead: str = "") -> None:
        self.title = title
        self.lead = lead
        self._section_titles: list[str] = []
        self._pieces: list[str] = []

    def section(self, title: str, lead: str = "") -> Self:
        """Start a section; its title appears in the table of contents."""
        # Sections do not nest, so the next one ends the one before.
        if self._section_titles:
            self._pieces.append("</section>")
        self._section_titles.append(title)
        name = f"section-{len(self._section_titles)}"
        return self._add(
            f'<section id="{name}" aria-labelledby="{name}-title">',
            f'<h2 id="{name}-title">{html.escape(title)}</h2>',
            _lead(lead),
        )

    def paragraph(self, text: str) -> Self:
        """Add a paragraph."""
        return self._add(f"<p>{html.escape(text)}</p>")

    def key_numbers(self, numbers: Sequence[tuple[str, Cell, str]]) -> Self:
        """Add a row of cards; each is a label, a value and a note that may be empty."""
        cards = [
            f'<div><dt>{html.escape(label)}</dt><dd class="value">{_format(value)}</dd>'
            f'<dd class="note">{html.escape(note)}</dd></div>'
            for label, value, note in numbers
        ]
        return self._add('<dl class="cards">', *cards, "</dl>")

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str = ""
    ) -> Self:
        """Add a table; a column that holds only numbers is aligned to the right.

        Raises:
            ValueError: a row has not as many cells as there are columns.
        """
        _check_rows(columns, rows)
        is_number = [
            any(map(_is_number, column)) and all(one is None or _is_number(one) for one in column)
            for column in zip(*rows, strict=True)
        ] or [False] * len(columns)
        kinds = [' class="number"' if is_one else "" for is_one in is_number]
        return self._add(*_table(columns, rows, caption, kinds, kinds))

    def sample_table(
        self, columns: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str = ""
    ) -> Self:
        """Add a table of text samples, monospaced and with their line breaks, to compare in a row.

        Raises:
            ValueError: a row has not as many cells as there are columns.
        """
        _check_rows(columns, rows)
        kinds = [' class="sample"'] * len(columns)
        return self._add(*_table(columns, rows, caption, [""] * len(columns), kinds))

    def figure(self, svg: str, caption: str) -> Self:
        """Add a figure as ``lm_shared.figures.figure_svg`` returns it.

        Raises:
            ValueError: the text is not an SVG element, or it holds a script or an outside link.
        """
        _check_svg(svg)
        caption = f"<figcaption>{html.escape(caption)}</figcaption>"
        return self._add("<figure>", svg.strip(), caption, "</figure>")

    def text_block(self, text: str, caption: str) -> Self:
        """Add monospaced text with its line breaks."""
        caption = f"<figcaption>{html.escape(caption)}</figcaption>"
        return self._add("<figure>", _preformatted(text), caption, "</figure>")

    def details(self, summary: str, *texts: str) -> Self:
        """Add monospaced texts that show when a reader opens them."""
        return self._add(
            f"<details><summary>{html.escape(summary)}</summary><div>",
            *map(_preformatted, texts),
            "</div></details>",
        )

    def to_html(self) -> str:
        """Return the whole page."""
        contents = [
            f'<li><a href="#section-{number}">{html.escape(title)}</a></li>'
            for number, title in enumerate(self._section_titles, start=1)
        ]
        style = importlib.resources.files("lm_shared").joinpath("report.css").read_text("utf-8")
        end = ["</section>"] if self._section_titles else []
        return _PAGE.format(
            title=html.escape(self.title),
            style=style,
            contents="\n".join(contents),
            lead=_lead(self.lead),
            body="\n".join([*self._pieces, *end]),
        )

    def write(self, path: Path | str) -> None:
        """Write the page, atomically."""
        write_text(path, self.to_html())

    def _add(self, *pieces: str) -> Self:
        self._pieces.extend(piece for piece in pieces if piece)
        return self


def _lead(text: str) -> str:
    return f'<p class="lead">{html.escape(text)}</p>' if text else ""


def _preformatted(text: str) -> str:
    # HTML drops one newline after the tag: without this the text's own first one would vanish.
    return f"<pre>\n{html.escape(text)}</pre>"


def _table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    caption: str,
    head_kinds: Sequence[str],
    cell_kinds: Sequence[str],
) -> list[str]:
    heads = zip(columns, head_kinds, strict=True)
    head = "".join(f'<th scope="col"{kind}>{html.escape(one)}</th>' for one, kind in heads)
    body = [
        "".join(
            f"<td{kind}>{_format(cell)}</td>" for cell, kind in zip(row, cell_kinds, strict=True)
        )
        for row in rows
    ]
    return [
        '<div class="scroll" tabindex="0"><table>',
        f"<caption>{html.escape(caption)}</caption>" if caption else "",
        f"<thead><tr>{head}</tr></thead>",
        "<tbody>",
        *(f"<tr>{cells}</tr>" for cells in body),
        "</tbody></table></div>",
    ]


def _check_rows(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"expected {len(columns)} cells ({list(columns)}), got {list(row)}")


def _is_number(value: Cell) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _format(value: Cell) -> str:
    """Return a cell's text, escaped: thousands are grouped, floats have four significant digits."""
    if value is None:
        return "–"  # noqa: RUF001 - a dash, as tables have for "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"
    return html.escape(value)


# Within a page, styles refer to "#name"; whatever else they load comes from somewhere else.
_OUTSIDE_STYLE = re.compile(r"@import|url\(\s*['\"]?(?!\s*['\"]?(#|data:image/))", re.IGNORECASE)


def _check_svg(svg: str) -> None:
    try:
        root = ET.fromstring(svg)
    except ET.ParseError as error:
        raise ValueError(f"expected an SVG element, got {svg[:60]!r}: {error}") from error
    if _local_name(root.tag) != "svg":
        raise ValueError(f"expected an SVG element, got <{_local_name(root.tag)}>")
    for element in root.iter():
        if _local_name(element.tag) in {"script", "foreignObject", "iframe"}:
            raise ValueError(f"a figure must not hold <{_local_name(element.tag)}>")
        for value in (element.text or "", *element.attrib.values()):
            if _OUTSIDE_STYLE.search(value):
                raise ValueError(f"a figure must not load from outside: {value.strip()[:60]!r}")
        for name, value in element.attrib.items():
            is_outside = _local_name(name) == "href" and not value.startswith(("#", "data:image/"))
            if is_outside or _local_name(name).startswith("on"):
                raise ValueError(f"a figure must not hold {_local_name(name)}={value!r}")


def _local_name(name: str) -> str:
    return name.rpartition("}")[2]

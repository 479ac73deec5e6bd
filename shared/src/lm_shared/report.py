"""Reports: one self-contained HTML page with numbers, tables, figures and samples of text.

Nothing on the page comes from elsewhere: style and figures are inside of it, there is no script,
and it opens from a disk without a network. All text is escaped, so samples may hold anything.

    Report("Training", "Two runs.").section("Losses").table(["run", "loss"], rows).write(path)

Pages that are no report keep a template in the folder ``templates`` of their package, which
``render_template`` fills in with the same escaping; ``{% include "lm_shared/report.css" %}`` gives
them the same look.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Self
from xml.etree import ElementTree as ET

import jinja2
from markupsafe import Markup

from lm_shared.files import write_text

Cell = str | int | float | bool | None
"""A table cell; numbers are aligned and shortened, ``None`` shows as a dash."""


def render_template(package: str, name: str, **values: object) -> str:
    """Return a template with values in place; text is escaped, unless it is ``Markup``.

    Args:
        package: has the template in its folder ``templates``.
        name: of the file; what ends in .html is escaped.
        values: by the names that the template has for them.

    Raises:
        jinja2.UndefinedError: the template needs a value that is not given.
        jinja2.TemplateNotFound: there is no such template.
    """
    return _environment(package).get_template(name).render(values)


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Return as many of the last parts of each path as tell all of them apart, for tables."""
    for num_parts in range(1, max((len(path.parts) for path in paths), default=0)):
        names = [str(Path(*path.parts[-num_parts:])) for path in paths]
        if len(set(names)) == len(set(paths)):
            return names
    return [str(path) for path in paths]


class Report:
    """A page, built from top to bottom: every method adds one piece and returns the report."""

    def __init__(self, title: str, lead: str = "") -> None:
        self.title = title
        self.lead = lead
        self._opening = _Section("", "")
        self._sections: list[_Section] = []

    def section(self, title: str, lead: str = "") -> Self:
        """Start a section; its title appears in the table of contents."""
        self._sections.append(_Section(title, lead))
        return self

    def paragraph(self, text: str) -> Self:
        """Add a paragraph."""
        return self._add("paragraph", text=text)

    def key_numbers(self, numbers: Sequence[tuple[str, Cell, str]]) -> Self:
        """Add a row of cards; each is a label, a value and a note that may be empty."""
        return self._add("key_numbers", numbers=list(numbers))

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
        kinds = ["number" if is_one else "" for is_one in is_number]
        return self._add_table(columns, rows, caption, kinds, kinds)

    def sample_table(
        self, columns: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str = ""
    ) -> Self:
        """Add a table of text samples, monospaced and with their line breaks, to compare in a row.

        Raises:
            ValueError: a row has not as many cells as there are columns.
        """
        _check_rows(columns, rows)
        return self._add_table(
            columns, rows, caption, [""] * len(columns), ["sample"] * len(columns)
        )

    def figure(self, svg: str, caption: str) -> Self:
        """Add a figure as ``lm_shared.figures.figure_svg`` returns it.

        Raises:
            ValueError: the text is not an SVG element, or it holds a script or an outside link.
        """
        _check_svg(svg)
        return self._add("figure", svg=Markup(svg.strip()), caption=caption)

    def text_block(self, text: str, caption: str) -> Self:
        """Add monospaced text with its line breaks."""
        return self._add("text_block", text=text, caption=caption)

    def details(self, summary: str, *texts: str) -> Self:
        """Add monospaced texts that show when a reader opens them."""
        return self._add("details", summary=summary, texts=texts)

    def to_html(self) -> str:
        """Return the whole page."""
        return render_template(
            "lm_shared",
            "report.html",
            title=self.title,
            subtitle=self.lead,
            opening=self._opening.pieces,
            sections=self._sections,
        )

    def write(self, path: Path | str) -> None:
        """Write the page, atomically."""
        write_text(path, self.to_html())

    def _add_table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        caption: str,
        heads: Sequence[str],
        cells: Sequence[str],
    ) -> Self:
        """Add a table whose heads and cells have these classes, by column."""
        return self._add(
            "table", columns=columns, rows=rows, caption=caption, heads=heads, cells=cells
        )

    def _add(self, kind: str, **values: object) -> Self:
        section = self._sections[-1] if self._sections else self._opening
        section.pieces.append({"kind": kind, **values})
        return self


@dataclass(frozen=True, slots=True)
class _Section:
    title: str
    lead: str
    pieces: list[dict[str, Any]] = field(default_factory=list)


@lru_cache
def _environment(package: str) -> jinja2.Environment:
    """Return what renders the templates of a package, and ours under ``lm_shared/``."""
    ours = jinja2.ChoiceLoader(
        [jinja2.PackageLoader("lm_shared"), jinja2.PackageLoader("lm_shared", "static")]
    )
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(package), jinja2.PrefixLoader({"lm_shared": ours})]
        ),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["as_cell"] = _format
    environment.filters["class_name"] = _class_attribute
    return environment


def _class_attribute(name: str) -> Markup:
    """Return the attribute, or nothing for no class."""
    return Markup(' class="{}"').format(name) if name else Markup("")


def _check_rows(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"expected {len(columns)} cells ({list(columns)}), got {list(row)}")


def _is_number(value: Cell) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _format(value: Cell) -> str:
    """Return a cell's text: thousands are grouped, floats have four significant digits."""
    if value is None:
        return "–"  # noqa: RUF001 - a dash, as tables have for "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"
    return value


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

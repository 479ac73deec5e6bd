import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import pytest
from hypothesis import given, settings, strategies as st

from lm_shared.figures import bar_figure, figure_svg
from lm_shared.report import Report, distinct_names, render_template

VOID = {"meta", "br", "hr", "img", "link", "input"}
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><path d="M0 0"/></svg>'
NASTY = "<script>alert('x')</script> & \"quotes\" {braces}"


class Page(HTMLParser):
    """Reads a page strictly: tags must nest and close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open_tags: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open_tags == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open_tags:
            self.text += data


def full_report(text: str = "text") -> Report:
    return (
        Report(text, text)
        .key_numbers([(text, 1.25, text), (text, text, "")])
        .section(text, text)
        .paragraph(text)
        .table([text, "n"], [[text, 1], [None, 2.5]], text)
        .sample_table([text], [[text]])
        .section(text)
        .figure(figure_svg(bar_figure({text: 1.0}, x_label=text)), text)
        .text_block(text, text)
        .details(text, text, text)
    )


def test_a_report_is_one_well_formed_page_without_links_to_elsewhere() -> None:
    page = Page(full_report().to_html())
    assert page.tags[:2] == ["html", "head"]
    assert {"nav", "main", "table", "svg", "details", "pre"} <= set(page.tags)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    targets = [value for name, value in page.attributes if name in {"href", "src", "xlink:href"}]
    assert targets
    assert all(value is not None and value.startswith("#") for value in targets)
    style = re.sub(r"/\*.*?\*/", "", full_report().to_html().split("</style>")[0])
    assert "@import" not in style
    assert "url(" not in style


def test_everything_is_escaped() -> None:
    page = Page(full_report(NASTY).to_html())
    assert "script" not in page.tags
    # Title twice, contents twice, and every piece above.
    assert page.text.count("alert('x')") >= 18
    assert page.text.count(NASTY) >= 18


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
@settings(deadline=None)
def test_any_text_survives_in_a_block(text: str) -> None:
    assert text in Page(Report("t").text_block(text, "c").to_html()).text


def test_the_contents_lead_to_the_sections() -> None:
    page = Page(full_report().to_html())
    ids = [value for name, value in page.attributes if name == "id"]
    links = [value for name, value in page.attributes if name == "href" and value]
    assert [link.removeprefix("#") for link in links if "section" in link] == [
        "section-1",
        "section-2",
    ]
    assert {"section-1", "section-2"} <= set(ids)


def test_the_first_newline_of_a_sample_is_kept() -> None:
    assert "<pre>\n\n  indented</pre>" in Report("t").text_block("\n  indented", "c").to_html()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1234567, "1,234,567"),
        (0.123456, "0.1235"),
        (12345.6, "12,346"),
        (1.5e12, "1.5e+12"),
        (float("nan"), "nan"),
        (None, "–"),  # noqa: RUF001 - the dash of an empty cell
        (True, "yes"),
        (False, "no"),
        ("a<b", "a&lt;b"),
    ],
)
def test_cells_are_short_and_grouped(value: str | float | None, shown: str) -> None:
    assert f">{shown}</td>" in Report("t").table(["x"], [[value]]).to_html()


def test_only_columns_of_numbers_are_aligned_right() -> None:
    rows = [["a", 1, None, True, 3, 4], ["b", 2.5, None, False, "c", None]]
    text = Report("t").table(["name", "n", "empty", "flag", "mixed", "gap"], rows).to_html()
    numbers = re.findall(r'<th scope="col" class="number">(\w+)</th>', text)
    assert numbers == ["n", "gap"]


def test_an_empty_table_still_has_its_head() -> None:
    assert '<th scope="col">name</th>' in Report("t").table(["name"], []).to_html()


def test_rows_must_fit_the_columns() -> None:
    for add in (Report("t").table, Report("t").sample_table):
        with pytest.raises(ValueError, match=r"expected 2 cells .*, got \['x'\]"):
            add(["a", "b"], [["x"]])


@pytest.mark.parametrize(
    ("svg", "message"),
    [
        ("not a figure", "expected an SVG element, got 'not a figure'"),
        ("<p>text</p>", "expected an SVG element, got <p>"),
        (SVG.replace("<path", "<script/><path"), "must not hold <script>"),
        (SVG.replace("<path", '<path onclick="x"'), "must not hold onclick='x'"),
        (SVG.replace("<path", '<a href="http://a"/><path'), "must not hold href='http://a'"),
    ],
)
def test_figures_with_anything_active_are_refused(svg: str, message: str) -> None:
    Report("t").figure(SVG, "a figure without it is fine")
    with pytest.raises(ValueError, match=message):
        Report("t").figure(svg, "caption")


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    full_report().write(tmp_path / "a.html")
    full_report().write(tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


@pytest.mark.browser
def test_a_browser_lays_the_page_out_without_overflow(tmp_path: Path) -> None:
    report = full_report("word " * 30).text_block("x" * 500, "one long word")
    text = report.to_html()
    probe = """<script>document.title =
        document.documentElement.scrollWidth + " of " + innerWidth</script></body>"""
    (tmp_path / "page.html").write_text(text.replace("</body>", probe))
    chromium = shutil.which("chromium")
    assert chromium is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    options += ["--window-size=500,900", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    command = [chromium, *options, (tmp_path / "page.html").as_uri()]
    result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    found = re.search(r"<title>(\d+) of (\d+)</title>", result.stdout)
    assert found is not None, result.stderr
    assert int(found[1]) <= int(found[2])


@pytest.mark.parametrize(
    "content",
    [
        "<style>@import 'https://elsewhere/x.css';</style>",
        "<style>path { fill: url( 'https://elsewhere/x#y') }</style>",
        '<path style="fill:URL(https://elsewhere/x)" d="M0 0"/>',
    ],
)
def test_a_figure_that_loads_styles_from_elsewhere_is_refused(content: str) -> None:
    svg = SVG.replace("<path", f"{content}<path")
    with pytest.raises(ValueError, match="must not load from outside"):
        Report("title").figure(svg, "caption")


def test_a_figure_may_refer_to_its_own_parts() -> None:
    svg = SVG.replace("<path", '<path clip-path="url(#clip)" d="M0 0"/><path')
    assert "url(#clip)" in Report("title").figure(svg, "caption").to_html()


def test_a_template_must_get_all_of_its_values() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'title' is undefined"):
        render_template("lm_shared", "report.html", sections=[])
    with pytest.raises(jinja2.TemplateNotFound, match=r"none\.html"):
        render_template("lm_shared", "none.html")


def test_names_are_as_long_as_it_takes_to_tell_all_paths_apart() -> None:
    paths = [Path("a/run"), Path("x/b/run"), Path("x/c/run")]
    assert distinct_names(paths) == ["a/run", "b/run", "c/run"]

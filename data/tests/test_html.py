import random

import pytest

from lm_data.convert.html import HtmlConfig, decode_page, extract_text, normalize_whitespace
from lm_data.sample_crawl.templates import TEMPLATES, Page, render_page

PARAGRAPHS = tuple(
    f"Paragraph {n} speaks of the caf\u00e9 \u2014 at some length & with care, so that it counts."
    for n in range(12)
)
PAGE = Page(title="A <title> & more", site="A Site", paragraphs=PARAGRAPHS)


def test_course_extraction_keeps_all_visible_text_and_no_code():
    body = b"<html><script>var x=1</script><nav><a href=/>Home</a></nav><p>Hello <b>world</b></p>"
    text = extract_text(body)
    assert "Hello world" in text
    assert "Home" in text
    assert "var x" not in text


@pytest.mark.parametrize("template", TEMPLATES)
def test_main_content_keeps_paragraphs_and_leaves_out_boilerplate(template):
    html = render_page(template, PAGE, random.Random(0))
    lines = normalize_whitespace(extract_text(html.encode(), main_content=True)).splitlines()
    assert [line for line in lines if line in PARAGRAPHS] == list(PARAGRAPHS)
    assert "A <title> & more" in lines
    for notice in ("cookies", "dataLayer", "Related", "Proudly powered"):
        assert not any(notice in line for line in lines)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_encoding_is_recognized_whatever_the_page_declares(encoding):
    html = render_page("article", PAGE, random.Random(0)).replace("utf-8", "koi8-r")
    assert "caf\u00e9 \u2014 at some length" in decode_page(html.encode(encoding))


def test_bytes_of_no_encoding_give_some_text():
    assert isinstance(decode_page(bytes(range(256)) * 20), str)
    assert decode_page(b"") == ""


def test_whitespace_is_made_plain():
    text = "a\u00a0b\u2009c\r\n  indented \t\n\n\n\nd\u200be\x00f\n"
    assert normalize_whitespace(text) == "a b c\n  indented\n\ndef"


def test_whitespace_normalization_is_idempotent():
    once = normalize_whitespace(
        extract_text(render_page("tables", PAGE, random.Random(1)).encode())
    )
    assert normalize_whitespace(once) == once


def test_length_limit_must_be_positive():
    with pytest.raises(ValueError, match="max_characters=0"):
        HtmlConfig(max_characters=0)


def test_runs_of_blanks_with_a_tab_become_one_space():
    assert normalize_whitespace("a \t b\t\tc  d \t") == "a b c  d"


def test_long_runs_of_spaces_are_normalized_in_linear_time():
    # In quadratic time this test would take minutes.
    text = "a" + " " * 1_000_000 + "b"
    assert normalize_whitespace(text) == text


def test_senselessly_nested_page_gives_all_its_text_in_linear_time(caplog):
    body = b"<nav>Menu</nav>" + b"<div>" * 100_000 + b"Some text."
    assert extract_text(body, main_content=True).split() == ["Menu", "Some", "text."]
    assert "nested too deeply" in caplog.text


@pytest.mark.parametrize("encoding", ["iso2022_jp", "utf-16-le", "utf-16-be"])
def test_encodings_whose_bytes_are_valid_utf8_are_recognized(encoding):
    html = "<html><body><p>" + "\u65e5\u672c\u8a9e" * 5 + "</p><p>and English</p></body></html>"
    assert decode_page(html.encode(encoding)) == html

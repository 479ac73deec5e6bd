import random

import pytest

from lm_data.convert.charset import decode_page
from lm_data.convert.html import HtmlConfig, extract_text, normalize_whitespace
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u062f", None),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f", None),
        ("\u0d28\u0d4d\u200d \u0915\u094d\u200c\u0937", None),
        ("\u1780\u200b\u1781", None),
        ("long\u200bword soft\u00adhyphen \ufeffmark", "longword softhyphen mark"),
        ("\u200fa\u202ab\u2066c\u2069\u200e", "abc"),
        ("a\fb\vc\x1cd", "a b c d"),
        ("nobody\x92s \x93plan\x94\x85 \x81", "nobody\u2019s \u201cplan\u201d\u2026"),
        ("a\u00a0b\u3000c\u202fd", "a b c d"),
        ("a\rb\u2028c\u2029d\r\ne", "a\nb\nc\nd\ne"),
        ("\tif x:\n\t\treturn\n    \tdeep", None),
        ("name\t\tvalue\t1", "name value 1"),
    ],
)
def test_characters_with_meaning_stay_and_the_others_go(text, expected):
    assert normalize_whitespace(text) == (text if expected is None else expected)


def test_code_keeps_its_depth():
    code = "func f() {\n\tif x {\n\t\treturn\n\t}\n}"
    assert normalize_whitespace(extract_text(f"<pre>{code}</pre>".encode())) == code
    indented = "    first\n\tsecond"
    assert normalize_whitespace(extract_text(f"<pre>\n{indented}</pre>".encode())) == indented

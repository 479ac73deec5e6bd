from pathlib import Path

import pytest

from lm_data.convert.charset import decode_page
from lm_data.convert.html import extract_text

# Small inputs that went wrong lie beside the repository where there are any.
CASES = Path(__file__).parents[3] / "shared" / "cases"

FRENCH = (
    "Le conseil a approuv\u00e9 \u00ab d\u00e9j\u00e0 vu \u00bb l\u2019\u00e9t\u00e9 pass\u00e9. "
)
POLISH = "W \u015brod\u0119 mieszka\u0144cy czekali dziesi\u0119\u0107 lat na plan. "
RUSSIAN = (
    "\u0421\u043e\u0432\u0435\u0442 \u0443\u0442\u0432\u0435\u0440\u0434\u0438\u043b "
    "\u043f\u043b\u0430\u043d \u043c\u043e\u0441\u0442\u0430. "
)
JAPANESE = "\u6771\u4eac\u306e\u6a4b\u306e\u8a08\u753b\u3092\u627f\u8a8d\u3057\u305f\u3002"
CHINESE = "\u5e02\u653f\u5e9c\u6279\u51c6\u4e86\u65b0\u6865\u7684\u8ba1\u5212\u3002"
TAIWANESE = "\u5e02\u653f\u5e9c\u6279\u51c6\u4e86\u65b0\u6a4b\u7684\u8a08\u5283\u3002"
KOREAN = "\uc2dc\uccad\uc740 \uc0c8 \ub2e4\ub9ac\ub97c \uc9d3\ub294\ub2e4. \ub620\ubc29 "
TURKISH = "Halk bu karar\u0131 on y\u0131ld\u0131r bekliyordu, \u015fimdi ya\u011fmur. "
ENCODINGS = [
    ("windows-1252", "cp1252", FRENCH),
    ("latin1", "cp1252", FRENCH),
    ("us-ascii", "cp1252", FRENCH),
    ("iso-8859-2", "iso8859-2", POLISH),
    ("cp1250", "cp1250", POLISH),
    ("iso-8859-9", "cp1254", TURKISH),
    ("windows-1251", "cp1251", RUSSIAN),
    ("koi8-r", "koi8-r", RUSSIAN),
    ("x-sjis", "cp932", JAPANESE + "\u2460"),
    ("euc-jp", "euc_jp", JAPANESE),
    ("iso-2022-jp", "iso2022_jp", JAPANESE),
    ("gb2312", "gb18030", CHINESE),
    ("big5", "big5", TAIWANESE),
    ("ks_c_5601-1987", "cp949", KOREAN),
]
DECLARATIONS = [
    '<meta charset="{}">',
    "<META name=a CharSet={}/>",
    "<meta http-equiv='Content-Type' content='text/html; charset={}'>",
    "<?xml version='1.0' encoding='{}'?>",
    "<!-- <meta charset=ibm866> --><meta charset = ' {} '>",
]


def make_page(text, charset, declaration=""):
    return f"{declaration.format(charset)}<html><body><p>{text * 3}</p></body></html>"


@pytest.mark.parametrize("declaration", DECLARATIONS)
@pytest.mark.parametrize(("charset", "encoding", "text"), ENCODINGS)
def test_the_charset_that_a_page_declares_is_taken(declaration, charset, encoding, text):
    page = make_page(text, charset, declaration)
    assert decode_page(page.encode(encoding)) == page


@pytest.mark.parametrize(("charset", "encoding", "text"), ENCODINGS)
def test_the_charset_of_the_header_is_taken_and_one_bad_byte_costs_one_character(
    charset, encoding, text
):
    page = make_page(text, charset)
    body = page.encode(encoding)
    assert decode_page(body, charset.upper()) == page
    damaged = decode_page(body.replace(b"<p>", b"\xff<p>", 1), charset)
    assert damaged.endswith(page[20:])


@pytest.mark.parametrize("charset", [entry[0] for entry in ENCODINGS] + ["utf-16", "nonsense", ""])
@pytest.mark.parametrize("text", [FRENCH, RUSSIAN, JAPANESE, KOREAN])
def test_utf8_is_told_whatever_is_declared(charset, text):
    page = make_page(text, charset, DECLARATIONS[0])
    body = page.encode()
    assert decode_page(body, charset) == page
    bad = body.replace(b"<p>", b"<p>\xe9", 1)
    assert decode_page(bad, charset) == page.replace("<p>", "<p>\ufffd")
    cut = body[: body.rindex(text[-12].encode()) + 1]
    assert decode_page(cut, charset)[:-1] == page[: len(decode_page(cut, charset)) - 1]


@pytest.mark.parametrize(("charset", "encoding", "text"), ENCODINGS)
@pytest.mark.parametrize("wrong", ["utf-8", "utf-16", "nonsense"])
def test_a_wrong_declaration_is_not_followed(wrong, charset, encoding, text):
    page = make_page(text * 3, wrong, DECLARATIONS[0])
    assert decode_page(page.encode(encoding)) == page


@pytest.mark.parametrize("text", [RUSSIAN, JAPANESE, KOREAN])
def test_a_server_that_declares_latin1_for_everything_is_not_followed(text):
    encoding = {RUSSIAN: "cp1251", JAPANESE: "euc_jp", KOREAN: "cp949"}[text]
    page = make_page(text * 3, encoding)
    assert decode_page(page.encode(encoding), "iso-8859-1") == page
    declaring = make_page(text, {"cp949": "euc-kr"}.get(encoding, encoding), DECLARATIONS[0])
    assert decode_page(declaring.encode(encoding), "iso-8859-1") == declaring


def test_where_header_and_page_differ_the_header_counts_unless_the_text_speaks_for_the_page():
    page = make_page(RUSSIAN * 3, "koi8-r", DECLARATIONS[0])
    assert decode_page(page.encode("koi8-r"), "windows-1251") == page
    assert decode_page(page.encode("cp1251"), "windows-1251") == page


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_marks_and_zero_bytes_precede_declarations(encoding):
    page = make_page(FRENCH, "windows-1251", DECLARATIONS[0])
    body = page.encode(encoding)
    assert decode_page(body, "koi8-r") == page
    cut = decode_page(body[:-1], "koi8-r").removesuffix("\ufffd")
    assert cut == page[:-1]


def test_bytes_that_declared_utf8_does_not_explain_are_replaced_where_they_are_few():
    page = '<meta charset="utf-8"><p>' + "plain words of ASCII " * 20 + "caf#</p>"
    text = decode_page(page.encode().replace(b"#", b"\xe9"))
    assert text == page.replace("#", "\ufffd")


def test_zero_bytes_and_empty_pages_do_no_harm():
    assert decode_page(b"") == ""
    assert decode_page(b"\xef\xbb\xbf") == ""
    assert "b" in decode_page(b"a\0b" + b"c" * 99)


@pytest.mark.parametrize("name", sorted(path.name for path in CASES.glob("utf8/*.html")))
def test_broken_utf8_of_the_cases_stays_utf8(name):
    body = (CASES / "utf8" / name).read_bytes()
    text = extract_text(body)
    assert text.count("\ufffd") == 1
    assert "\u2019" in text
    assert "\u00e2" not in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("korean-euc-kr", "\uc218\uc694\uc77c\uc5d0"),
        ("romanian-iso-8859-2", "a\u0219teapt\u0103".replace("\u0219", "s")),
    ],
)
def test_declared_charsets_of_the_cases_are_taken(name, words):
    if not CASES.is_dir():
        pytest.skip(f"needs the inputs in {CASES}")
    assert words in extract_text((CASES / "text" / f"{name}.html").read_bytes())

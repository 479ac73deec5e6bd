"""The inspector's page in a real browser."""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from lm_basics.tokenizer import (
    END_OF_TEXT,
    ByteTokenizer,
    TextTokenizer,
    Tokenizer,
    train_bpe_from_texts,
)
from lm_basics.tokenizer_views.inspector_app import MAX_SHOWN_TOKENS, inspector_app
from lm_shared.web import MAX_REQUEST_BYTES, WebServer

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

# The package has no builds for some systems.
sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
expect = sync_api.expect

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script></script><b>&amp;\"'`${alert(3)}"
# Typing cannot make half of a surrogate pair, and would take long for a large text.
SET_VALUE = "area => { area.value = %s; area.dispatchEvent(new Event('input')); }"


def _train() -> Tokenizer:
    texts = ["the cat sat on the mat\n    and sat 你好 " * 9, HOSTILE * 3]
    vocab, merges = train_bpe_from_texts(texts, 300, [END_OF_TEXT])
    return Tokenizer(vocab, merges, [END_OF_TEXT])


OURS = _train()


class GatedTokenizer(ByteTokenizer):
    """Encodes text with the word "slow" only after ``gate`` has opened."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.has_started = threading.Event()
        self.has_ended = threading.Event()

    def encode(self, text: str) -> list[int]:
        if "slow" in text:
            self.has_started.set()
            self.gate.wait(20)
            self.has_ended.set()
        return super().encode(text)


@contextmanager
def serving(tokenizers: Mapping[str, TextTokenizer]) -> Iterator[WebServer]:
    with WebServer(inspector_app(tokenizers)) as server, server.running():
        yield server


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with serving({"ours": OURS, "bytes": ByteTokenizer()}) as server:
        yield server


def open_page(page: "Page", server: WebServer) -> "Locator":
    page.goto(server.address)
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    return page.get_by_label("Text", exact=True)


def columns(page: "Page") -> "list[Locator]":
    return page.locator("article").all()


def expect_ids(column: "Locator", ids: list[int]) -> None:
    expect(column.locator(".ids")).to_have_text(" ".join(map(str, ids)))


def show(page: "Page", server: WebServer, text: str) -> "tuple[Locator, Locator]":
    """Open the page, fill in ``text`` and return the columns of ``ours`` and of the bytes."""
    open_page(page, server).fill(text)
    ours, bytes_ = page.locator("article").first, page.locator("article").last
    expect_ids(bytes_, list(text.encode()))
    return ours, bytes_


def characters(column: "Locator") -> list[str]:
    return column.locator(".token").evaluate_all("tokens => tokens.map(one => one.textContent)")


def labels(column: "Locator") -> list[str]:
    return column.locator(".token").evaluate_all("tokens => tokens.map(one => one.ariaLabel)")


def test_typed_text_shows_its_tokens_and_ids_in_order(page: "Page", server: WebServer) -> None:
    text_area = open_page(page, server)
    text = "the cat sat\n    on 你好\tmats"
    text_area.fill("")
    text_area.press_sequentially(text)
    ours, bytes_ = columns(page)
    expect_ids(ours, OURS.encode(text))
    expect_ids(bytes_, list(text.encode()))
    parts = [OURS.token_bytes(token_id) for token_id in OURS.encode(text)]
    assert characters(ours) == [part.decode() for part in parts]
    assert labels(bytes_)[:4] == ["t, id 116", "h, id 104", "e, id 101", "·, id 32"]
    assert r"\xbd, id 189" in labels(bytes_)
    assert ours.locator("dd").all_text_contents() == [
        *(str(len(parts)), f"{len(text.encode()) / len(parts):.2f}", "300")
    ]
    expect(page.locator("#size")).to_have_text("26 characters, 30 UTF-8 bytes")
    expect(page.get_by_role("status")).to_have_text(f"Tokens: ours {len(parts)}, bytes 30")


@pytest.mark.parametrize("text", [HOSTILE, "</script>", "{{7*7}}</textarea><iframe src=//x>"])
def test_markup_is_shown_and_nothing_of_it_runs(page: "Page", server: WebServer, text: str) -> None:
    text_area = open_page(page, server)
    num_elements = page.locator("img, iframe, b, script").count()
    text_area.fill(text)
    for column in columns(page):
        expect(column.locator(".tokens")).to_have_text(text)
    page.locator(".token").nth(3).hover()
    assert page.locator("img, iframe, b, script").count() == num_elements == 1


def test_markup_in_names_is_shown_and_nothing_of_it_runs(page: "Page") -> None:
    with serving({HOSTILE: ByteTokenizer()}) as server:
        open_page(page, server)
        expect(page.locator("h2")).to_have_text(HOSTILE)
        assert page.locator("img").count() == 0


def test_markup_in_special_tokens_is_shown_and_nothing_of_it_runs(page: "Page") -> None:
    byte_values = {byte: bytes([byte]) for byte in range(256)}
    with serving({"a": Tokenizer(byte_values, [], [HOSTILE])}) as server:
        open_page(page, server).fill(HOSTILE)
        expect_ids(page.locator("article"), [256])
        page.locator(".token").hover()
        expect(page.get_by_role("tooltip")).to_contain_text("special token")
        assert page.locator("img").count() == 0


def test_fast_typing_ends_with_the_newest_answer(page: "Page", server: WebServer) -> None:
    text_area = open_page(page, server)
    text_area.fill("")
    text_area.press_sequentially("the cat sat on the mat and sat", delay=7)
    for _ in range(12):
        text_area.press("Backspace")
    for column, ids in zip(
        columns(page), [OURS.encode("the cat sat on the"), list(b"the cat sat on the")], strict=True
    ):
        expect_ids(column, ids)
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")


def test_a_late_answer_does_not_overwrite_a_newer_one(page: "Page") -> None:
    tokenizer = GatedTokenizer()
    with serving({"bytes": tokenizer}) as server:
        text_area = open_page(page, server)
        text_area.fill("slow")
        # The page waits too, which lets the browser send the question.
        page.wait_for_timeout(400)
        assert tokenizer.has_started.wait(10)
        text_area.fill("new")
        expect_ids(page.locator("article"), list(b"new"))
        tokenizer.gate.set()
        assert tokenizer.has_ended.wait(10)
        page.wait_for_timeout(400)
        expect_ids(page.locator("article"), list(b"new"))
        expect(page.get_by_role("alert")).to_be_hidden()


def test_the_page_never_scrolls_sideways(page: "Page") -> None:
    tokenizers = {"ours": OURS, "bytes": ByteTokenizer(), "long_name" * 12: OURS}
    text = "".join(["x" * 300, " " * 300, "\t" * 60, END_OF_TEXT * 9, "\n" * 60, "你\u202e" * 60])
    with serving(tokenizers) as server:
        open_page(page, server).fill(text)
        expect_ids(page.locator("article").nth(1), list(text.encode()))
        for width in (320, 400, 1200):
            page.set_viewport_size({"width": width, "height": 800})
            page.locator("article").nth(1).locator(".token").last.hover()
            expect(page.get_by_role("tooltip")).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            overflow = "boxes => boxes.map(one => one.scrollWidth - one.clientWidth)"
            assert page.locator(".tokens, .ids").evaluate_all(overflow) == [0] * 6
            page.locator("h1").hover()


def test_hovering_shows_id_and_bytes_and_the_same_text_elsewhere(
    page: "Page", server: WebServer
) -> None:
    ours, bytes_ = show(page, server, "the 你")
    bytes_.locator(".token").nth(4).hover()
    expect(page.get_by_role("tooltip")).to_be_visible()
    lines = page.get_by_role("tooltip").locator("p").all_text_contents()
    assert lines == ["id 228", "1 byte: e4", "from byte 4", "holds a part of 你"]
    assert ours.locator(".token.same").all_text_contents() == ["你"]
    page.locator("h1").hover()
    expect(page.get_by_role("tooltip")).to_be_hidden()
    assert page.locator(".same").count() == 0


def test_ids_show_the_same_as_their_tokens(page: "Page", server: WebServer) -> None:
    ours, bytes_ = show(page, server, "the cat")
    bytes_.locator(".ids span").nth(6).hover()
    expect(page.get_by_role("tooltip")).to_contain_text("id 116")
    expect(bytes_.locator(".token").nth(6)).to_have_class("token color-0 same")
    assert ours.locator(".same").count() == 1


def test_tokens_are_reached_with_the_keyboard(page: "Page", server: WebServer) -> None:
    _, bytes_ = show(page, server, "abcd")
    assert (
        page.locator(".tokens").evaluate_all("all => all.map(one => one.role)") == ["listbox"] * 2
    )
    page.locator("#special").focus()
    page.keyboard.press("Tab")
    for key, character in [
        *(("Tab", None), ("Tab", "a"), ("ArrowRight", "b"), ("ArrowDown", "c"), ("End", "d")),
        *(("ArrowRight", "d"), ("ArrowLeft", "c"), ("Home", "a"), ("ArrowUp", "a")),
    ]:
        page.keyboard.press(key)
        if character is not None:
            expect(bytes_.locator(".token:focus")).to_have_text(character)
            expect(page.get_by_role("tooltip")).to_contain_text(f"id {ord(character)}")
            assert bytes_.locator("[aria-selected=true]").all_text_contents() == [character]
            assert bytes_.locator("[aria-describedby=tip]").all_text_contents() == [character]
    page.keyboard.press("Escape")
    expect(page.get_by_role("tooltip")).to_be_hidden()
    assert bytes_.locator(".token[tabindex='0']").count() == 1


def test_a_step_that_scrolls_keeps_what_it_shows(page: "Page", server: WebServer) -> None:
    _, bytes_ = show(page, server, "line\n" * 200)
    bytes_.locator(".token").nth(20).hover()
    bytes_.locator(".token").first.focus()
    page.keyboard.press("End")
    page.wait_for_timeout(200)
    expect(page.get_by_role("tooltip")).to_contain_text("from byte 999")
    expect(bytes_.locator(".token").last).to_be_in_viewport()


@pytest.mark.parametrize("text", ["the  cat\n\n    sat\ton\u202e 你好é\u200d🙂 mat", HOSTILE])
def test_copied_tokens_are_the_text(page: "Page", server: WebServer, text: str) -> None:
    shown = show(page, server, text)
    select = """tokens => {
      const range = document.createRange();
      range.selectNodeContents(tokens);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      return getSelection().toString();
    }"""
    for column in shown:
        assert column.locator(".tokens").evaluate(select) == text


def test_special_tokens_are_read_if_the_box_is_checked(page: "Page", server: WebServer) -> None:
    ours, bytes_ = show(page, server, f"a{END_OF_TEXT}")
    expect(ours.locator(".token.special")).to_have_text(END_OF_TEXT)
    assert bytes_.locator(".token.special").count() == 0
    page.get_by_label("Read special tokens").uncheck()
    expect_ids(ours, OURS.encode(f"a{END_OF_TEXT}", allowed_special=()))
    assert page.locator(".token.special").count() == 0


def test_half_of_a_surrogate_pair_is_an_error_until_it_is_gone(
    page: "Page", server: WebServer
) -> None:
    text_area = open_page(page, server)
    text_area.evaluate(SET_VALUE % r"'ab\ud800'")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("half of a surrogate pair, U+D800, at character 2")
    text_area.fill("ab")
    expect(alert).to_be_hidden()
    expect_ids(page.locator("article").last, list(b"ab"))


def test_too_much_text_is_an_error(page: "Page", server: WebServer) -> None:
    text_area = open_page(page, server)
    text_area.evaluate(SET_VALUE % f"'x'.repeat({MAX_REQUEST_BYTES})")
    expect(page.get_by_role("alert")).to_contain_text("a request may have 1,000,000 bytes")


def test_a_server_that_has_ended_is_an_error(page: "Page") -> None:
    with serving({"bytes": ByteTokenizer()}) as server:
        text_area = open_page(page, server)
    text_area.fill("more")
    expect(page.get_by_role("alert")).to_have_text(
        "The server does not answer. Is it still running?"
    )


def test_long_text_shows_its_first_tokens_and_says_so(page: "Page", server: WebServer) -> None:
    open_page(page, server).fill("a" * (MAX_SHOWN_TOKENS + 1))
    bytes_ = page.locator("article").last
    expect(bytes_.locator(".note")).to_have_text("The first 2,000 of 2,001 tokens are shown.")
    assert bytes_.locator(".token").count() == MAX_SHOWN_TOKENS
    expect(bytes_.locator(".num-tokens")).to_have_text("2,001")


def test_examples_replace_the_text(page: "Page", server: WebServer) -> None:
    text_area = open_page(page, server)
    for button in page.get_by_role("group", name="Examples").get_by_role("button").all():
        button.click()
        num_bytes = len(text_area.input_value().encode())
        expect(page.locator(".num-tokens").last).to_have_text(str(num_bytes))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_on_every_color_is_readable(page: "Page", server: WebServer, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    _, bytes_ = show(page, server, "abcdef")
    colors = """tokens => tokens.map(one => {
      const style = getComputedStyle(one);
      return [style.color, style.backgroundColor];
    })"""
    pairs = bytes_.locator(".token").evaluate_all(colors)
    assert len({background for _, background in pairs}) == 6
    for text, background in pairs:
        # The threshold of the Web Content Accessibility Guidelines, level AA.
        assert contrast(luminance(text), luminance(background)) >= 4.5


def luminance(color: str) -> float:
    """Return the relative luminance of ``rgb(0, 114, 178)`` or ``color(srgb 0 0.45 0.7)``."""
    numbers = [float(one) for one in re.findall(r"\d[\d.]*", color)]
    values = [one / 255 for one in numbers] if color.startswith("rgb") else numbers
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: float, other: float) -> float:
    """Return the contrast ratio of WCAG 2."""
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)

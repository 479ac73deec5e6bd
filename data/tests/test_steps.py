from dataclasses import replace

import pytest

from lm_data.convert.html import HtmlConfig
from lm_data.crawl.http_body import CUT_OFF, OVERSIZED, UNDECODABLE
from lm_data.crawl.warc import Response
from lm_data.document import Document
from lm_data.filters.language import LanguageConfig
from lm_data.filters.rules import GopherConfig
from lm_data.pipeline.document_steps import (
    LanguageStep,
    RulesStep,
    mask_personal_data,
    run_steps,
)
from lm_data.pipeline.steps import convert_response

ENGLISH = "The members of the house have read the message with great attention and care.\n" * 10
RESPONSE = Response(
    record_id="urn:uuid:1",
    url="https://www.a.example:8080/page",
    date="2026-01-01T00:00:00Z",
    status=200,
    content_type="text/html",
    charset=None,
    body=f"<main><p>{ENGLISH}</p></main>".encode(),
)
STEPS = [LanguageStep(config=LanguageConfig()), RulesStep(config=GopherConfig())]


def convert(**changes):
    return convert_response(replace(RESPONSE, **changes), HtmlConfig())


def make(text):
    return Document(id="0", url="", text=text, source="a.example")


def test_page_becomes_a_document_of_its_host():
    document = convert()
    assert document.is_kept
    assert document.source == "www.a.example"
    assert document.text.startswith("The members of the house")
    assert document.measurements["num_body_bytes"] == len(RESPONSE.body)


@pytest.mark.parametrize(
    ("changes", "dropped_by", "reason"),
    [
        ({"status": 404}, "response", "http_status_404"),
        ({"status": None}, "response", "http_status_None"),
        ({"content_type": "image/png"}, "response", "not_html"),
        ({"problem": UNDECODABLE}, "response", "undecodable_body"),
        ({"problem": OVERSIZED, "body": b""}, "response", "oversized_body"),
        ({"body": bytes(range(256)) * 9}, "response", "binary_body"),
        ({"body": b""}, "html", "no_text"),
        ({"body": b"<script>1</script>"}, "html", "no_text"),
    ],
)
def test_what_holds_no_text_is_dropped_with_its_reason(changes, dropped_by, reason):
    document = convert(**changes)
    assert (document.dropped_by, document.reason) == (dropped_by, reason)


def test_a_page_that_was_cut_off_is_kept():
    assert convert(problem=CUT_OFF).is_kept


def test_the_charset_of_the_header_reaches_the_text():
    body = "<main><p>\u017c\u00f3\u0142w i \u015bwieca</p></main>".encode("iso8859-2")
    assert "\u017c\u00f3\u0142w" in convert(body=body, charset="iso-8859-2").text


def test_address_that_is_none_has_an_unknown_host():
    assert convert(url="http://[broken").source == "unknown"
    assert convert(url="").source == "unknown"


def test_id_is_that_of_the_record():
    assert convert().id == convert(body=b"<p>other</p>").id
    assert convert().id != convert(record_id="urn:uuid:2").id


def test_too_long_text_is_cut():
    document = convert_response(RESPONSE, HtmlConfig(max_characters=10))
    assert document.text == "The member"


@pytest.mark.parametrize(
    ("text", "dropped_by", "reason"),
    [
        (ENGLISH, None, None),
        ("Les membres de la chambre ont lu le message avec attention. " * 10, "language",
         "other_language"),
        ("The members have read it.", "rules", "too_few_words"),
    ],
)  # fmt: skip
def test_filters_record_step_and_reason(text, dropped_by, reason):
    document = run_steps(make(text), STEPS)
    assert (document.dropped_by, document.reason) == (dropped_by, reason)
    assert 0.0 <= float(document.measurements["language_score"]) <= 1.0


def test_uncertain_language_is_dropped():
    step = LanguageStep(config=LanguageConfig(min_score=0.999999))
    assert step(make("The qux frobnicates foo bars. " * 5)).reason == "low_score"


def test_failed_rule_leaves_its_value():
    document = run_steps(make("The members have read it."), STEPS)
    assert document.measurements["failed_value"] == 5.0


def test_dropped_documents_pass_unchanged():
    document = make("Les membres").drop("html", "no_text")
    assert run_steps(document, STEPS) == document


def test_masking_counts_by_kind_and_covers_dropped_documents():
    text = "Write to a@b.example or c@d.example, call 201-555-0100, from 192.0.2.1."
    for document in (make(text), make(text).drop("rules", "too_few_words")):
        masked = mask_personal_data(document)
        assert masked.measurements == {
            "num_emails": 2,
            "num_ip_addresses": 1,
            "num_phone_numbers": 1,
        }
        assert "@" not in masked.text
        assert "0" not in masked.text

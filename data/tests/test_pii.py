import random
import re

import pytest
from hypothesis import given, strategies as st

from lm_data.filters.pii import mask_emails, mask_ips, mask_phone_numbers
from lm_data.sample_crawl.sources import make_personal_data


@pytest.mark.parametrize(
    ("mask", "piece", "name"),
    [
        (mask_emails, "test@gmail.com", "EMAIL_ADDRESS"),
        (mask_emails, "first.last+tag@sub.domain.co.uk", "EMAIL_ADDRESS"),
        (mask_phone_numbers, "2831823829", "PHONE_NUMBER"),
        (mask_phone_numbers, "(283)-182-3829", "PHONE_NUMBER"),
        (mask_phone_numbers, "(283) 182 3829", "PHONE_NUMBER"),
        (mask_phone_numbers, "283-182-3829", "PHONE_NUMBER"),
        (mask_phone_numbers, "+1 283.182.3829", "PHONE_NUMBER"),
        (mask_ips, "192.0.2.146", "IP_ADDRESS"),
        (mask_ips, "255.255.255.0", "IP_ADDRESS"),
    ],
)
def test_each_form_is_masked_whole(mask, piece, name):
    text = f"Feel free to contact me at {piece} if you have any questions, or at {piece}."
    expected = text.replace(piece, f"|||{name}|||")
    assert mask(text) == (expected, 2)


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (mask_emails, "an @ alone, a@b, and the decorator @functools.cache"),
        (
            mask_phone_numbers,
            "in 1865, 1,234,567,890 dollars, 1234567890123, ISBN 978-0-123-456-7890",
        ),
        (mask_phone_numbers, "pi is 3.1415926535 and 2831823829.5 is no number to call"),
        (mask_ips, "version 1.2.3, 256.1.1.1, 1.2.3.4.5 and 300.300.300.300"),
    ],
)
def test_what_only_looks_alike_stays(mask, text):
    assert mask(text) == (text, 0)


@pytest.mark.parametrize(
    ("mask", "name"),
    [
        (mask_emails, "EMAIL_ADDRESS"),
        (mask_phone_numbers, "PHONE_NUMBER"),
        (mask_ips, "IP_ADDRESS"),
    ],
)
def test_masks_that_stand_in_the_text_are_not_counted(mask, name):
    text = f"Some datasets hold the string |||{name}||| already."
    assert mask(text) == (text, 0)


@given(st.text(alphabet="ab1290.@()-+ |\n/_'\u2013\u8bf7", max_size=80))
def test_masking_twice_changes_nothing_more(text):
    for mask in (mask_emails, mask_ips, mask_phone_numbers):
        masked, _ = mask(text)
        assert mask(masked) == (masked, 0)


@pytest.mark.parametrize("seed", range(40))
def test_inserted_personal_data_is_found_and_counted(seed):
    data = make_personal_data(random.Random(seed))
    text, num_emails = mask_emails(data.sentence)
    text, num_ips = mask_ips(text)
    text, num_phones = mask_phone_numbers(text)
    assert num_emails == len(data.emails)
    assert num_phones == len(data.phone_numbers)
    assert num_ips == len(data.ip_addresses)
    for piece in (*data.emails, *data.phone_numbers, *data.ip_addresses):
        assert piece not in text


@pytest.mark.parametrize("unit", ["a", "a.", "1", "1.", "1-", "(", "a@", "@a.", "a'", "1 - ", "_"])
def test_long_runs_of_what_begins_a_match_are_searched_in_linear_time(unit):
    # In quadratic time this test would take minutes.
    text = unit * (200_000 // len(unit))
    for mask in (mask_emails, mask_ips, mask_phone_numbers):
        assert mask(text) == (text, 0)


@pytest.mark.parametrize(
    ("mask", "text", "expected"),
    [
        (mask_emails, "\u8bf7\u8054\u7cfbjohn@example.com\u8c22", "\u8bf7\u8054\u7cfb#\u8c22"),
        (mask_emails, ".john@example.com", ".#"),
        (mask_emails, "...john@example.com...", "...#..."),
        (mask_emails, "jane@sub_domain.example.com", "#"),
        (mask_emails, "o'brien@example.com, 'john@example.com'", "#, '#'"),
        (mask_emails, "m\u00fcller@example.com", "#"),
        (mask_emails, "(john@example.com)_", "(#)_"),
        (mask_phone_numbers, "283\u2013182\u20133829", "#"),
        (mask_phone_numbers, "283 - 182 - 3829", "#"),
        (mask_phone_numbers, "283/182-3829", "#"),
        (mask_phone_numbers, "No.283-182-3829", "No.#"),
        (mask_phone_numbers, "\u7535\u8bdd2831823829\u53f7", "\u7535\u8bdd#\u53f7"),
        (mask_ips, "...10.0.0.1", "...#"),
        (mask_ips, "_10.0.0.1_", "_#_"),
        (mask_ips, "1.2.3.4.5 and v1.2.3.4", "1.2.3.4.5 and v1.2.3.4"),
    ],
)
def test_what_touches_personal_data_does_not_hide_it(mask, text, expected):
    assert re.sub(r"\|\|\|\w+\|\|\|", "#", mask(text)[0]) == expected


@pytest.mark.parametrize(
    "text",
    [
        "The job was created at 1747731000 and ended at 1609459200.",
        "SOA serial 0024010101, or 2024010101",
        "at most 2147483647, not 4294967295; it costs $2831823829; issue #2831823829",
        "ISBN 3540123456 and ISBN-10: 3540123456",
        "IMG_2831823829.jpg and scan/4155552671.png",
        "237.4194155 degrees, 283182.3829 m, 2024-01-15 12:30:45, 1747731000123",
        "Icon files are named logo@2x.png and logo@3x.jpg, styles main@1.5x.min.css.",
        "backup@monday.tar.gz, react@18.2.0-rc.next and @user@mastodon.example",
        "Chrome/120.0.0.0, version 2.0.0.1, Section 1.2.3.4, 1.2.3.4.5, 256.1.1.1, 01.2.3.4",
    ],
)
def test_numbers_and_names_of_nobody_stay(text):
    for mask in (mask_emails, mask_ips, mask_phone_numbers):
        assert mask(text) == (text, 0)


@pytest.mark.parametrize(
    "number",
    [
        "4155552671",
        "+14155552671",
        "1-415-555-2671",
        "415-555-2671",
        "415.555.2671",
        "415 555 2671",
        "415 5552671",
        "(415) 555-2671",
        "(415)5552671",
        "+1 (415) 555 2671",
        "123-456-7890",
    ],
)
def test_phone_numbers_of_all_forms_are_masked(number):
    for text in ("call {} or {}", "({}, {})", "Tel.:{};{}.", "{}/{}"):
        masked = text.replace("{}", "|||PHONE_NUMBER|||")
        assert mask_phone_numbers(text.format(number, number)) == (masked, 2)


@pytest.mark.parametrize(
    ("address", "mask"),
    [
        ("bob@shop.example", mask_emails),
        ("first.last@sub.163.com", mask_emails),
        ("a@pages.py", mask_emails),
        ("10.0.0.1", mask_ips),
    ],
)
def test_addresses_are_masked_at_every_border(address, mask):
    for text in ("<{}>", "http://{}/", "mail {} now", "{}, {}.", "\u2014{}\u2014", "({}):"):
        assert mask(text.replace("{}", address))[1] == text.count("{}")

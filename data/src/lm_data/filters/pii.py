"""Masking of personal data: e-mail addresses, US phone numbers, IPv4 addresses.

The expressions have bounded repetitions, so that a hostile page cannot make them take quadratic
time. Masks contain nothing that the expressions match, so text may be masked twice, and masks that
stood in it before are not counted.
"""

import re

EMAIL_MASK = "|||EMAIL_ADDRESS|||"
PHONE_MASK = "|||PHONE_NUMBER|||"
IP_MASK = "|||IP_ADDRESS|||"

# Latin letters, so that text in another script may touch an address on either side.
_LOCAL = "A-Za-z0-9_%+\u00c0-\u024f-"
# Dots around the local part belong to the sentence before; an apostrophe only joins.
EMAIL = re.compile(
    rf"(?<![{_LOCAL}])[{_LOCAL}](?:[{_LOCAL}.']{{0,62}}[{_LOCAL}])?"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])"
)
# Hyphens, dashes and the minus sign, which editors put in the place of each other.
_DASH = "\u2010-\u2015\u2212-"
_GAP = rf"(?: ?[.{_DASH}] ?| )?"
_AREA_GAP = rf"(?: ?[./{_DASH}] ?| )?"
# Area code, exchange, subscriber; not inside a longer number such as an ISBN or a decimal.
PHONE = re.compile(
    rf"(?<![A-Za-z\d])(?<!\d[.-])(?:\+?1{_AREA_GAP})?(?:\(\d{{3}}\)|\d{{3}}){_AREA_GAP}"
    rf"\d{{3}}{_GAP}\d{{4}}(?![A-Za-z\d]|[.-]\d)"
)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
# Not inside a longer dotted number: four of five parts are a version, not an address.
IP_ADDRESS = re.compile(rf"(?<![A-Za-z\d])(?<!\d\.){_OCTET}(?:\.{_OCTET}){{3}}(?![A-Za-z\d]|\.\d)")


def mask_emails(text: str) -> tuple[str, int]:
    """Replace e-mail addresses; return the text and how many there were."""
    # The search is worth its cost only where the one character stands that all addresses hold.
    return EMAIL.subn(EMAIL_MASK, text) if "@" in text else (text, 0)


def mask_phone_numbers(text: str) -> tuple[str, int]:
    """Replace US phone numbers; return the text and how many there were.

    Ten digits may be joined, or grouped 3-3-4 by a space, a dot or a dash of any kind, with a space
    on either side of it or not. The area code may stand in parentheses or before a slash, and the
    country code in front of it.
    """
    return PHONE.subn(PHONE_MASK, text)


def mask_ips(text: str) -> tuple[str, int]:
    """Replace IPv4 addresses, four numbers from 0 to 255; return the text and how many."""
    return IP_ADDRESS.subn(IP_MASK, text)

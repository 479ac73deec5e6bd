"""Masking of personal data: e-mail addresses, US phone numbers, IPv4 addresses.

The expressions have bounded repetitions, so that a hostile page cannot make them take quadratic
time. Masks contain nothing that the expressions match, so text may be masked twice, and masks that
stood in it before are not counted.
"""

import re

EMAIL_MASK = "|||EMAIL_ADDRESS|||"
PHONE_MASK = "|||PHONE_NUMBER|||"
IP_MASK = "|||IP_ADDRESS|||"

# A dot at the end of the local part belongs to the sentence before, not to the address.
EMAIL = re.compile(
    r"(?<![\w.%+-])[\w%+-](?:[\w.%+-]{0,62}[\w%+-])?"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}\b"
)
# Area code, exchange, subscriber; not inside a longer number such as an ISBN or a decimal.
PHONE = re.compile(
    r"(?<![\w.])(?<!\d-)(?:\+?1[ .-]?)?(?:\(\d{3}\)[ .-]?|\d{3}[ .-]?)\d{3}[ .-]?\d{4}(?!\w|[.-]\d)"
)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
# Not inside a longer dotted number: four of five parts are a version, not an address.
IP_ADDRESS = re.compile(rf"(?<![\w.]){_OCTET}(?:\.{_OCTET}){{3}}(?!\w|\.\d)")


def mask_emails(text: str) -> tuple[str, int]:
    """Replace e-mail addresses; return the text and how many there were."""
    # The search is worth its cost only where the one character stands that all addresses hold.
    return EMAIL.subn(EMAIL_MASK, text) if "@" in text else (text, 0)


def mask_phone_numbers(text: str) -> tuple[str, int]:
    """Replace US phone numbers; return the text and how many there were.

    Ten digits may be joined, or grouped 3-3-4 by a space, a dot or a dash, with the area code in
    parentheses or not and the country code in front or not.
    """
    return PHONE.subn(PHONE_MASK, text)


def mask_ips(text: str) -> tuple[str, int]:
    """Replace IPv4 addresses, four numbers from 0 to 255; return the text and how many."""
    return IP_ADDRESS.subn(IP_MASK, text)

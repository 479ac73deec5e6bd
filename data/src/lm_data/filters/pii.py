"""Masking of personal data: e-mail addresses, US phone numbers, IPv4 addresses.

The expressions have bounded repetitions, so that a hostile page cannot make them take quadratic
time. Points in time, file names and versions look alike but are nobody's. Masks contain nothing
that the expressions match, so text may be masked twice, and masks that stood in it before are not
counted.
"""

import re

EMAIL_MASK = "|||EMAIL_ADDRESS|||"
PHONE_MASK = "|||PHONE_NUMBER|||"
IP_MASK = "|||IP_ADDRESS|||"

# Extensions of file names that are no top-level domains: "logo@2x.png".
_EXTENSION = (
    "avif|bmp|css|csv|docx?|eot|exe|gif|gz|html?|ico|jpe?g|jsx?|json|log|mp[34]|pdf|php|png|pptx?|svg"
    "|tar|tiff?|tsx?|ttf|txt|wav|webm|webp|woff2?|xlsx?|xml|ya?ml"
)
# Latin letters, so that text in another script may touch an address on either side.
_LOCAL = "A-Za-z0-9_%+\u00c0-\u024f-"
# Dots around the local part belong to the sentence before; an apostrophe only joins. A second "@"
# in front makes it the handle of a social network, numbers behind it the version of a package.
EMAIL = re.compile(
    rf"(?<![{_LOCAL}@])[{_LOCAL}](?:[{_LOCAL}.']{{0,62}}[{_LOCAL}])?"
    rf"@(?!\d+\.\d)(?:[A-Za-z0-9](?:[A-Za-z0-9_-]{{0,61}}[A-Za-z0-9])?\.){{1,8}}"
    rf"(?!(?i:{_EXTENSION})(?![A-Za-z0-9]))[A-Za-z]{{2,24}}(?![A-Za-z0-9])"
)
# Hyphens, dashes and the minus sign, which editors put in the place of each other.
_DASH = "\u2010-\u2015\u2212-"
_GAP = rf"(?: ?[.{_DASH}] ?| )"
_AREA_GAP = rf"(?: ?[./{_DASH}] ?| )"
# Ten digits alone: no area code begins with 0 or 1, as the seconds since 1970 do. Nor may they be a
# date with an hour or a serial number, the largest number of 32 bits, a price, a book, or a part of
# a name.
_JOINED = (
    r"(?<![$\u20ac\u00a3#])(?<![A-Za-z][_/])(?<!ISBN )(?<!ISBN: )(?<!ISBN-10 )(?<!ISBN-10: )"
    r"(?!20\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|214748364[78]|429496729[56])"
    rf"[2-9]\d{{9}}(?!\.(?i:{_EXTENSION})(?![A-Za-z0-9]))"
)
# Area code, exchange, subscriber; not inside a longer number such as an ISBN or a decimal.
PHONE = re.compile(
    rf"(?<![A-Za-z\d])(?<!\d[.-])(?:\+?1{_AREA_GAP}?)?"
    rf"(?:{_JOINED}|\(\d{{3}}\){_AREA_GAP}?\d{{3}}{_GAP}?\d{{4}}"
    rf"|\d{{3}}{_AREA_GAP}\d{{3}}{_GAP}\d{{4}}|\d{{3}}[ {_DASH}]\d{{7}})(?![A-Za-z\d]|[.-]\d)"
)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
# Not inside a longer dotted number, four of five parts of which are a version, and not where a word
# tells that it is one, as "Chrome/120.0.0.0" does.
IP_ADDRESS = re.compile(
    r"(?<![A-Za-z\d])(?<!\d\.)(?<![A-Za-z]/)"
    r"(?i:(?<!version )(?<!version: )(?<!release )(?<!section )(?<!build ))"
    rf"{_OCTET}(?:\.{_OCTET}){{3}}(?![A-Za-z\d]|\.\d)"
)


def mask_emails(text: str) -> tuple[str, int]:
    """Replace e-mail addresses; return the text and how many there were."""
    # The search is worth its cost only where the one character stands that all addresses hold.
    return EMAIL.subn(EMAIL_MASK, text) if "@" in text else (text, 0)


def mask_phone_numbers(text: str) -> tuple[str, int]:
    """Replace US phone numbers; return the text and how many there were.

    Ten digits may be joined, if they cannot be a point in time, or grouped 3-3-4 by a space, a dot
    or a dash of any kind, with a space on either side of it or not. The area code may stand in
    parentheses or before a slash, and the country code in front of it.
    """
    return PHONE.subn(PHONE_MASK, text)


def mask_ips(text: str) -> tuple[str, int]:
    """Replace IPv4 addresses, four numbers from 0 to 255; return the text and how many."""
    return IP_ADDRESS.subn(IP_MASK, text)

"""Personal data for the sample crawl: invented, well formed, and counted.

Names of people and hosts are made up, phone numbers use the exchange 555 that is set aside for
fiction, and addresses come from the ranges that RFC 5737 sets aside for documentation.
"""

import random
from dataclasses import dataclass

FIRST_NAMES = ("ada", "bo", "carmen", "dmitri", "elena", "farid", "grace", "hugo", "iris", "jun")
LAST_NAMES = ("abbott", "brandt", "castillo", "dupont", "eriksen", "fischer", "garcia", "hall")
MAIL_HOSTS = ("mail.example.com", "archive.example.org", "papers.example.net", "example.edu")
NETWORKS = ("192.0.2", "198.51.100", "203.0.113")
PHONE_FORMATS = ("({}) 555-{}", "{}-555-{}", "{}.555.{}", "{}555{}", "({})-555-{}", "{} 555 {}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonalData:
    """One sentence with personal data, and what it holds."""

    sentence: str
    """The sentence to insert."""
    emails: tuple[str, ...]
    """E-mail addresses in it."""
    phone_numbers: tuple[str, ...]
    """Phone numbers in it."""
    ip_addresses: tuple[str, ...]
    """IPv4 addresses in it."""


def make_personal_data(rng: random.Random) -> PersonalData:
    """Return a sentence with one to three pieces of personal data."""
    email = (
        f"{rng.choice(FIRST_NAMES)}.{rng.choice(LAST_NAMES)}{rng.randrange(100)}"
        f"@{rng.choice(MAIL_HOSTS)}"
    )
    phone = rng.choice(PHONE_FORMATS).format(rng.randrange(201, 990), f"{rng.randrange(10**4):04d}")
    address = f"{rng.choice(NETWORKS)}.{rng.randrange(1, 255)}"
    sentence, kinds = rng.choice(
        (
            (f"Corrections to this transcription may be sent to {email} at any time.", "e"),
            (f"For a printed copy write to {email} or call {phone} on weekdays.", "ep"),
            (f"The reading room answers questions about this paper at {phone}.", "p"),
            (f"This copy was last checked by {email} from the address {address}.", "ei"),
            (f"The page was mirrored from {address} by the staff of the library.", "i"),
            (f"Ask {email}, call {phone}, or use the terminal at {address}.", "epi"),
        )
    )
    return PersonalData(
        sentence=sentence,
        emails=(email,) if "e" in kinds else (),
        phone_numbers=(phone,) if "p" in kinds else (),
        ip_addresses=(address,) if "i" in kinds else (),
    )

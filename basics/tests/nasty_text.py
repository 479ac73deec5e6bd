"""Text made of what tokenizers get wrong: contractions, white space, scripts, joiners, borders."""

import random
import sys
import unicodedata
from functools import cache
from itertools import chain

_CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "'l", "'v", "'r", "'e"]
_CONTRACTIONS += ["'", "''", "'''", " '", "'s's", "'lll", "'\u017f", "\u2019s", "'é", "'\xa0", "'1"]
_SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", "\v", "\f", "\xa0", "\xa0 "]
_SPACES += ["\x1c", "\x1d", "\x1e", "\x1f", "\u1680", "\u2003", "\u2028", "\u2029", "\u202f"]
_SPACES += ["\u3000", "\u180e", "\u200b", "\ufeff", "\0", "\x7f", "\u0085", "\u3000 "]
_LETTERS = "a,the,Ab,s,ll,é,ß,мир,日本語,한국,नमस्ते,e\u0301,ǅ,ʰ"
_NUMBERS = "1,42,٣,Ⅷ,²,½,\u07c0,\U0001d7d8,\u3007"
_SYMBOLS = (
    "!,...,<|,|>,_,€,—,`,🙂,👩\u200d💻,👍🏽,🏳️\u200d🌈,🇩🇪,\u0301,\u20e3,\ue000,\U000e0001,\U0010ffff"
)
_WORDS = ",".join([_LETTERS, _NUMBERS, _SYMBOLS]).split(",")
_LONGEST_RUN = 70


def nasty_text(rng: random.Random, max_pieces: int = 40) -> str:
    """Return a random text, of which the seed of ``rng`` decides everything."""
    return "".join(_piece(rng) for _ in range(rng.randint(0, max_pieces)))


def characters_of_all_categories(num_each: int) -> list[str]:
    """Return about as many characters of every general category, spread over all of Unicode."""
    chosen = []
    for members in _categories().values():
        step = max(1, len(members) // num_each)
        chosen += [chr(code_point) for code_point in members[::step]]
    return chosen


def _piece(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.2:
        return rng.choice(_CONTRACTIONS)
    if kind < 0.45:
        return rng.choice(_SPACES)
    if kind < 0.75:
        return rng.choice(_WORDS)
    if kind < 0.85:
        members = rng.choice(list(_categories().values()))
        return chr(rng.choice(members))
    if kind < 0.95:
        return "".join(rng.choices("ab'sl 1.", k=rng.randint(1, 12)))
    # Runs that end around the borders of 64 bytes.
    return rng.choice([*_WORDS, *_SPACES, "'"]) * rng.randint(2, _LONGEST_RUN)


@cache
def _categories() -> dict[str, list[int]]:
    """Return the code points of every category, without surrogates."""
    categories: dict[str, list[int]] = {}
    for code_point in chain(range(0xD800), range(0xE000, sys.maxunicode + 1)):
        categories.setdefault(unicodedata.category(chr(code_point)), []).append(code_point)
    return categories

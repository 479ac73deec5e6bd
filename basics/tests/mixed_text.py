"""Documents of mixed Unicode, the same on every computer, to compare tokenizers with."""

import random
import unicodedata
from collections.abc import Iterator
from functools import cache

# Unicode 3.2 is built into every Python, and all engines of regular expressions agree on it.
_UNICODE = unicodedata.ucd_3_2_0
_DOCUMENT_PIECES = 4_000
_NUM_PIECES = 20_000

_SCRIPTS = [
    (0x41, 0x24F),  # Latin
    (0x250, 0x293),  # phonetic
    (0x370, 0x3FF),  # Greek
    (0x400, 0x4FF),  # Cyrillic
    (0x531, 0x587),  # Armenian
    (0x591, 0x5F4),  # Hebrew
    (0x60C, 0x6FE),  # Arabic
    (0x901, 0x970),  # Devanagari
    (0x981, 0x9FA),  # Bengali
    (0xB82, 0xBF2),  # Tamil
    (0xE01, 0xE5B),  # Thai
    (0xF00, 0xFCF),  # Tibetan
    (0x10A0, 0x10FB),  # Georgian
    (0x1100, 0x11F9),  # Hangul letters
    (0x1200, 0x137C),  # Ethiopic
    (0x1780, 0x17E9),  # Khmer
    (0x1F00, 0x1FFE),  # extended Greek
    (0x3041, 0x309F),  # Hiragana
    (0x30A1, 0x30FE),  # Katakana
    (0x4E00, 0x9FA5),  # Han
    (0xAC00, 0xD7A3),  # Hangul
    (0xFB00, 0xFB4F),  # ligatures
    (0xFF01, 0xFFDC),  # wide forms
    (0x10330, 0x1034A),  # Gothic
    (0x10400, 0x1044D),  # Deseret
    (0x1D400, 0x1D7FF),  # mathematical
    (0x20000, 0x2A6D6),  # rare Han
]
_SYMBOLS = [(0x21, 0x7E), (0x21, 0x7E), (0xA1, 0xBF), (0x2010, 0x2052), (0x20A0, 0x20B1)]
_SYMBOLS += [(0x2190, 0x23CE), (0x2500, 0x27BE)]
_MARKS = [(0x300, 0x34F), (0x483, 0x489), (0x64B, 0x655), (0x20D0, 0x20EA), (0xFE00, 0xFE0F)]
_DIGITS = (0x30, 0x660, 0x6F0, 0x966, 0xE50, 0xFF10, 0x1D7CE)
_NUMBERS = "²³¹¼½¾ⅠⅣⅷⅫ①⑳㈠〇〹৴௧௲"
_SPACES = [" "] * 12 + ["\n"] * 5 + ["\t", "\r\n", "\r", "\v", "\f", "\u0085", "\xa0", "\u1680"]
_SPACES += ["\u2003", "\u2009", "\u2028", "\u2029", "\u202f", "\u3000", "\x1c", "\x1f"]
_INVISIBLE = ["\u180e", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\xad", "\0", "\x7f"]
_EMOJI = ["🙂", "👍🏽", "👩\u200d💻", "👨\u200d👩\u200d👧", "🏳️\u200d🌈", "🇩🇪", "🇯🇵🇰🇷", "❤️", "1️⃣"]
_CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "'Ve", "'x"]
_CONTRACTIONS += ["'\u017f", "\u2019s"]
_PROSE = """
the of and to in is that for it was on as with be by at from his are this have an they which one
would all will there say who make when can more if no man out other so what time up go about than
into could state only new year some take come these know see use get like then first any work now
may such give over think most even find day also after way many must look before great back through
long where much should well people down own just because good each those feel seem how high too
don we he she you it wasn couldn place Hello World NASA iPhone camelCase SHOUTING naïve café Zürich
élève niño ação Straße Ærø łódź İstanbul xin chào привет мир что это как она Москва καλημέρα κόσμε
שלום עולם مرحبا بالعالم नमस्ते दुनिया สวัสดีชาวโลก ภาษาไทย
你好 世界 中文 こんにちは 世界 カタカナ 안녕하세요 세계
"""
_WORDS = _PROSE.split()
_CODE = [
    "def f(x):\n    return x**2 + 1\n",
    "for (int i = 0; i < n; ++i) {\n\t\tsum += a[i];\n\t}\n",
    'print("hello, world!")\n\n\n',
    "if __name__ == '__main__':\n        main()\n",
    '<div class="a">&nbsp;</div>\r\n',
    "SELECT * FROM t WHERE id != 0x1F;--",
    "https://example.org/a/b?c=d&e=%20#f",
    "user_name@mail.example",
    "$\\frac{1}{2}\\alpha_{i}^{2}$",
    "#### ---- ==== //// ****\n",
    "3.14159e-10, 1,000,000, 2026-11-23T13:00:52Z",
    "C:\\Users\\x\\n.txt",
]


def mixed_documents(num_bytes: int, seed: int = 0) -> Iterator[str]:
    """Yield documents of about 40 kB until they have ``num_bytes`` of UTF-8.

    Most pieces are drawn from a pool, as words repeat in a text; one in nine is new.
    """
    rng = random.Random(seed)
    pool = [_piece(rng) for _ in range(_NUM_PIECES)]
    remaining = num_bytes
    while remaining > 0:
        pieces = rng.choices(pool, k=_DOCUMENT_PIECES)
        pieces += [_piece(rng) for _ in range(_DOCUMENT_PIECES // 8)]
        rng.shuffle(pieces)
        document = "".join(pieces)
        yield document
        remaining -= len(document.encode())


def _piece(rng: random.Random) -> str:
    """Return a word, a number, white space, a symbol or something longer."""
    kind = rng.random()
    if kind < 0.30:
        return _space(rng)
    if kind < 0.58:
        return rng.choice(_WORDS) + rng.choice(["", "", " ", " ", " ", *_CONTRACTIONS])
    if kind < 0.78:
        return rng.choice(["", " "]) + _run(rng, _SCRIPTS)
    if kind < 0.84:
        return _number(rng)
    if kind < 0.91:
        return _run(rng, _SYMBOLS)
    if kind < 0.96:
        return rng.choice([*_EMOJI, *_INVISIBLE, *_CONTRACTIONS])
    if kind < 0.98:
        return "é" + _run(rng, _MARKS)
    return rng.choice(_CODE)


def _run(rng: random.Random, blocks: list[tuple[int, int]]) -> str:
    """Return characters of one block."""
    return "".join(rng.choices(_characters(*rng.choice(blocks)), k=_length(rng)))


@cache
def _characters(first: int, last: int) -> str:
    characters = map(chr, range(first, last + 1))
    return "".join(c for c in characters if _UNICODE.category(c) not in ("Cn", "Cs", "Co"))


def _length(rng: random.Random) -> int:
    """Return the length of a word: short as a rule, now and then far too long."""
    return rng.randint(1, 9) if rng.random() < 0.995 else rng.randint(60, 300)


def _space(rng: random.Random) -> str:
    run = rng.choice(_SPACES) * rng.choice([1, 1, 1, 1, 2, 3, 7])
    return run if rng.random() < 0.8 else run + rng.choice(_SPACES)


def _number(rng: random.Random) -> str:
    if rng.random() < 0.2:
        return rng.choice(_NUMBERS)
    zero = rng.choice([0x30, 0x30, 0x30, *_DIGITS])
    return "".join(chr(zero + rng.randrange(10)) for _ in range(_length(rng)))

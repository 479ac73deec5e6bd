"""Classes of text on which tokenizers are timed: English is the kind one, with a space every word.

English and source code are what the installed Python packages hold; the others are written from a
fixed seed. So the same packages give the same text, without a download.
"""

import random
import re
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path

SEED = 1

_DOCSTRING = re.compile(r'"""(.{200,}?)"""', re.DOTALL)
_KANJI = (0x4E00, 3000)
_HIRAGANA = (0x3041, 82)
_KATAKANA = (0x30A1, 84)
_THAI_CONSONANTS = (0x0E01, 46)
_THAI_MARKS = "ัิีึืุู็่้๊๋์"
_THAI_VOWELS = "ะาำเแโใไ"
_EMOJI = ["👩\u200d👩\u200d👧", "👨\u200d💻", "👍🏽", "🏳️\u200d🌈", "🇩🇪"]
_EMOJI += ["🇯🇵", "❤️", "🙂", "1️⃣", "🧑🏿\u200d🚀"]


def write_class(name: str, num_bytes: int) -> str:
    """Return about so many bytes of a class of text; all pieces of it are whole.

    Raises:
        KeyError: there is no such class.
    """
    pieces, size = [], 0
    for piece in TEXT_CLASSES[name](random.Random(SEED)):
        pieces.append(piece)
        size += len(piece.encode())
        if size >= num_bytes:
            break
    return "".join(pieces)


def _english(rng: random.Random) -> Iterator[str]:
    """Yield the long docstrings of installed packages."""
    for source in _source_code(rng):
        for text in _DOCSTRING.findall(source):
            yield text + "\n\n"


def _source_code(rng: random.Random) -> Iterator[str]:
    """Yield installed Python files in the order of their names."""
    for kind in ("stdlib", "purelib"):
        for path in sorted(Path(sysconfig.get_path(kind)).rglob("*.py")):
            yield path.read_text(encoding="utf-8", errors="ignore")


def _csv_numbers(rng: random.Random) -> Iterator[str]:
    while True:
        yield ",".join(f"{rng.random():.4f}" for _ in range(8)) + "\n"


def _hex_lines(rng: random.Random) -> Iterator[str]:
    while True:
        yield f"{rng.getrandbits(256):064x}\n"


def _json_lines(rng: random.Random) -> Iterator[str]:
    words = _words(rng)
    while True:
        number, price = rng.randrange(10**7), rng.random() * 100
        name, tag = rng.choice(words), rng.choice(words)
        yield f'{{"id":{number},"name":"{name}","tags":["{tag}"],"price":{price:.2f},"ok":true}}\n'


def _chinese(rng: random.Random) -> Iterator[str]:
    characters, weights = _common_first(rng, *_KANJI)
    while True:
        sentence = rng.choices(characters, cum_weights=weights, k=rng.randint(6, 40))
        if rng.random() < 0.6:
            sentence.insert(rng.randrange(3, len(sentence)), "、")
        yield "".join(sentence) + ("。\n" if rng.random() < 0.1 else "。")


def _japanese(rng: random.Random) -> Iterator[str]:
    scripts = [_common_first(rng, *script) for script in (_HIRAGANA, _KANJI, _KATAKANA)]
    while True:
        words = []
        for _ in range(rng.randint(5, 20)):
            (script,) = rng.choices(scripts, weights=(5, 4, 1))
            words += rng.choices(script[0], cum_weights=script[1], k=rng.randint(1, 4))
        yield "".join(words) + rng.choice(["。", "。", "、", "。\n"])


def _thai(rng: random.Random) -> Iterator[str]:
    consonants, weights = _common_first(rng, *_THAI_CONSONANTS)
    while True:
        clause = []
        for _ in range(rng.randint(8, 40)):
            clause += rng.choices(consonants, cum_weights=weights)
            if rng.random() < 0.4:
                clause.append(rng.choice(_THAI_MARKS))
            if rng.random() < 0.4:
                clause.append(rng.choice(_THAI_VOWELS))
        yield "".join(clause) + rng.choice([" ", " ", "\n"])


def _emoji(rng: random.Random) -> Iterator[str]:
    while True:
        yield "".join(rng.choices(_EMOJI, k=rng.randint(1, 8))) + rng.choice(["", " ", "\n"])


def _one_long_line(rng: random.Random) -> Iterator[str]:
    """Yield a program without any space or line end."""
    words = _words(rng)
    while True:
        name, other, number = rng.choice(words), rng.choice(words), rng.randrange(99)
        yield f"function({name},n){{return{name}.{other}[{number}]||n}};"


def _letters_and_digits(rng: random.Random) -> Iterator[str]:
    while True:
        yield "ab1" * 100


def _white_space(rng: random.Random) -> Iterator[str]:
    while True:
        yield rng.choice([" ", "\t", "\n", "\r\n", "\xa0"]) * rng.randint(1, 12) + rng.choice("  x")


def _rulers(rng: random.Random) -> Iterator[str]:
    """Yield lines of deeply indented source code, tables padded with blanks, and rulers."""
    words = _words(rng)
    while True:
        word, size = rng.choice(words), rng.randint(20, 80)
        yield rng.choice([" " * size + word, word.ljust(size) + "|", "# " + "-" * size]) + "\n"


def _clauses(rng: random.Random) -> Iterator[str]:
    """Yield what comes again and again: long clauses without a space, and long names."""
    characters, weights = _common_first(rng, *_KANJI)
    clauses = [
        "".join(rng.choices(characters, cum_weights=weights, k=rng.randint(14, 35)))
        for _ in range(100)
    ]
    clauses += ["".join(rng.choices(_words(rng), k=rng.randint(6, 12))) for _ in range(100)]
    while True:
        yield rng.choice(clauses) + rng.choice(["。", ", ", "\n"])


def _words(rng: random.Random) -> list[str]:
    return ["".join(rng.choices("etaoinshrdlucm", k=rng.randint(2, 11))) for _ in range(5000)]


def _common_first(rng: random.Random, first: int, number: int) -> tuple[str, list[float]]:
    """Return characters of a script in any order, and sums of weights that fall as in real text."""
    characters = [chr(first + index) for index in range(number)]
    rng.shuffle(characters)
    return "".join(characters), list(accumulate(1 / (rank + 3) for rank in range(number)))


TEXT_CLASSES: Mapping[str, Callable[[random.Random], Iterator[str]]] = {
    "English": _english,
    "source code": _source_code,
    "CSV numbers": _csv_numbers,
    "hexadecimal lines": _hex_lines,
    "JSON lines": _json_lines,
    "Chinese": _chinese,
    "Japanese": _japanese,
    "Thai": _thai,
    "emoji with joiners": _emoji,
    "one long line": _one_long_line,
    "`ab1` repeated": _letters_and_digits,
    "white space": _white_space,
    "rulers and indentation": _rulers,
    "clauses again and again": _clauses,
}
"""The pieces of each class, without end for all but the first two."""

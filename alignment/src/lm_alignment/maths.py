r"""Whether two answers in LaTeX or plain text are the same: exactly, or as text.

An answer is taken apart into lists, tuples and intervals of values with units, and the values are
compared without computing decimals, see ``exact_values``. What cannot be read is compared as text,
and what could mean two things is not read: a right answer may be refused, but no wrong one is to be
accepted.
"""

import re
from fractions import Fraction

from lm_alignment.exact_values import UnreadableError, Value, constant, root, unknown

_MAX_LENGTH = 300
_MAX_DEPTH = 25
_MAX_PARTS = 20

_UNIT_NAMES = (
    "mm millimeter millimeters",
    "cm centimeter centimeters",
    "m meter meters metre metres",
    "km kilometer kilometers",
    "in inch inches",
    "ft foot feet",
    "yd yard yards",
    "mi mile miles",
    "g gram grams",
    "kg kilogram kilograms",
    "lb pound pounds",
    "mL ml milliliter milliliters",
    "L liter liters",
    "s sec second seconds",
    "min minute minutes",
    "h hr hour hours",
    "day days",
    "week weeks",
    "month months",
    "year years",
    "mi/h mph",
    "dollar dollars",
    "cent cents",
    "degree degrees",
    "rad radian radians",
    "percent",
    "unit units",
)
_UNITS = {name: names.split()[0] for names in _UNIT_NAMES for name in names.split()}
_GREEK = {
    *("alpha", "beta", "gamma", "delta", "epsilon", "theta", "lambda", "mu", "pi", "rho", "sigma"),
    *("tau", "phi", "omega"),
}

# What is written in several ways, the longest first.
_SPELLINGS = [
    (r",\\!", "{,}"),
    (r"\\!|\\(?:left|right|displaystyle)(?![a-zA-Z])", ""),
    (r"(?<!\\)\\[ ,;:]|~|\\q?quad(?![a-zA-Z])", " "),
    (r"(?<=\d)\{,\}(?=\d{3})", ""),
    ("\N{MINUS SIGN}", "-"),
    (r"\\[dtc]frac", r"\\frac"),
    (r"\\(?:text|mathrm)\s*\{\s*(?:and|or)\s*\}|,?\s+(?:and|or)\s+", ","),
    ("\N{INFINITY}|(?<![a-zA-Z])infinity", r"\\infty"),
    ("\N{GREEK SMALL LETTER PI}|(?<![a-zA-Z\\\\])pi(?![a-zA-Z])", r"\\pi "),
    ("\N{SQUARE ROOT}|(?<![a-zA-Z\\\\])sqrt", r"\\sqrt "),
    ("\N{MULTIPLICATION SIGN}", r"\\times "),
    ("\N{DEGREE SIGN}|\\^\\{?\\\\circ\\}?(?![a-zA-Z])", r"\\text{degree}"),
    (r"\\?%", r"\\text{percent}"),
    (r"\\(?:geq|geqslant)(?![a-zA-Z])", r"\\ge"),
    (r"\\(?:leq|leqslant)(?![a-zA-Z])", r"\\le"),
    (r"\\varnothing", r"\\emptyset"),
    # Braces that are seen, unlike those that group.
    (r"\\\{", "\N{LEFT WHITE CURLY BRACKET}"),
    (r"\\\}", "\N{RIGHT WHITE CURLY BRACKET}"),
    (r"(?<![\d.,])\d{1,3}(?: \d{3})+(?! ?\d)", lambda match: match[0].replace(" ", "")),
]
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_OPENING, _CLOSING = "([{\N{LEFT WHITE CURLY BRACKET}", ")]}\N{RIGHT WHITE CURLY BRACKET}"
_SET = "\N{LEFT WHITE CURLY BRACKET}\N{RIGHT WHITE CURLY BRACKET}"
_MEMBER = re.compile(r"(?:[a-zA-Z]\s*\\in(?![a-zA-Z])|\([a-zA-Z](?:\s*,\s*[a-zA-Z])+\)\s*=)\s*")
_UNKNOWN = re.compile(r"([a-zA-Z](?:_\{?\w+\}?)?|[a-zA-Z]\([a-z]\))\s*=\s*")
_TEXT = r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}"
_DOLLARS = re.compile(r"([-+]?)\s*\\?\$")
_UNIT_IN_TEXT = re.compile(rf"(.+?)\s*{_TEXT}((?:\^\{{?[23]\}}?)?)")
# A single letter would be an unknown.
_PLAIN_UNIT = re.compile(r"(.*?[0-9)}\s])\s*([a-zA-Z]{2}[a-zA-Z /]*)((?:\^\{?[23]\}?)?)")
_UNIT_WORD = re.compile(r"(?:(square|sq|cubic) )?([a-zA-Z]+)(?:\^\{?([23])\}?)?")


def answers_agree(answer: str, reference: str) -> bool:
    """Say whether both have the same value, or failing that are the same text."""
    if max(len(answer), len(reference)) > _MAX_LENGTH:
        return answer.strip() == reference.strip()
    return _same(_normalize(answer), _normalize(reference))


def parse_number(text: str) -> Fraction | None:
    """Return the exact value of an integer, decimal, fraction or mixed number, else None.

    A unit behind it changes nothing, and neither does the unknown whose value it is (``x = 7``).
    """
    if len(text) > _MAX_LENGTH:
        return None
    text = _THOUSANDS.sub(_without_commas, _normalize(text))
    value, _ = _split_unit(_UNKNOWN.sub("", text, count=1))
    try:
        return _read(value).rational()
    except UnreadableError:
        return None


def _without_commas(match: re.Match[str]) -> str:
    return match[0].replace(",", "")


def _normalize(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == "$":
        text = text[1:-1]
    for pattern, replacement in _SPELLINGS:
        text = re.sub(pattern, replacement, text)
    return _MEMBER.sub("", text.strip().removesuffix(".").strip(), count=1)


def _same(first: str, second: str) -> bool:
    """Compare normalized answers: their parts, or what there is without parts."""
    if _as_text(first) == _as_text(second):
        return True
    (kind, parts), (other_kind, others) = _split(first), _split(second)
    if kind != other_kind or len(parts) != len(others) or len(parts) > _MAX_PARTS:
        return False
    if kind == "one":
        return _same_one(parts[0], others[0])
    if kind not in ("list", "union"):
        return all(map(_same, parts, others))
    # Roots and sets have no order.
    for part in parts:
        match = next((other for other in others if _same(part, other)), None)
        if match is None:
            return False
        others.remove(match)
    return True


def _split(text: str) -> tuple[str, list[str]]:
    """Return the kind of a collection and its members; ``one`` where there is nothing to split."""
    if match := re.fullmatch(_TEXT, text):
        return _split(match[1].strip())
    closing = _find_closing(text)
    if closing == len(text) - 1:
        inner, brackets = text[1:-1].strip(), text[0] + text[-1]
        if brackets == "{}":
            return _split(inner)
        parts = _cut(inner, ",")
        if brackets == _SET:
            return "list", parts
        if len(parts) > 1:
            return brackets, parts
        return _split(inner) if brackets == "()" else ("one", [text])
    text = _THOUSANDS.sub(_without_commas, text)
    for kind, separator in (("list", ","), ("union", r"\cup")):
        parts = _cut(text, separator)
        if kind == "list":
            parts = [one for part in parts for one in _both_signs(part)]
        if len(parts) > 1:
            return kind, parts
    return "one", [text]


def _both_signs(part: str) -> list[str]:
    signs = part.split(r"\pm")
    return [sign.join(signs) for sign in "+-"] if len(signs) == 2 else [part]


def _find_closing(text: str) -> int | None:
    """Return where the bracket that opens ``text`` is closed, by any kind: ``[0, 1)``."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth <= 0:
            return position if position else None
    return None


def _cut(text: str, separator: str) -> list[str]:
    """Split at the separators outside of all brackets."""
    parts, depth = [""], 0
    for piece in re.split(rf"({re.escape(separator)}|[{re.escape(_OPENING + _CLOSING)}])", text):
        if piece == separator and depth == 0:
            parts.append("")
            continue
        depth += (piece != "" and piece in _OPENING) - (piece != "" and piece in _CLOSING)
        parts[-1] += piece
    return [part.strip() for part in parts]


def _same_one(first: str, second: str) -> bool:
    names = [match[1] if match else None for match in map(_UNKNOWN.match, (first, second))]
    if names != [None, None]:
        if None not in names and names[0] != names[1]:
            return False
        return _same(*(_UNKNOWN.sub("", text, count=1) for text in (first, second)))
    (first, unit), (second, other_unit) = _split_unit(first), _split_unit(second)
    if unit and other_unit and unit != other_unit:
        return False
    if _as_text(first) == _as_text(second):
        return True
    try:
        return _read(first).equals(_read(second))
    except UnreadableError:
        return False


def _as_text(text: str) -> str:
    """Return the text without formatting and without blanks that separate no words."""
    text = re.sub(_TEXT, r"\1", text).strip().removeprefix("+")
    text = re.sub(r"([_^])\{(\w)\}", r"\1\2", text)
    text = re.sub(r"\s+", " ", text)
    return re.sub(r"(?<!\w) | (?!\w)", "", text)


def _split_unit(text: str) -> tuple[str, str | None]:
    """Return the value and its unit's one name; None where there is no unit that is known."""
    without_dollars, count = _DOLLARS.subn(r"\1", text, count=1)
    if count and _DOLLARS.match(text):
        return without_dollars, "dollar"
    for pattern in (_UNIT_IN_TEXT, _PLAIN_UNIT):
        match = pattern.fullmatch(text)
        unit = _name_unit(match[2] + match[3]) if match else None
        if match and unit:
            return match[1].strip(), unit
    return text, None


def _name_unit(text: str) -> str | None:
    names = []
    for word in re.split(r"\s*/\s*|\s+per\s+", text.strip().removesuffix(".")):
        match = _UNIT_WORD.fullmatch(word)
        if match is None or match[2] not in _UNITS:
            return None
        power = {None: match[3], "cubic": "3"}.get(match[1], "2")
        names.append(_UNITS[match[2]] + (power or ""))
    return "/".join(names)


def _read(text: str) -> Value:
    """Return the value of an expression.

    Raises:
        UnreadableError: It is none, or could mean two things.
    """
    text = re.sub(_TEXT, r"\1", text).strip()
    # Words would be multiplied, and so have no order.
    if not re.search(r"[0-9\\+*/^-]", text) and len(text) > 1:
        raise UnreadableError
    reader = _Reader(text)
    value = reader.sum()
    if reader.take(r".+"):
        raise UnreadableError
    return value


class _Reader:
    """Reads an expression from left to right, one method a rule of the grammar."""

    def __init__(self, text: str) -> None:
        self.text, self.position, self.depth = text, 0, 0

    def take(self, pattern: str) -> re.Match[str] | None:
        """Go past blanks and ``pattern``, if it comes next."""
        match = re.compile(rf"\s*(?:{pattern})").match(self.text, self.position)
        if match:
            self.position = match.end()
        return match

    def sum(self) -> Value:
        sign = self.take(r"[-+]")
        total = self.product()
        if sign and "-" in sign[0]:
            total = -total
        while operator := self.take(r"[-+]"):
            term = self.product()
            total = total + (-term if "-" in operator[0] else term)
        return total

    def product(self) -> Value:
        value, is_divided = self.power(), False
        while True:
            if self.take(r"\*|\\cdot(?![a-zA-Z])|\\times(?![a-zA-Z])"):
                value = value * self.power()
            elif self.take(r"/"):
                value, is_divided = value / self.power(), True
            elif self.take(r"(?=[a-zA-Z(\\])"):
                # Nobody knows what 1/2x is.
                if is_divided:
                    raise UnreadableError
                value = value * self.power()
            else:
                return value

    def power(self) -> Value:
        base = self.factor()
        if not self.take(r"\^"):
            return base
        negative = self.take("-")
        exponent = self.factor().rational()
        if exponent is None:
            raise UnreadableError
        return base ** (-exponent if negative else exponent)

    def factor(self) -> Value:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise UnreadableError
        try:
            return self._factor()
        finally:
            self.depth -= 1

    def _factor(self) -> Value:
        if number := self.take(r"\d{0,40}\.\d{1,40}|\d{1,40}(?![\d.])"):
            return self._mixed(Fraction(number[0].strip()))
        if self.take(r"\("):
            return self._inside(r"\)")
        if self.take(r"\{"):
            return self._inside(r"\}")
        if self.take(r"\\frac(?![a-zA-Z])"):
            return self.argument() / self.argument()
        if self.take(r"\\sqrt(?![a-zA-Z])"):
            degree = self.take(r"\[(\d{1,2})\]")
            return root(self.argument(), int(degree[1]) if degree else 2)
        if name := self.take(r"\\([a-zA-Z]+)"):
            if name[1] not in _GREEK:
                raise UnreadableError
            return unknown(name[1])
        # Two letters in a row keep their order, more are a word. A call is no product.
        name = self.take(r"(?![A-Zfgh]\s*\(|[a-zA-Z]{2}\s*\()([a-zA-Z]{1,2})(?![a-zA-Z_'])")
        if name is None:
            raise UnreadableError
        return unknown(name[1])

    def _mixed(self, whole: Fraction) -> Value:
        part = self.take(r"\\frac\s*(?:\{(\d{1,9})\}|(\d))\s*(?:\{(\d{1,9})\}|(\d))")
        part = part or self.take(r"(?<=\s)(\d{1,9})()/(\d{1,9})()(?!\d)")
        if part is None:
            return constant(whole)
        top, bottom = int(part[1] or part[2]), int(part[3] or part[4])
        if not top < bottom or whole.denominator != 1:
            raise UnreadableError
        return constant(whole + Fraction(top, bottom))

    def _inside(self, closing: str) -> Value:
        value = self.sum()
        if not self.take(closing):
            raise UnreadableError
        return value

    def argument(self) -> Value:
        """Read what a command of LaTeX takes: a group, or one digit."""
        digit = self.take(r"\d")
        return constant(Fraction(digit[0].strip())) if digit else self.factor()

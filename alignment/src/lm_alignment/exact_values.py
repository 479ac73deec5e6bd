"""Exact arithmetic on quotients of polynomials in unknowns and in roots of numbers.

A polynomial maps monomials to rational coefficients. The atoms of a monomial are names and primes,
the latter with exponents below 1. Different products of such roots are linearly independent over
the rationals (Besicovitch, 1940), so two values are equal exactly where their cross products are
the same polynomial.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

Monomial = frozenset[tuple[int | str, Fraction]]
Polynomial = Mapping[Monomial, Fraction]

_ONE: Polynomial = {frozenset(): Fraction(1)}
_MAX_TERMS = 100
_MAX_BITS = 2000
_MAX_EXPONENT = 40
_MAX_FACTORED = 10**8


class UnreadableError(Exception):
    """A value that is not understood, or too large to be worth it."""


@dataclass(frozen=True, slots=True)
class Value:
    """A numerator over a denominator that is not 0."""

    top: Polynomial
    """Without coefficients of 0."""
    bottom: Polynomial
    """Likewise."""

    def equals(self, other: "Value") -> bool:
        """Compare the cross products."""
        return _multiply(self.top, other.bottom) == _multiply(other.top, self.bottom)

    def __neg__(self) -> "Value":
        return self * constant(Fraction(-1))

    def __add__(self, other: "Value") -> "Value":
        tops = _multiply(self.top, other.bottom), _multiply(other.top, self.bottom)
        return Value(_add(*tops), _multiply(self.bottom, other.bottom))

    def __mul__(self, other: "Value") -> "Value":
        return Value(_multiply(self.top, other.top), _multiply(self.bottom, other.bottom))

    def __truediv__(self, other: "Value") -> "Value":
        if not other.top:
            raise UnreadableError
        return self * Value(other.bottom, other.top)

    def __pow__(self, exponent: Fraction) -> "Value":
        if abs(exponent.numerator) > _MAX_EXPONENT:
            raise UnreadableError
        base = root(self, exponent.denominator)
        result = constant(Fraction(1))
        for _ in range(abs(exponent.numerator)):
            result = result * base if exponent > 0 else result / base
        return result

    def rational(self) -> Fraction | None:
        """Return the value where it is a rational number."""
        if not self.top:
            return Fraction(0)
        if self.top.keys() != _ONE.keys() or self.bottom.keys() != _ONE.keys():
            return None
        return self.top[frozenset()] / self.bottom[frozenset()]


def constant(value: Fraction) -> Value:
    """Return a rational number as a value."""
    return Value({frozenset(): value} if value else {}, _ONE)


def unknown(name: str) -> Value:
    """Return what goes by ``name``."""
    return Value({frozenset({(name, Fraction(1))}): Fraction(1)}, _ONE)


def root(value: Value, degree: int) -> Value:
    """Return the real root of a rational number.

    Raises:
        UnreadableError: It has none, or is no such number: the root of ``x^2`` may not be ``x``.
    """
    if degree == 1:
        return value
    number = value.rational()
    if number is None or degree == 0 or (number < 0 and degree % 2 == 0):
        raise UnreadableError
    result = constant(Fraction((number > 0) - (number < 0)))
    for integer, sign in ((abs(number.numerator), 1), (number.denominator, -1)):
        for prime, count in _factor(integer).items():
            power: Polynomial = {frozenset({(prime, Fraction(sign * count, degree))}): Fraction(1)}
            result = result * Value(_multiply(power, _ONE), _ONE)
    return result


def _factor(number: int) -> dict[int, int]:
    """Return the primes of ``number`` with their exponents."""
    if number > _MAX_FACTORED:
        raise UnreadableError
    counts: dict[int, int] = defaultdict(int)
    for divisor in range(2, isqrt(number) + 1):
        while number % divisor == 0:
            number //= divisor
            counts[divisor] += 1
    if number > 1:
        counts[number] += 1
    return counts


def _add(first: Polynomial, second: Polynomial) -> Polynomial:
    total = defaultdict(Fraction, first)
    for monomial, coefficient in second.items():
        total[monomial] += coefficient
    return _checked(total)


def _multiply(first: Polynomial, second: Polynomial) -> Polynomial:
    total: dict[Monomial, Fraction] = defaultdict(Fraction)
    for one, coefficient in first.items():
        for other, factor in second.items():
            exponents: dict[int | str, Fraction] = defaultdict(Fraction)
            for atom, exponent in (*one, *other):
                exponents[atom] += exponent
            product = coefficient * factor
            for atom, exponent in exponents.items():
                # Whole powers of primes are rational.
                if isinstance(atom, int):
                    product *= Fraction(atom) ** (exponent // 1)
                    exponents[atom] = exponent % 1
            total[frozenset((a, e) for a, e in exponents.items() if e)] += product
    return _checked(total)


def _checked(total: Mapping[Monomial, Fraction]) -> Polynomial:
    """Return the terms that are not 0."""
    terms = {monomial: value for monomial, value in total.items() if value}
    sizes = [max(v.numerator.bit_length(), v.denominator.bit_length()) for v in terms.values()]
    if len(terms) > _MAX_TERMS or max(sizes, default=0) > _MAX_BITS:
        raise UnreadableError
    return terms

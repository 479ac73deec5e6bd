"""The run-time type checker of the test suites: beartype, with PEP 484's numeric tower.

``float`` accepts an ``int``, as every static checker and every reader takes it to. A violation is
a ``TypeError``, as what Python itself would mostly find a little later.
"""

from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any, get_args, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import TypeCheckError

check = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=TypeCheckError))

CHECKED_CALLS = 8
"""Calls of a function that are checked in each test: a training loop makes thousands alike, and
checking them took half of the time of the test suites."""

_jaxtyped = jaxtyping.jaxtyped
_test_number, _is_limited = 0, True


def begin_test(*, limited: bool = True) -> None:
    """Check the next calls of every function again: the first ones, or all."""
    global _test_number, _is_limited  # noqa: PLW0603 - of the process, as the checks are
    _test_number += 1
    _is_limited = limited


def jaxtyped_where_needed(*, typechecker: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a decorator that stands in for ``jaxtyping.jaxtyped``.

    What jaxtyping does to remember the sizes of axes costs more than most of our functions, so the
    ones without a shape in their annotations get the type checker alone.
    """

    def decorate(thing: Any) -> Any:
        if not isinstance(thing, FunctionType):
            return _jaxtyped(thing, typechecker=typechecker)
        if _may_have_shapes(thing):
            return _check_first_calls(thing, _jaxtyped(thing, typechecker=typechecker))
        return _check_first_calls(thing, typechecker(thing))

    return decorate


def _check_first_calls(plain: FunctionType, checked: Callable[..., Any]) -> Callable[..., Any]:
    last_test, num_calls = 0, 0

    @wraps(plain)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal last_test, num_calls
        __tracebackhide__ = True
        # First of all: what torch.compile traces must not change from call to call.
        if jaxtyping.config.jaxtyping_disable:
            return plain(*args, **kwargs)
        if last_test != _test_number:
            last_test, num_calls = _test_number, 0
        num_calls += 1
        is_checked = num_calls <= CHECKED_CALLS or not _is_limited
        return (checked if is_checked else plain)(*args, **kwargs)

    return call


def _may_have_shapes(function: FunctionType) -> bool:
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError, ValueError):
        # A class that is still being made, a name for type checkers alone: jaxtyping sees to it.
        return True
    return any(map(_holds_shape, hints.values()))


def _holds_shape(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(map(_holds_shape, get_args(hint)))

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

_jaxtyped = jaxtyping.jaxtyped


def jaxtyped_where_needed(*, typechecker: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a decorator that stands in for ``jaxtyping.jaxtyped``.

    What jaxtyping does to remember the sizes of axes costs more than most of our functions, so the
    ones without a shape in their annotations get the type checker alone.
    """

    def decorate(thing: Any) -> Any:
        if not isinstance(thing, FunctionType) or _may_have_shapes(thing):
            return _jaxtyped(thing, typechecker=typechecker)
        checked = typechecker(thing)

        @wraps(thing)
        def call(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            return (thing if jaxtyping.config.jaxtyping_disable else checked)(*args, **kwargs)

        return call

    return decorate


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

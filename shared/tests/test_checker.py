"""Calls are checked: types everywhere, and shapes where there are any."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jaxtyping
import pytest
import torch
from hypothesis import given, settings, strategies as st
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from lm_shared.testing import checker
from lm_shared.testing.checker import CHECKED_CALLS, begin_test, check, jaxtyped_where_needed

checked = jaxtyped_where_needed(typechecker=check)


@checked
def halve(number: float) -> int:
    return number / 2  # pyright: ignore[reportReturnType]


@checked
def add(
    a: Float[Tensor, " size"], b: list[Float[Tensor, " size"]] | None = None
) -> Float[Tensor, " size"]:
    return a + sum(b or [])


@checked
def scale(a: Float[Tensor, " size"] | None, factor: float) -> None:
    """Has no shape but in a part of one of its annotations."""


def test_types_of_arguments_and_results_are_checked() -> None:
    with pytest.raises(TypeCheckError, match="halve"):
        halve("2")
    with pytest.raises(TypeCheckError, match="halve"):
        halve(3)


def test_shapes_are_compared_also_within_lists() -> None:
    ones = torch.ones(2)
    assert torch.equal(add(ones, [ones, ones]), 3 * ones)
    with pytest.raises(TypeCheckError, match="size"):
        add(ones, [torch.ones(3)])


def test_only_shapes_take_jaxtyping(monkeypatch: pytest.MonkeyPatch) -> None:
    wrapped: list[str] = []

    def note(function: Callable[..., Any], typechecker: object) -> Callable[..., Any]:
        wrapped.append(function.__name__)
        return function

    monkeypatch.setattr(checker, "_jaxtyped", note)
    for function in (halve, add, scale):
        checked(function.__wrapped__)
    assert wrapped == ["add", "scale"]


@pytest.mark.parametrize("function", [halve, add], ids=["types", "shapes"])
def test_a_test_checks_the_first_calls_of_a_function(function: Callable[[Any], object]) -> None:
    wrong, right = ("2", 3.0) if function is halve else (2.0, torch.ones(2))
    for _ in range(CHECKED_CALLS - 1):
        with suppress(TypeCheckError):
            function(right)
    with pytest.raises(TypeCheckError):
        function(wrong)
    # Now Python itself has to find out, or nobody does.
    try:
        function(wrong)
    except TypeCheckError:
        pytest.fail("a call too many was checked")
    except TypeError:
        pass
    begin_test()
    with pytest.raises(TypeCheckError):
        function(wrong)


def test_checks_can_be_switched_off() -> None:
    jaxtyping.config.update("jaxtyping_disable", True)
    assert halve(3) == 1.5


def test_names_that_are_not_known_yet_are_no_error() -> None:
    class Node:
        @checked
        def next(self, other: "Node") -> "Node":
            return other

    node = Node()
    assert node.next(node) is node


@pytest.fixture(scope="module")
def made_once() -> str:
    """Fails unless fixtures of a module are checked, too."""
    with pytest.raises(TypeCheckError):
        halve("2")
    return "checked"


def test_many_calls_before_a_fixture_of_a_module() -> None:
    for _ in range(2 * CHECKED_CALLS):
        with suppress(TypeCheckError):
            halve(3.0)


def test_fixtures_of_modules_are_checked(made_once: str) -> None:
    assert made_once == "checked"


@settings(max_examples=3 * CHECKED_CALLS, database=None)
@given(st.integers())
def test_every_example_of_hypothesis_is_checked(number: int) -> None:
    with pytest.raises(TypeCheckError):
        halve(str(number))

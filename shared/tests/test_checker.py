"""Calls are checked: types everywhere, and shapes where there are any."""

from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from lm_shared.testing import check
from lm_shared.testing.checker import jaxtyped_where_needed

checked = jaxtyped_where_needed(typechecker=check)


@checked
def halve(number: float) -> int:
    return number / 2  # pyright: ignore[reportReturnType]


@checked
def add(
    a: Float[Tensor, " size"], b: list[Float[Tensor, " size"]] | None = None
) -> Float[Tensor, " size"]:
    return a + sum(b or [])


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


def test_only_shapes_take_jaxtyping() -> None:
    def name_of(function: Callable[..., Any]) -> str:
        return function.__code__.co_filename

    assert "jaxtyping" in name_of(add)
    assert "jaxtyping" not in name_of(halve)


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

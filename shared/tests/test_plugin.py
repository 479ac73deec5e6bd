import random
from collections.abc import Callable
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st

pytest_plugins = ["pytester"]

MARKERS = ["gpu", "multi_gpu", "compiled", "slow", "browser", "vllm"]


def test_every_marker_is_registered(pytestconfig: pytest.Config) -> None:
    registered = {line.partition(":")[0] for line in pytestconfig.getini("markers")}
    assert registered >= set(MARKERS)


def test_what_the_machine_lacks_is_skipped_with_a_reason(pytester: pytest.Pytester) -> None:
    source = """
import pytest, torch
@pytest.mark.multi_gpu
def test_two_devices():
    assert torch.cuda.device_count() >= 2
@pytest.mark.compiled
@pytest.mark.slow
def test_anything():
    pass
"""
    pytester.makepyfile(source)
    result = pytester.runpytest_inprocess("-rs", "--strict-markers")
    lacks_devices = torch.cuda.device_count() < 2
    result.assert_outcomes(passed=2 - lacks_devices, skipped=int(lacks_devices))
    if lacks_devices:
        result.stdout.fnmatch_lines("*needs 2 CUDA device(s), found *")


def test_shape_checks_step_aside_for_compiled_tests_only(pytester: pytest.Pytester) -> None:
    source = """
import jaxtyping, pytest
@pytest.mark.compiled
def test_off():
    assert jaxtyping.config.jaxtyping_disable
def test_on():
    assert not jaxtyping.config.jaxtyping_disable
"""
    pytester.makepyfile(source)
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), torch.rand(()).item()  # noqa: NPY002


@pytest.mark.parametrize("repetition", [1, 2])
def test_every_test_starts_from_the_same_random_state(repetition: int) -> None:
    numbers = draw()
    torch.manual_seed(0)
    assert torch.rand(()).item() == numbers[2]
    if repetition == 2:
        # The first repetition drew too; had its state leaked, this would be another number.
        assert numbers[0] == random.Random(0).random()


def test_the_process_helper_is_a_fixture_too(
    run_python: Callable[..., CompletedProcess[str]],
) -> None:
    assert run_python(["-c", "print(6 * 7)"]).stdout == "42\n"


@given(st.integers())
def test_examples_may_take_their_time(number: int) -> None:
    assert settings().deadline is None
    assert HealthCheck.too_slow in settings().suppress_health_check

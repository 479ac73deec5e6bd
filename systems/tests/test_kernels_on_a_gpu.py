"""Whole models with each record of operations on a GPU: the reference's losses and gradients."""

import copy

import pytest
import torch
from torch.testing import assert_close

from lm_basics.model_config import uniform_transformer
from lm_basics.transformer import TransformerLM
from lm_shared.tensors import require_determinism
from lm_systems.kernels import OpsName
from lm_systems.kernels.flash_attention import FlashAttention
from lm_systems.kernels.ops import get_ops

pytestmark = [pytest.mark.gpu, pytest.mark.compiled]

CONFIG = uniform_transformer(
    vocab_size=1_003, context_length=128, d_model=128, num_layers=2, num_heads=4, qk_norm=True
)


def _run(name: OpsName, dtype: torch.dtype, ids: torch.Tensor) -> list[torch.Tensor]:
    """Return loss and gradients of one model."""
    torch.manual_seed(0)
    model = TransformerLM(CONFIG, ops=get_ops(name)).cuda()
    loss_of = model.ops.compile_step(model.objective)
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        loss = loss_of(ids[:, :-1], ids[:, 1:])
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("name", ["fused", "compiled", "triton", "tiled"])
def test_float32_equals_the_reference(name: OpsName) -> None:
    ids = torch.randint(0, 1_003, (4, 129), device="cuda")
    ours, expected = (_run(one, torch.float32, ids) for one in (name, "reference"))
    for one, plain in zip(ours, expected, strict=True):
        assert_close(one, plain, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["fused", "compiled", "triton"])
def test_bfloat16_is_as_exact_as_the_reference_and_repeats_its_bits(name: OpsName) -> None:
    ids = torch.randint(0, 1_003, (4, 129), device="cuda")
    exact, low = _run("reference", torch.float32, ids), _run("reference", torch.bfloat16, ids)
    require_determinism()
    try:
        ours, again = (_run(name, torch.bfloat16, copy.copy(ids)) for _ in range(2))
    finally:
        torch.set_deterministic_debug_mode("default")
    for one, same, plain, truth in zip(ours, again, low, exact, strict=True):
        assert torch.equal(one, same)
        assert (one - truth).norm() <= 2 * (plain - truth).norm() + 1e-3 * truth.norm()


def test_compiled_flash_attention_equals_itself() -> None:
    q, k, v = (torch.randn(2, 300, 64, device="cuda", requires_grad=True) for _ in range(3))
    expected = FlashAttention.apply(q, k, v, True)
    found = torch.compile(FlashAttention.apply)(q, k, v, True)
    assert_close(found, expected)
    gradients = (torch.autograd.grad(o.square().sum(), (q, k, v)) for o in (found, expected))
    assert_close(*gradients)


def test_flash_attention_reaches_beyond_32_bits() -> None:
    num_keys = 2**27 + 100
    q = torch.ones(1, 16, 16, dtype=torch.bfloat16, device="cuda")
    k, v = (torch.zeros(1, num_keys, 16, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    # The last key outweighs all others.
    k[:, -1], v[:, -1] = 100, 3
    assert (FlashAttention.apply(q, k, v) == 3).all()

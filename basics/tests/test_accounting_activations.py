"""Activations against what autograd keeps."""

from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import patch

import jaxtyping
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import scaled_dot_product_attention

from basics.tests.accounting_models import BASE, MODELS, SEQ, checkpoint_blocks_of
from basics.tests.saved_bytes import saved_bytes
from lm_basics.accounting import StepConfig, activation_bytes
from lm_basics.nn.ops import REFERENCE_OPS, Ops
from lm_basics.transformer import TransformerLM

BATCHES = (1, 3)


def _fused_attention(
    q: Tensor, k: Tensor, v: Tensor, query_positions: Tensor | None = None, **_: object
) -> Tensor:
    return scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


FUSED_OPS = replace(REFERENCE_OPS, name="fused", attention=_fused_attention)


def _measure(model: TransformerLM, batch_size: int, dtype: str) -> int:
    ids = torch.randint(0, model.config.vocab_size, (batch_size, SEQ))

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            return model.objective(ids, ids)

    return saved_bytes(model, forward)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("attention", ["reference", "fused"])
@pytest.mark.parametrize("name", MODELS)
def test_activations_are_those_that_autograd_keeps(name: str, attention: str, dtype: str) -> None:
    config = MODELS[name]
    ops: Ops = FUSED_OPS if attention == "fused" else REFERENCE_OPS
    model = TransformerLM(config, ops=ops)
    step = StepConfig(dtype=dtype, attention=attention)  # pyright: ignore[reportArgumentType]
    for batch_size in BATCHES:
        expected = activation_bytes(config, batch_size, SEQ, step)
        assert expected.total == _measure(model, batch_size, dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["llama", "no norms, sinusoids", "experts"])
def test_checkpointed_blocks_keep_their_inputs(name: str, dtype: str) -> None:
    config = MODELS[name]
    model = TransformerLM(config)
    checkpoint_blocks_of(model)
    step = StepConfig(dtype=dtype, checkpoint_blocks=True)  # pyright: ignore[reportArgumentType]
    expected = activation_bytes(config, 2, SEQ, step)
    # What is kept when the forward pass ends; the experts' balance loss is part of a block.
    assert _measure(model, 2, dtype) == pytest.approx(
        expected.block_inputs + expected.head, rel=0.01
    )


def test_checkpoints_release_the_head_before_a_block_is_computed_again() -> None:
    plain = activation_bytes(BASE, 2, SEQ, StepConfig())
    kept = activation_bytes(BASE, 2, SEQ, StepConfig(checkpoint_blocks=True))
    block = (plain.total - plain.head) // 2
    assert kept.block_inputs == 2 * 2 * SEQ * 48 * 4
    assert kept.total == kept.block_inputs + max(block, plain.head)


@pytest.mark.parametrize("name", ["llama", "qwen, tied", "no norms, sinusoids", "relu squared"])
def test_activations_under_cudas_autocast(name: str) -> None:
    # Tensors without data tell what CUDA's autocast would keep, on a machine without CUDA. The
    # experts' rows depend on data.
    config = MODELS[name]
    with FakeTensorMode(), patch("torch.nn.init.trunc_normal_"):
        model = TransformerLM(config)
        for module in model.modules():
            _move_to_fake_cuda(module)
        ids = torch.zeros(2, SEQ, dtype=torch.long, device="cuda")
        measured = saved_bytes(model, lambda: _forward_under_cudas_autocast(model, ids))
    expected = activation_bytes(config, 2, SEQ, StepConfig(autocast_device="cuda"))
    assert expected.total == measured


def _move_to_fake_cuda(module: nn.Module) -> None:
    for name, parameter in module._parameters.items():
        if parameter is not None:
            module._parameters[name] = nn.Parameter(torch.empty(parameter.shape, device="cuda"))
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = torch.empty(buffer.shape, device="cuda")


def _forward_under_cudas_autocast(model: TransformerLM, ids: Tensor) -> Tensor:
    # torch.autocast("cuda") switches itself off where there is no CUDA.
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    try:
        return model.objective(ids, ids)
    finally:
        torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", False)


@pytest.fixture
def _unchecked() -> Iterator[None]:
    """Let a value of the wrong type reach the function, as it does without pytest."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("_unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float16"}, "dtype must be one of float32, bfloat16, got 'float16'"),
        ({"attention": "fast"}, "attention must be one of reference, fused, got 'fast'"),
        ({"autocast_device": "tpu"}, "autocast_device must be one of cpu, cuda, got 'tpu'"),
    ],
)
def test_unknown_ways_of_a_step_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StepConfig(**options)  # pyright: ignore[reportArgumentType]


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size=0 and sequence_length=8 must be positive"):
        activation_bytes(BASE, 0, 8, StepConfig())

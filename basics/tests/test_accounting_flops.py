"""Parameters and FLOPs against the model itself, torch's counter, and the course's numbers."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from basics.tests.accounting_models import BASE, MODELS, SEQ, checkpoint_blocks_of
from lm_basics.accounting import (
    count_parameters,
    decode_flops,
    forward_flops,
    forward_flops_per_token,
    parameter_counts,
    training_flops_per_sequence,
    training_flops_per_token,
)
from lm_basics.accounting.coursework import ADAMW_FLOPS_PER_PARAMETER
from lm_basics.model_config import TransformerConfig, uniform_transformer
from lm_basics.optim.adamw import update_adamw
from lm_basics.transformer import TransformerLM

BATCH = 2


def _count(config: TransformerConfig, *, checkpoint_blocks: bool) -> tuple[int, int]:
    """Return the FLOPs of forward and backward pass together as torch counts them, and forward."""
    model = TransformerLM(config)
    if checkpoint_blocks:
        checkpoint_blocks_of(model)
    ids = torch.randint(0, config.vocab_size, (BATCH, SEQ))
    with FlopCounterMode(display=False) as counter:
        loss = model.objective(ids, ids)
        forward = counter.get_total_flops()
        loss.backward()
    return counter.get_total_flops(), forward


@pytest.mark.parametrize("name", MODELS)
def test_flops_agree_with_torch_forward_and_backward(name: str) -> None:
    config = MODELS[name]
    both, forward = _count(config, checkpoint_blocks=False)
    assert forward == BATCH * forward_flops(config, SEQ).total
    assert both == BATCH * training_flops_per_sequence(config, SEQ)
    assert both == BATCH * SEQ * training_flops_per_token(config, SEQ)


@pytest.mark.parametrize("name", MODELS)
def test_flops_of_checkpointed_blocks_agree_with_torch(name: str) -> None:
    config = MODELS[name]
    both, _ = _count(config, checkpoint_blocks=True)
    assert both == BATCH * training_flops_per_sequence(config, SEQ, checkpoint_blocks=True)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_agree_with_the_model(name: str) -> None:
    config = MODELS[name]
    model = TransformerLM(config)
    counts = parameter_counts(config)
    assert counts.total == sum(p.numel() for p in model.parameters())
    by_name = {key: p.numel() for key, p in model.named_parameters()}
    matrices = {key: size for key, size in by_name.items() if "norm" not in key and "ln" not in key}
    assert counts.attention == sum(size for key, size in matrices.items() if ".attn." in key)
    assert counts.feedforward == sum(size for key, size in matrices.items() if ".ffn." in key)
    assert counts.norms == sum(by_name.values()) - sum(matrices.values())


def test_active_parameters_leave_out_idle_experts() -> None:
    config = MODELS["experts"]
    idle = 2 * 2 * 3 * 48 * 80
    assert count_parameters(config) - count_parameters(config, active=True) == idle


def test_components_add_up() -> None:
    flops = forward_flops(BASE, SEQ)
    assert sum(flops.shares().values()) == pytest.approx(1)
    assert flops.head == 2 * SEQ * 48 * 200


def test_a_decoded_token_costs_the_last_token_of_a_sequence() -> None:
    # Attention counts all keys for every query, so that all tokens of a sequence cost the same.
    assert decode_flops(BASE, SEQ).total == forward_flops_per_token(BASE, SEQ)


def test_an_empty_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one token, got 0"):
        forward_flops(BASE, 0)


def test_gpt2_xl_has_the_published_counts() -> None:
    config = uniform_transformer(
        vocab_size=50_257, context_length=1024, d_model=1600, num_layers=48, num_heads=25, d_ff=4288
    )
    assert count_parameters(config) == 1_640_452_800
    assert 1024 * forward_flops_per_token(config, 1024) == pytest.approx(3.517e12, rel=1e-3)


FLOPS_PER_ELEMENT = {"mul_": 1, "lerp_": 3, "addcmul_": 3, "sqrt": 1, "add_": 1, "addcdiv_": 3}


class _ElementwiseFlops(TorchDispatchMode):
    """Counts multiplications, additions, roots and quotients of elementwise operations."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        result = func(*args, **(kwargs or {}))
        if name != "zeros_like":
            self.counts[name] += FLOPS_PER_ELEMENT[name] * result.numel()
        return result


def test_adamw_does_the_operations_that_are_stated() -> None:
    parameter, gradient = torch.ones(2, 7, 5)
    group = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    state: dict[str, object] = {}
    with _ElementwiseFlops() as flops:
        update_adamw(parameter, gradient, state, group)
    assert sum(flops.counts.values()) == ADAMW_FLOPS_PER_PARAMETER * 35

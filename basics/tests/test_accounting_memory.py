"""Memory against what optimizers keep, and against sums by hand."""

import itertools
from collections.abc import Iterator

import jaxtyping
import pytest
import torch
from torch import Tensor

from basics.tests.accounting_models import BASE, MODELS, SEQ
from lm_basics.accounting import (
    StepConfig,
    kv_cache_bytes,
    largest_batch,
    optimizer_state_bytes,
    training_memory,
)
from lm_basics.model_config import SlidingWindowAttention
from lm_basics.optim import AdamWConfig, MuonConfig, SGDConfig, SOAPConfig, build_optimizer
from lm_basics.transformer import TransformerLM


@pytest.mark.parametrize("name", MODELS)
def test_optimizer_state_is_what_the_optimizers_keep(name: str) -> None:
    config = MODELS[name]
    configs = {
        "sgd": SGDConfig(),
        "adamw": AdamWConfig(),
        "muon": MuonConfig(),
        "soap": SOAPConfig(),
    }
    for kind, optimizer_config in configs.items():
        model = TransformerLM(config)
        optimizer = build_optimizer(model, optimizer_config)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        tensors = itertools.chain(*(state.values() for state in optimizer.state.values()))
        kept = sum(one.nbytes for one in tensors if isinstance(one, Tensor))
        assert optimizer_state_bytes(config, kind) == kept  # pyright: ignore[reportArgumentType]


def test_soap_keeps_four_squares_for_each_matrix() -> None:
    adamw, soap = (optimizer_state_bytes(BASE, kind) for kind in ("adamw", "soap"))
    square, oblong = 4 * 48**2, 2 * 48**2 + 2 * 80**2
    assert soap - adamw == 4 * BASE.num_layers * (4 * square + 3 * oblong)


def test_memory_of_a_step_adds_up() -> None:
    memory = training_memory(BASE, 2, SEQ, step=StepConfig(dtype="float32"))
    parameters = sum(p.numel() for p in TransformerLM(BASE).parameters())
    assert memory.weights == memory.gradients == 4 * parameters
    assert memory.total == 16 * parameters + memory.activations.total


def test_the_largest_batch_is_the_last_that_fits() -> None:
    for step in (StepConfig(), StepConfig(checkpoint_blocks=True)):
        sizes = [training_memory(BASE, batch, SEQ, step=step).total for batch in range(1, 6)]
        for batch, size in enumerate(sizes, start=1):
            assert largest_batch(BASE, SEQ, size, step=step) == batch
            assert largest_batch(BASE, SEQ, size - 1, step=step) == batch - 1


def test_a_cache_holds_keys_and_values_that_are_still_seen() -> None:
    assert kv_cache_bytes(BASE, 3, 10) == 3 * 2 * 2 * 10 * 48 * 2
    assert kv_cache_bytes(MODELS["grouped"], 1, 10, value_bytes=4) == 2 * 2 * 10 * 24 * 4
    windowed = MODELS["window"]
    assert isinstance(windowed.block(0).attention, SlidingWindowAttention)
    assert kv_cache_bytes(windowed, 1, 10) == kv_cache_bytes(BASE, 1, 5)
    assert kv_cache_bytes(windowed, 1, 4) == kv_cache_bytes(BASE, 1, 4)


@pytest.fixture
def _unchecked() -> Iterator[None]:
    """Let a value of the wrong type reach the function, as it does without pytest."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("_unchecked")
def test_an_unknown_optimizer_is_refused() -> None:
    with pytest.raises(ValueError, match="optimizer must be one of sgd, adamw, muon, soap"):
        optimizer_state_bytes(BASE, "lion")  # pyright: ignore[reportArgumentType]

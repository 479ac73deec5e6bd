"""Replicas and sharded optimizers against one process."""

from pathlib import Path

import pytest
from torch import nn

from lm_basics.optim import AdamW
from lm_systems.parallel import DDP, ShardedOptimizer
from lm_systems.parallel.collectives import Collectives
from systems.tests.parallel_training import (
    MODELS,
    STEPS,
    assert_same,
    make_adamw,
    make_model,
    part_of_batch,
    train_serially,
)
from systems.tests.process_groups import run_group

SIZES = (2, 4)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", MODELS)
def test_replicas_train_as_one_process(kind: str, size: int, tmp_path: Path) -> None:
    run_group(_train_replicas, size, tmp_path, kind, train_serially(kind, size))


def _train_replicas(kind: str, expected: nn.Module) -> None:
    for bucket_size_mb in (0.0, 0.0016, 0.01, None):
        model = make_model(kind, seed=Collectives().rank)
        replica = DDP(model, bucket_size_mb)
        optimizer = make_adamw(replica.parameters())
        for step in range(STEPS):
            model.objective(*part_of_batch(step)).backward()
            replica.finish_gradient_synchronization()
            optimizer.step()
            optimizer.zero_grad()
        assert_same(dict(model.named_parameters()), expected)


@pytest.mark.parametrize("size", SIZES)
def test_sharded_optimizer_steps_as_the_optimizer_inside(size: int, tmp_path: Path) -> None:
    run_group(_train_with_shards, size, tmp_path, train_serially("tied", size))


def _train_with_shards(expected: nn.Module) -> None:
    model = make_model("tied")
    replica = DDP(model)
    first, *others = model.parameters()
    optimizer = ShardedOptimizer([first], AdamW, lr=3e-3, weight_decay=0.1)
    optimizer.add_param_group({"params": others[:5]})
    optimizer.add_param_group({"params": others[5:]})
    for step in range(STEPS):
        if step == STEPS // 2:
            # A state that went through all processes, and back to their shares.
            later = ShardedOptimizer([first], AdamW, lr=1.0)
            later.add_param_group({"params": others[:5]})
            later.add_param_group({"params": others[5:]})
            later.load_state_dict(optimizer.state_dict())
            optimizer = later
        model.objective(*part_of_batch(step)).backward()
        replica.finish_gradient_synchronization()
        optimizer.step()
        optimizer.zero_grad()
    assert_same(dict(model.named_parameters()), expected)
    states = optimizer._local.state.values()
    held = sum(state["m"].numel() + state["v"].numel() for state in states)
    whole = sum(one.numel() for one in model.parameters() if one.requires_grad)
    assert held < 2 * whole / optimizer.collectives.size * 1.2

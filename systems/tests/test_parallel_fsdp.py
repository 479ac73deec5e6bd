"""Sharded parameters against one process: values, order, memory, bytes."""

import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from lm_basics.nn import Embedding, Linear, RMSNorm
from lm_systems.parallel import DDP, FSDP, Collectives, Event
from lm_systems.parallel.collectives import Pending
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
def test_shards_train_as_one_process(kind: str, size: int, tmp_path: Path) -> None:
    run_group(_train_shards, size, tmp_path, kind, train_serially(kind, size))


def _train_shards(kind: str, expected: nn.Module) -> None:
    model = make_model(kind, seed=dist.get_rank())
    sharded = FSDP(model)
    optimizer = make_adamw(sharded.parameters())
    for step in range(STEPS):
        _step(sharded, optimizer, step)
    assert_same(sharded.gather_full_parameters(), expected)
    assert_same(dict(sharded.unshard().named_parameters()), expected)
    torch.testing.assert_close(model(part_of_batch(0)[0]), expected(part_of_batch(0)[0]))


def _step(sharded: FSDP, optimizer: torch.optim.Optimizer, step: int) -> None:
    with sharded.forward_pass():
        loss = sharded.module.objective(*part_of_batch(step))  # type: ignore[operator]
    loss.backward()
    sharded.finish_gradient_synchronization()
    optimizer.step()
    optimizer.zero_grad()


class Chain(nn.Module):
    """Layers that are used in the order in which they are registered."""

    def __init__(self, num_layers: int = 5) -> None:
        super().__init__()
        self.embedding = Embedding(30, 16)
        self.layers = nn.ModuleList(Linear(16, 16) for _ in range(num_layers))
        self.norm = RMSNorm(16)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.norm(x)


class Watched(Collectives):
    """Knows which gathered matrices are in memory, whoever holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.events = []
        self.num_alive = self.most_alive = 0

    def gather(self, shard: Tensor, *, into: Tensor | None = None) -> Pending:
        # This one is noted already. Threads of gloo let go of the others a moment after their end.
        kinds = [event.kind for event in self.events or []]
        self.settles_at(kinds.count("gather") - 1 - kinds.count("free"))
        # torch holds the array until the storage is freed.
        memory = np.empty((self.size * shard.shape[0], *shard.shape[1:]), dtype=np.float32)
        into = torch.from_numpy(memory)
        weakref.finalize(memory, self._change, -1)
        self._change(1)
        return super().gather(shard, into=into)

    def settles_at(self, num_alive: int) -> bool:
        """Tell whether no more are left, at once or within a while."""
        ends_at = time.monotonic() + 5
        while self.num_alive > num_alive and time.monotonic() < ends_at:
            time.sleep(0.001)
        return self.num_alive <= num_alive

    def _change(self, change: int) -> None:
        self.num_alive += change
        self.most_alive = max(self.most_alive, self.num_alive)


def _moments(events: list[Event] | None) -> dict[tuple[str, str], list[int]]:
    moments: dict[tuple[str, str], list[int]] = {}
    for moment, event in enumerate(events or []):
        moments.setdefault((event.kind, event.name), []).append(moment)
    return moments


@pytest.mark.parametrize("size", SIZES)
def test_matrices_are_gathered_in_time_and_few_are_whole(size: int, tmp_path: Path) -> None:
    run_group(_follow_passes, size, tmp_path)


def _follow_passes() -> None:
    watched = Watched()
    sharded = FSDP(Chain(), collectives=watched)
    names = ["embedding.weight", *(f"layers.{i}.weight" for i in range(5))]
    loss = sharded(torch.arange(6)).sum()
    moments = _moments(watched.events)
    for before, name, after in zip(names, names[1:], names[2:], strict=False):
        # The next is on its way while this is used, the one behind it not before this one is next.
        assert moments["gather", name][0] < moments["use", before][0]
        assert moments["gather", after][0] > moments["free", before][0]
    assert watched.settles_at(0)
    assert watched.most_alive == 2
    watched.events, watched.most_alive = [], 0
    loss.backward()
    sharded.finish_gradient_synchronization()
    moments = _moments(watched.events)
    # An embedding's gradient does not depend on its rows.
    assert ("gather", names[0]) not in moments
    backward = names[:0:-1]
    for before, name, after in zip(backward, backward[1:], backward[2:], strict=False):
        assert moments["gather", name][0] < moments["use", before][0]
        assert moments["gather", after][0] > moments["free", before][0]
        assert moments["reduce", before][0] < moments["reduce", name][0]
    assert watched.settles_at(0)
    assert watched.most_alive == 2


@pytest.mark.parametrize("kind", MODELS)
def test_few_matrices_of_a_transformer_are_whole(kind: str, tmp_path: Path) -> None:
    run_group(_count_whole, 2, tmp_path, kind)


def _count_whole(kind: str) -> None:
    watched = Watched()
    sharded = FSDP(make_model(kind), collectives=watched)
    optimizer = make_adamw(sharded.parameters())
    for step in range(3):
        _step(sharded, optimizer, step)
        assert watched.settles_at(0)
    assert 2 <= watched.most_alive <= 3


def test_parts_are_small_and_bytes_those_of_the_ring(tmp_path: Path) -> None:
    run_group(_count_bytes, 2, tmp_path)
    run_group(_count_bytes, 4, tmp_path)


def _count_bytes() -> None:
    size = dist.get_world_size()
    collectives = Collectives()
    sharded = FSDP(Chain(), torch.float16, collectives=collectives)
    rows = {name: len(parameter) for name, parameter in sharded.module.named_parameters()}
    assert rows == {
        "embedding.weight": -(-30 // size),
        **{f"layers.{i}.weight": 16 // size for i in range(5)},
        "norm.weight": 16,
    }
    assert all(one.dtype == torch.float32 for one in sharded.parameters())
    collectives.bytes_sent.clear()
    sharded(torch.arange(6)).sum().backward()
    sharded.finish_gradient_synchronization()
    layers, table = 2 * 16 * 16 * 5, 2 * size * rows["embedding.weight"] * 16
    ring = (size - 1) / size
    assert collectives.bytes_sent["all_gather"] == ring * (2 * layers + table)
    assert collectives.bytes_sent["reduce_scatter"] == ring * (layers + table)
    # The gains, and one byte each that tells whether they were used.
    assert collectives.bytes_sent["all_reduce"] == 2 * ring * 4 * 16 + int(2 * ring)


def test_replicas_send_two_rounds_of_the_ring(tmp_path: Path) -> None:
    run_group(_count_bytes_of_replicas, 4, tmp_path)


def _count_bytes_of_replicas() -> None:
    model = Chain()
    replica = DDP(model)
    replica.collectives.bytes_sent.clear()
    replica(torch.arange(6)).sum().backward()
    replica.finish_gradient_synchronization()
    num_bytes = sum(one.nbytes for one in model.parameters())
    flags = int(2 * 3 / 4 * len([*model.parameters()]))
    assert replica.collectives.bytes_sent == {"all_reduce": 2 * 3 / 4 * num_bytes + flags}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_products_in_few_bits_update_masters_in_many(dtype: torch.dtype, tmp_path: Path) -> None:
    run_group(_train_in_few_bits, 2, tmp_path, dtype)


def _train_in_few_bits(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    expected = Chain()
    torch.manual_seed(dist.get_rank())
    sharded = FSDP(Chain(), dtype)
    optimizer = torch.optim.SGD(sharded.parameters(), lr=0.1)
    whole = torch.optim.SGD(expected.parameters(), lr=0.1)
    ids = torch.arange(30).view(2, 15)
    for _ in range(5):
        output = sharded(ids[dist.get_rank()])
        assert output.dtype == dtype
        output.float().square().mean().backward()
        sharded.finish_gradient_synchronization()
        expected(ids).square().mean().backward()
        for one in (optimizer, whole):
            one.step()
            one.zero_grad()
    for name, parameter in sharded.gather_full_parameters().items():
        assert parameter.dtype == torch.float32
        torch.testing.assert_close(
            parameter, expected.get_parameter(name).detach(), rtol=2e-2, atol=2e-2
        )


def test_two_layers_may_share_a_matrix(tmp_path: Path) -> None:
    run_group(_train_tied_layers, 2, tmp_path)


def _train_tied_layers() -> None:
    def make() -> Any:
        torch.manual_seed(0)
        chain = Chain()
        chain.layers[3].weight = chain.layers[0].weight
        return chain

    expected, sharded = make(), FSDP(make())
    ids = torch.arange(6)
    for _ in range(2):
        # Gradients of two passes add up.
        sharded(ids).square().sum().backward()
        expected(ids).square().sum().backward()
    sharded.finish_gradient_synchronization()
    parameter = sharded.module.get_parameter("layers.0.weight")
    assert parameter.grad is not None
    gradient = sharded.gather(parameter, parameter.grad)
    torch.testing.assert_close(gradient, expected.layers[0].weight.grad)

"""A few steps of a small model, in one process and in many."""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lm_basics.model_config import MixtureOfExpertsConfig, SwiGLUConfig, uniform_transformer
from lm_basics.nn import Linear
from lm_basics.optim import AdamW
from lm_basics.transformer import TransformerLM

STEPS, BATCH_SIZE, VOCAB_SIZE = 20, 8, 61
MODELS = ("tied", "untied", "experts")
Train = Callable[[TransformerLM, int, int], None]
"""(model, rank, size): trains the model in place."""


def make_model(kind: str, seed: int = 0) -> TransformerLM:
    """Return a model with a frozen parameter, two unused ones, and rows that do not divide."""
    torch.manual_seed(seed)
    config = uniform_transformer(
        vocab_size=VOCAB_SIZE,
        context_length=12,
        d_model=16,
        d_ff=22,
        num_layers=2,
        num_heads=2,
        tie_embeddings=kind == "tied",
    )
    if kind == "experts":
        experts = MixtureOfExpertsConfig(num_experts=3, num_active=1, expert=SwiGLUConfig(d_ff=10))
        config = replace(config, pattern=(replace(config.pattern[0], feedforward=experts),))
    model = TransformerLM(config)
    model.unused_matrix, model.unused_gain = Linear(5, 3), nn.Parameter(torch.ones(3))
    model.get_parameter("layers.0.attn.k_proj.weight").requires_grad_(False)
    return model


def batch(step: int) -> tuple[Tensor, Tensor]:
    """Return the ids and targets of a step, the same in every process."""
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(VOCAB_SIZE, (BATCH_SIZE, 13), generator=generator)
    return ids[:, :-1], ids[:, 1:]


def part_of_batch(step: int) -> tuple[Tensor, Tensor]:
    """Return this process's rows."""
    rank, size = dist.get_rank(), dist.get_world_size()
    ids, targets = (one.chunk(size)[rank] for one in batch(step))
    return ids, targets


def make_adamw(params: object) -> torch.optim.Optimizer:
    """Return an optimizer with settings that let every parameter move."""
    return AdamW(params, lr=3e-3, weight_decay=0.1)  # type: ignore[arg-type]


def train_serially(kind: str, size: int) -> TransformerLM:
    """Return the model that as many processes should come to; experts balance within a part."""
    model = make_model(kind)
    optimizer = make_adamw(model.parameters())
    for step in range(STEPS):
        for ids, targets in zip(*(one.chunk(size) for one in batch(step)), strict=True):
            (model.objective(ids, targets) / size).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def assert_same(found: dict[str, Tensor], expected: nn.Module) -> None:
    """Compare parameters by name."""
    whole = dict(expected.named_parameters())
    assert list(found) == list(whole)
    for name, parameter in whole.items():
        torch.testing.assert_close(found[name], parameter.detach(), rtol=1e-5, atol=1e-5, msg=name)

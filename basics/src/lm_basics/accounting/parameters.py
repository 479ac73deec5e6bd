"""Parameters of a transformer by component."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields

from lm_basics.model_config import (
    BlockConfig,
    FeedForward,
    MixtureOfExpertsConfig,
    SwiGLUConfig,
    TransformerConfig,
)

Shape = tuple[int, int]
"""Rows and columns of a matrix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterCounts:
    """Numbers of parameters, by component."""

    embedding: int
    """Token embeddings; when they are tied, the output head as well."""
    attention: int
    """Projections to queries, keys and values and back."""
    feedforward: int
    """Feed-forward layers, all experts and the routers included."""
    norms: int
    """Gains of the norms."""
    head: int
    """Output head of its own."""

    @property
    def total(self) -> int:
        """All components."""
        return sum(getattr(self, field.name) for field in fields(self))


def parameter_counts(config: TransformerConfig, *, active: bool = False) -> ParameterCounts:
    """Return the numbers of parameters by component.

    Args:
        config: The model.
        active: Whether only the experts that a token goes through count.
    """
    table = config.vocab_size * config.d_model
    blocks = config.blocks()
    return ParameterCounts(
        embedding=table,
        attention=sum(_size(attention_matrices(config, block)) for block in blocks),
        feedforward=sum(
            _size(feedforward_matrices(config.d_model, block.feedforward, active=active))
            for block in blocks
        ),
        norms=(config.d_model if config.final_norm else 0)
        + sum(_count_gains(config, block) for block in blocks),
        head=0 if config.tie_embeddings else table,
    )


def count_parameters(config: TransformerConfig, *, active: bool = False) -> int:
    """Return the number of parameters; a tied head counts once. See ``parameter_counts``."""
    return parameter_counts(config, active=active).total


def hidden_matrices(config: TransformerConfig) -> Iterator[Shape]:
    """Yield the shapes of the matrices between embedding and head that Muon and SOAP take.

    All experts are included; their routers follow AdamW, see ``lm_basics.optim.build``.
    """
    for block in config.blocks():
        yield from attention_matrices(config, block)
        num_routers = int(isinstance(block.feedforward, MixtureOfExpertsConfig))
        matrices = feedforward_matrices(config.d_model, block.feedforward)
        yield from itertools.islice(matrices, num_routers, None)


def attention_matrices(config: TransformerConfig, block: BlockConfig) -> Iterator[Shape]:
    """Yield the shapes of the query, key, value and output projections."""
    d_model, d_head = config.d_model, block.attention.head_width(config.d_model)
    width, kv_width = block.attention.num_heads * d_head, block.attention.count_kv_heads() * d_head
    yield from ((width, d_model), (kv_width, d_model), (kv_width, d_model), (d_model, width))


def feedforward_matrices(
    d_model: int, layer: FeedForward, *, active: bool = False
) -> Iterator[Shape]:
    """Yield the shapes of a feed-forward layer's matrices, of experts after their router.

    Args:
        d_model: Width of the residual stream.
        layer: The layer.
        active: Whether only the experts that a token goes through count.
    """
    if isinstance(layer, MixtureOfExpertsConfig):
        yield (layer.num_experts, d_model)
        for _ in range(layer.num_active if active else layer.num_experts):
            yield from feedforward_matrices(d_model, layer.expert)
        return
    yield from ((layer.d_ff, d_model), (d_model, layer.d_ff))
    if isinstance(layer, SwiGLUConfig):
        yield (layer.d_ff, d_model)


def _count_gains(config: TransformerConfig, block: BlockConfig) -> int:
    of_block = 0 if block.norm == "none" else 2 * config.d_model
    of_heads = 2 * block.attention.head_width(config.d_model) if block.attention.qk_norm else 0
    return of_block + of_heads


def _size(shapes: Iterator[Shape]) -> int:
    return sum(rows * columns for rows, columns in shapes)

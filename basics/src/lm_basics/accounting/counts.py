"""Parameters of a transformer, and floating-point operations of its matrix products.

A product of an ``n x k`` with a ``k x m`` matrix counts ``2 n k m``. These counts are those of the
products that the reference operations really do, which is what torch's ``FlopCounterMode`` sees;
norms, softmax, rotations and the update of the weights are left out.

The backward pass costs exactly two forward passes: for ``Y = X W`` it forms the gradient of ``X``
and that of ``W``, each as large a product as the forward one. That holds for the first block too,
because its input comes from the embedding, which learns; the embedding's own gradient is a sum of
rows and no product.
"""

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


@dataclass(frozen=True, kw_only=True, slots=True)
class ForwardFlops:
    """Matrix-multiplication FLOPs of one forward pass, by component."""

    qkv: int
    """Projections to queries, keys and values."""
    attention: int
    """Scores and weighted sums over all keys, masked or not, as is customary (PaLM, appendix B)."""
    output: int
    """Projection back from the heads."""
    feedforward: int
    """Feed-forward layers; of experts, the active ones and the router."""
    head: int
    """Output head."""

    @property
    def total(self) -> int:
        """All components."""
        return sum(getattr(self, field.name) for field in fields(self))

    def shares(self) -> dict[str, float]:
        """Return each component's part of the total."""
        return {field.name: getattr(self, field.name) / self.total for field in fields(self)}


def forward_flops(config: TransformerConfig, sequence_length: int) -> ForwardFlops:
    """Return the FLOPs of a forward pass over one sequence.

    Raises:
        ValueError: ``sequence_length`` is not positive.
    """
    return _count(config, num_queries=sequence_length, num_keys=sequence_length)


def decode_flops(config: TransformerConfig, context_length: int) -> ForwardFlops:
    """Return the FLOPs of one token's step with a cache.

    Args:
        config: The model.
        context_length: Keys that the token sees, its own included.

    Raises:
        ValueError: ``context_length`` is not positive.
    """
    return _count(config, num_queries=1, num_keys=context_length)


def forward_flops_per_token(config: TransformerConfig, sequence_length: int) -> int:
    """Return the matrix-multiplication FLOPs of one token's forward pass; see ``forward_flops``."""
    return forward_flops(config, sequence_length).total // sequence_length


def training_flops_per_token(config: TransformerConfig, sequence_length: int) -> int:
    """Return forward plus backward FLOPs; the backward pass costs two forward passes."""
    return 3 * forward_flops_per_token(config, sequence_length)


def training_flops_per_sequence(
    config: TransformerConfig, sequence_length: int, *, checkpoint_blocks: bool = False
) -> int:
    """Return forward plus backward FLOPs of one sequence.

    Args:
        config: The model.
        sequence_length: Its tokens.
        checkpoint_blocks: Whether the backward pass computes each block again. torch stops the
            second pass when it has what the backward pass needs, so a block's last product is not
            repeated, unless a norm or an expert's weight comes after it.
    """
    forward = forward_flops(config, sequence_length)
    if not checkpoint_blocks:
        return 3 * forward.total
    last = sum(_last_product(config, block) for block in config.blocks())
    return 3 * forward.total + (forward.total - forward.head) - sequence_length * last


def _count(config: TransformerConfig, *, num_queries: int, num_keys: int) -> ForwardFlops:
    if num_queries <= 0 or num_keys <= 0:
        raise ValueError(f"a sequence needs at least one token, got {min(num_queries, num_keys)}")
    d_model = config.d_model
    qkv = attention = output = feedforward = 0
    for block in config.blocks():
        heads, kv_heads = block.attention.num_heads, block.attention.count_kv_heads()
        d_head = block.attention.head_width(d_model)
        qkv += 2 * d_model * d_head * (heads + 2 * kv_heads)
        attention += 4 * num_keys * heads * d_head
        output += 2 * heads * d_head * d_model
        matrices = feedforward_matrices(d_model, block.feedforward, active=True)
        feedforward += sum(2 * rows * columns for rows, columns in matrices)
    return ForwardFlops(
        qkv=num_queries * qkv,
        attention=num_queries * attention,
        output=num_queries * output,
        feedforward=num_queries * feedforward,
        head=num_queries * 2 * d_model * config.vocab_size,
    )


def _last_product(config: TransformerConfig, block: BlockConfig) -> int:
    """Return the FLOPs per token of the last product, if nothing behind it needs its result."""
    if block.norm == "post" or isinstance(block.feedforward, MixtureOfExpertsConfig):
        return 0
    return 2 * config.d_model * block.feedforward.d_ff

"""Parameters and floating-point operations of a transformer, counted from its configuration."""

from lm_basics.model_config import BlockConfig, TransformerConfig


def count_parameters(config: TransformerConfig) -> int:
    """Return the number of parameters; a tied head counts once."""
    tables = config.vocab_size * config.d_model * (1 if config.tie_embeddings else 2)
    blocks = (config.block(i) for i in range(config.num_layers))
    return tables + config.d_model + sum(_count_block(config, block) for block in blocks)


def forward_flops_per_token(config: TransformerConfig, sequence_length: int) -> int:
    """Return the matrix-multiplication FLOPs of one token's forward pass.

    A product of a vector with an ``n x m`` matrix counts ``2 n m``. Scores and weighted sums count
    all ``sequence_length`` keys, masked or not, as is customary (PaLM, appendix B).
    """
    head = 2 * config.vocab_size * config.d_model
    blocks = (config.block(i) for i in range(config.num_layers))
    return head + sum(
        2 * _count_matrices(config, block) + 4 * sequence_length * config.d_model
        for block in blocks
    )


def training_flops_per_token(config: TransformerConfig, sequence_length: int) -> int:
    """Return forward plus backward FLOPs; the backward pass costs two forward passes."""
    return 3 * forward_flops_per_token(config, sequence_length)


def _count_block(config: TransformerConfig, block: BlockConfig) -> int:
    d_head = config.d_model // block.attention.num_heads
    norms = 2 * config.d_model + (2 * d_head if block.attention.qk_norm else 0)
    return norms + _count_matrices(config, block)


def _count_matrices(config: TransformerConfig, block: BlockConfig) -> int:
    """Return the parameters of a block that take part in matrix products."""
    kv_share = block.attention.count_kv_heads() / block.attention.num_heads
    attention = round((2 + 2 * kv_share) * config.d_model**2)
    return attention + 3 * config.d_model * block.feedforward.d_ff

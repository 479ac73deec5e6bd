"""The decoder-only transformer: residual blocks between an embedding and an output head."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_basics.model_config import (
    BlockConfig,
    FeedForward,
    FullAttention,
    MixtureOfExpertsConfig,
    NoPosition,
    RopeConfig,
    SwiGLUConfig,
    TransformerConfig,
)
from lm_basics.nn.attention import LayerCache, MultiHeadSelfAttention
from lm_basics.nn.feedforward import MLP, MixtureOfExperts, SwiGLU
from lm_basics.nn.layers import Embedding, Linear, RMSNorm
from lm_basics.nn.ops import COMPILED_OPS, REFERENCE_OPS, Ops
from lm_basics.nn.rope import SinusoidalPositionalEmbedding
from lm_shared.tensors import require_determinism, seed_everything


class ResidualBlock(nn.Module):
    """Two residual branches, attention and feed-forward, with the norms where ``norm`` says.

    =========  ============================================================
    ``pre``    ``y = x + attn(ln1(x))``, then ``y + ffn(ln2(y))``
    ``post``   ``y = ln1(x + attn(x))``, then ``ln2(y + ffn(y))``
    ``none``   ``y = x + attn(x)``, then ``y + ffn(y)``
    =========  ============================================================
    """

    def __init__(
        self,
        d_model: int,
        config: BlockConfig,
        *,
        context_length: int | None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        norm_eps: float = 1e-5,
        ops: Ops = REFERENCE_OPS,
    ) -> None:
        super().__init__()
        make_norm = (
            nn.Identity
            if config.norm == "none"
            else partial(RMSNorm, d_model, norm_eps, device, dtype, ops=ops)
        )
        self.is_post_norm = config.norm == "post"
        self.ln1 = make_norm()
        self.attn = MultiHeadSelfAttention.from_config(
            d_model,
            config.attention,
            context_length=context_length,
            device=device,
            dtype=dtype,
            norm_eps=norm_eps,
            ops=ops,
        )
        self.ln2 = make_norm()
        self.ffn = _feed_forward(d_model, config.feedforward, device, dtype, ops)

    def forward(
        self,
        x: Float[Tensor, "*batch seq d_model"],
        token_positions: Int[Tensor, "*rows seq"] | None = None,
        *,
        cache: LayerCache | None = None,
        documents: Int[Tensor, "*rows seq"] | None = None,
        objectives: list[Tensor] | None = None,
    ) -> Float[Tensor, "*batch seq d_model"]:
        """Apply both branches.

        Args:
            x: Residual stream.
            token_positions: Absolute position of each token; None means 0, 1, 2, … in every row.
            cache: Where earlier keys and values are.
            documents: Number of each token's document, which attention does not look beyond.
            objectives: Where a layer puts what the training objective adds to the loss.
        """
        # A layer of experts adds to the objective, any other takes the stream alone.
        extra = (objectives,) if isinstance(self.ffn, MixtureOfExperts) else ()
        if self.is_post_norm:
            y = self.ln1(x + self.attn(x, token_positions, cache, documents))
            return self.ln2(y + self.ffn(y, *extra))
        y = x + self.attn(self.ln1(x), token_positions, cache, documents)
        return y + self.ffn(self.ln2(y), *extra)


class TransformerBlock(ResidualBlock):
    """The block of the course: pre-norm, full attention, SwiGLU; rotated where ``theta`` is given.

    ``y = x + attn(ln1(x))``, then ``y + ffn(ln2(y))``.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int,
        max_seq_len: int | None = None,
        theta: float | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        ops: Ops = REFERENCE_OPS,
    ) -> None:
        position = NoPosition() if theta is None else RopeConfig(theta=theta)
        config = BlockConfig(
            attention=FullAttention(num_heads=num_heads, position=position),
            feedforward=SwiGLUConfig(d_ff=d_ff),
        )
        super().__init__(
            d_model, config, context_length=max_seq_len, device=device, dtype=dtype, ops=ops
        )


class TransformerLM(nn.Module):
    """A language model: token ids in, the next token's logits out."""

    def __init__(
        self,
        config: TransformerConfig,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        ops: Ops = REFERENCE_OPS,
    ) -> None:
        super().__init__()
        self.config = config
        self.ops = ops
        std = config.embedding_std
        if std is None:
            # A table that is also the head: unit variance would give logits of size sqrt(d_model).
            std = config.d_model**-0.5 if config.tie_embeddings else 1.0
        self.token_embeddings = Embedding(config.vocab_size, config.d_model, device, dtype, std=std)
        waves = config.position_embedding
        self.position_embeddings = waves and SinusoidalPositionalEmbedding(
            waves.theta, config.d_model, config.context_length, device, dtype
        )
        self.layers = nn.ModuleList(
            ResidualBlock(
                config.d_model,
                block,
                context_length=config.context_length,
                device=device,
                dtype=dtype,
                norm_eps=config.norm_eps,
                ops=ops,
            )
            for block in config.blocks()
        )
        if config.zero_init_residual:
            self._silence_branches()
        self.ln_final = (
            RMSNorm(config.d_model, config.norm_eps, device, dtype, ops=ops)
            if config.final_norm
            else nn.Identity()
        )
        self.lm_head = (
            None
            if config.tie_embeddings
            else Linear(config.d_model, config.vocab_size, device, dtype)
        )

    def _silence_branches(self) -> None:
        """Let every block start as the identity: its branches end in matrices of zeros."""
        for name, weight in self.layers.named_parameters():
            if name.endswith(("attn.output_proj.weight", "w2.weight")):
                nn.init.zeros_(weight)

    @property
    def output_weight(self) -> Float[Tensor, "vocab d_model"]:
        """The output head's matrix: its own, or the embedding's when the two are tied."""
        return self.token_embeddings.weight if self.lm_head is None else self.lm_head.weight

    def drop_tokens_from(self, vocab_size: int) -> None:
        """Forget the rows of the embedding and the head from ``vocab_size`` on, if any."""
        if vocab_size >= self.config.vocab_size:
            return
        for table in (self.token_embeddings, self.lm_head):
            if table is not None:
                table.weight = nn.Parameter(table.weight.detach()[:vocab_size].clone())
        self.config = replace(self.config, vocab_size=vocab_size)

    def hidden(
        self,
        token_ids: Int[Tensor, "*batch seq"],
        *,
        positions: Int[Tensor, "*rows seq"] | None = None,
        cache: Sequence[LayerCache] | None = None,
        documents: Int[Tensor, "*rows seq"] | None = None,
        objectives: list[Tensor] | None = None,
    ) -> Float[Tensor, "*batch seq d_model"]:
        """Return the final normalized residual stream, before the head; see ``forward``."""
        if token_ids.shape[-1] > self.config.context_length:
            raise ValueError(
                f"{token_ids.shape[-1]} tokens in a row, but context_length is "
                f"{self.config.context_length}"
            )
        x = self.token_embeddings(token_ids)
        if self.position_embeddings is not None:
            x = self.position_embeddings(x, positions)
        for i, layer in enumerate(self.layers):
            x = layer(
                x,
                positions,
                cache=None if cache is None else cache[i],
                documents=documents,
                objectives=objectives,
            )
        return self.ln_final(x)

    def forward(
        self,
        token_ids: Int[Tensor, "*batch seq"],
        *,
        positions: Int[Tensor, "*rows seq"] | None = None,
        cache: Sequence[LayerCache] | None = None,
        documents: Int[Tensor, "*rows seq"] | None = None,
    ) -> Float[Tensor, "*batch seq vocab"]:
        """Return logits.

        Args:
            token_ids: Tokens, at most ``context_length`` a row; any leading axes.
            positions: Absolute position of each token; leading axes broadcast. None means 0, 1, 2,
                … in every row.
            cache: One cache a layer, for tokens seen in earlier calls.
            documents: Number of each token's document, which attention does not look beyond.
        """
        hidden = self.hidden(token_ids, positions=positions, cache=cache, documents=documents)
        return hidden @ self.output_weight.T

    def loss(
        self,
        token_ids: Int[Tensor, "*batch seq"],
        targets: Int[Tensor, "*batch seq"],
        documents: Int[Tensor, "*rows seq"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the mean next-token cross-entropy in nats; ignored targets do not count."""
        hidden = self.hidden(token_ids, documents=documents).flatten(0, -2)
        return self.ops.linear_cross_entropy(hidden, self.output_weight, targets.flatten())

    def objective(
        self,
        token_ids: Int[Tensor, "*batch seq"],
        targets: Int[Tensor, "*batch seq"],
        documents: Int[Tensor, "*rows seq"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return what training minimizes: the loss, and what layers such as experts add to it."""
        objectives: list[Tensor] = []
        hidden = self.hidden(token_ids, documents=documents, objectives=objectives).flatten(0, -2)
        loss = self.ops.linear_cross_entropy(hidden, self.output_weight, targets.flatten())
        return sum(objectives, start=loss)


COMPILES = "the first step takes longer: it compiles the model"
"""What to tell before."""


def initial_model(
    config: TransformerConfig, *, seed: int, device: torch.device, compiled: bool = False
) -> TransformerLM:
    """Return the model that a deterministic run begins with; the seed decides its weights.

    Args:
        config: Its shape.
        seed: Of the weights, and of whatever is drawn behind them.
        device: Where it is to compute.
        compiled: Whether ``torch.compile`` traces its training step.
    """
    require_determinism()
    seed_everything(seed)
    return TransformerLM(config, ops=COMPILED_OPS if compiled else REFERENCE_OPS).to(device)


def _feed_forward(
    d_model: int,
    config: FeedForward,
    device: torch.device | None,
    dtype: torch.dtype | None,
    ops: Ops,
) -> nn.Module:
    if isinstance(config, MixtureOfExpertsConfig):
        return MixtureOfExperts(d_model, config, device, dtype, ops=ops)
    if isinstance(config, SwiGLUConfig):
        return SwiGLU(d_model, config.d_ff, device, dtype, ops=ops)
    return MLP(d_model, config.d_ff, config.activation, device, dtype)

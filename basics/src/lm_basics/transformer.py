"""The decoder-only transformer: residual blocks between an embedding and an output head."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_basics.model_config import (
    BlockConfig,
    FeedForward,
    MixtureOfExpertsConfig,
    SwiGLUConfig,
    TransformerConfig,
)
from lm_basics.nn.attention import LayerCache, MultiHeadSelfAttention
from lm_basics.nn.feedforward import MLP, SwiGLU
from lm_basics.nn.linear import Embedding, Linear
from lm_basics.nn.moe import MixtureOfExperts
from lm_basics.nn.norm import RMSNorm
from lm_basics.nn.ops import REFERENCE_OPS, Ops
from lm_basics.nn.rope import SinusoidalPositionalEmbedding


class Surroundings(NamedTuple):
    """What a block needs to know beside the residual stream.

    A named tuple, because torch.compile leaves its graph where a frozen dataclass is made.
    """

    positions: Int[Tensor, "batch seq"] | None = None
    """Absolute position of each token; None means 0, 1, 2, … in every row."""
    documents: Int[Tensor, "batch seq"] | None = None
    """Number of each token's document, which attention does not look beyond."""
    objectives: list[Tensor] | None = None
    """Where layers put what the training objective adds to the loss."""


class TransformerBlock(nn.Module):
    """Two residual branches, attention and feed-forward, with the norms where ``norm`` says.

    =========  ============================================================
    ``pre``    ``y = x + attn(ln1(x))``, then ``y + ffn(ln2(y))``
    ``post``   ``y = ln1(x + attn(x))``, then ``ln2(y + ffn(y))``
    ``none``   ``y = x + attn(x)``, then ``y + ffn(y)``
    =========  ============================================================
    """

    def __init__(self, config: TransformerConfig, block: BlockConfig, *, ops: Ops) -> None:
        super().__init__()
        self.is_post_norm = block.norm == "post"
        self.ln1 = _norm(config, ops, is_there=block.norm != "none")
        self.attn = MultiHeadSelfAttention(
            config.d_model,
            block.attention,
            context_length=config.context_length,
            norm_eps=config.norm_eps,
            ops=ops,
        )
        self.ln2 = _norm(config, ops, is_there=block.norm != "none")
        self.ffn = _feedforward(config.d_model, block.feedforward, ops)
        if config.zero_init_residual:
            nn.init.zeros_(self.attn.output_proj.weight)
            for name, weight in self.ffn.named_parameters():
                if name.endswith("w2.weight"):
                    nn.init.zeros_(weight)

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        around: Surroundings,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        """Apply both branches."""
        if self.is_post_norm:
            y = self.ln1(x + self.attn(x, around.positions, cache, around.documents))
            return self.ln2(y + self._feed_forward(y, around))
        y = x + self.attn(self.ln1(x), around.positions, cache, around.documents)
        return y + self._feed_forward(self.ln2(y), around)

    def _feed_forward(
        self, x: Float[Tensor, "batch seq d_model"], around: Surroundings
    ) -> Float[Tensor, "batch seq d_model"]:
        if isinstance(self.ffn, MixtureOfExperts):
            return self.ffn(x, around.objectives)
        return self.ffn(x)


class TransformerLM(nn.Module):
    """A language model: token ids in, the next token's logits out."""

    def __init__(self, config: TransformerConfig, *, ops: Ops = REFERENCE_OPS) -> None:
        super().__init__()
        self.config = config
        self.ops = ops
        std = config.embedding_std
        if std is None:
            # A table that is also the head: unit variance would give logits of size sqrt(d_model).
            std = config.d_model**-0.5 if config.tie_embeddings else 1.0
        self.token_embeddings = Embedding(config.vocab_size, config.d_model, std=std)
        waves = config.position_embedding
        self.position_embeddings = waves and SinusoidalPositionalEmbedding(
            waves.theta, config.d_model, config.context_length
        )
        self.layers = nn.ModuleList(
            TransformerBlock(config, block, ops=ops) for block in config.blocks()
        )
        self.ln_final = _norm(config, ops, is_there=config.final_norm)
        self.lm_head = None if config.tie_embeddings else Linear(config.d_model, config.vocab_size)

    @property
    def output_weight(self) -> Float[Tensor, "vocab d_model"]:
        """The output head's matrix: its own, or the embedding's when the two are tied."""
        return self.token_embeddings.weight if self.lm_head is None else self.lm_head.weight

    def hidden(
        self,
        token_ids: Int[Tensor, "batch seq"],
        *,
        positions: Int[Tensor, "batch seq"] | None = None,
        cache: Sequence[LayerCache] | None = None,
        documents: Int[Tensor, "batch seq"] | None = None,
        objectives: list[Tensor] | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        """Return the final normalized residual stream, before the head; see ``forward``."""
        if token_ids.shape[1] > self.config.context_length:
            raise ValueError(
                f"{token_ids.shape[1]} tokens in a row, but context_length is "
                f"{self.config.context_length}"
            )
        x = self.token_embeddings(token_ids)
        if self.position_embeddings is not None:
            x = self.position_embeddings(x, positions)
        around = Surroundings(positions=positions, documents=documents, objectives=objectives)
        for i, layer in enumerate(self.layers):
            x = layer(x, around, None if cache is None else cache[i])
        return self.ln_final(x)

    def forward(
        self,
        token_ids: Int[Tensor, "batch seq"],
        *,
        positions: Int[Tensor, "batch seq"] | None = None,
        cache: Sequence[LayerCache] | None = None,
        documents: Int[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, "batch seq vocab"]:
        """Return logits.

        Args:
            token_ids: Tokens, at most ``context_length`` a row.
            positions: Absolute position of each token; None means 0, 1, 2, … in every row.
            cache: One cache a layer, for tokens seen in earlier calls.
            documents: Number of each token's document, which attention does not look beyond.
        """
        hidden = self.hidden(token_ids, positions=positions, cache=cache, documents=documents)
        return hidden @ self.output_weight.T

    def loss(
        self,
        token_ids: Int[Tensor, "batch seq"],
        targets: Int[Tensor, "batch seq"],
        documents: Int[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the mean next-token cross-entropy in nats; ignored targets do not count."""
        hidden = self.hidden(token_ids, documents=documents).flatten(0, 1)
        return self.ops.linear_cross_entropy(hidden, self.output_weight, targets.flatten())

    def objective(
        self,
        token_ids: Int[Tensor, "batch seq"],
        targets: Int[Tensor, "batch seq"],
        documents: Int[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return what training minimizes: the loss, and what layers such as experts add to it."""
        objectives: list[Tensor] = []
        hidden = self.hidden(token_ids, documents=documents, objectives=objectives).flatten(0, 1)
        loss = self.ops.linear_cross_entropy(hidden, self.output_weight, targets.flatten())
        return sum(objectives, start=loss)


def _norm(config: TransformerConfig, ops: Ops, *, is_there: bool) -> nn.Module:
    return RMSNorm(config.d_model, config.norm_eps, ops=ops) if is_there else nn.Identity()


def _feedforward(d_model: int, config: FeedForward, ops: Ops) -> nn.Module:
    if isinstance(config, MixtureOfExpertsConfig):
        return MixtureOfExperts(d_model, config, ops=ops)
    if isinstance(config, SwiGLUConfig):
        return SwiGLU(d_model, config.d_ff, ops=ops)
    return MLP(d_model, config.d_ff, config.activation)

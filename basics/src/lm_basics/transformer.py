"""The decoder-only transformer: pre-norm blocks between an embedding and an output head."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_basics.model_config import BlockConfig, TransformerConfig
from lm_basics.nn.attention import LayerCache, MultiHeadSelfAttention
from lm_basics.nn.feedforward import SwiGLU
from lm_basics.nn.linear import Embedding, Linear
from lm_basics.nn.norm import RMSNorm
from lm_basics.nn.ops import REFERENCE_OPS, Ops


class TransformerBlock(nn.Module):
    """``y = x + attention(norm(x))``, then ``y + feedforward(norm(y))``."""

    def __init__(self, config: TransformerConfig, block: BlockConfig, *, ops: Ops) -> None:
        super().__init__()
        self.ln1 = RMSNorm(config.d_model, config.norm_eps, ops=ops)
        self.attn = MultiHeadSelfAttention(
            config.d_model,
            block.attention,
            context_length=config.context_length,
            norm_eps=config.norm_eps,
            ops=ops,
        )
        self.ln2 = RMSNorm(config.d_model, config.norm_eps, ops=ops)
        self.ffn = SwiGLU(config.d_model, block.feedforward.d_ff, ops=ops)
        if config.zero_init_residual:
            nn.init.zeros_(self.attn.output_proj.weight)
            nn.init.zeros_(self.ffn.w2.weight)

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        positions: Int[Tensor, "batch seq"] | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        """Apply both residual branches."""
        x = x + self.attn(self.ln1(x), positions, cache)
        return x + self.ffn(self.ln2(x))


class TransformerLM(nn.Module):
    """A language model: token ids in, the next token's logits out."""

    def __init__(self, config: TransformerConfig, *, ops: Ops = REFERENCE_OPS) -> None:
        super().__init__()
        self.config = config
        self.ops = ops
        # A tied table is also the head: unit-variance rows would give logits of size sqrt(d_model).
        std = config.d_model**-0.5 if config.tie_embeddings else 1.0
        self.token_embeddings = Embedding(config.vocab_size, config.d_model, std=std)
        self.layers = nn.ModuleList(
            TransformerBlock(config, config.block(i), ops=ops) for i in range(config.num_layers)
        )
        self.ln_final = RMSNorm(config.d_model, config.norm_eps, ops=ops)
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
    ) -> Float[Tensor, "batch seq d_model"]:
        """Return the final normalized residual stream, before the head."""
        if token_ids.shape[1] > self.config.context_length:
            raise ValueError(
                f"{token_ids.shape[1]} tokens in a row, but context_length is "
                f"{self.config.context_length}"
            )
        x = self.token_embeddings(token_ids)
        for i, layer in enumerate(self.layers):
            x = layer(x, positions, None if cache is None else cache[i])
        return self.ln_final(x)

    def forward(
        self,
        token_ids: Int[Tensor, "batch seq"],
        *,
        positions: Int[Tensor, "batch seq"] | None = None,
        cache: Sequence[LayerCache] | None = None,
    ) -> Float[Tensor, "batch seq vocab"]:
        """Return logits.

        Args:
            token_ids: Tokens, at most ``context_length`` a row.
            positions: Absolute position of each token; None means 0, 1, 2, … in every row.
            cache: One cache a layer, for tokens seen in earlier calls.
        """
        return self.hidden(token_ids, positions=positions, cache=cache) @ self.output_weight.T

    def loss(
        self, token_ids: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"]
    ) -> Float[Tensor, ""]:
        """Return the mean next-token cross-entropy in nats; ignored targets do not count."""
        hidden = self.hidden(token_ids).flatten(0, 1)
        return self.ops.linear_cross_entropy(hidden, self.output_weight, targets.flatten())

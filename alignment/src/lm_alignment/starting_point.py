"""The identity of what a run starts from: without it two runs could share a folder unnoticed."""

import hashlib
import logging
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import nn

from lm_alignment.examples import Conversation, Example, hash_examples
from lm_alignment.templates import ChatTemplate
from lm_basics.model_config import TransformerConfig
from lm_basics.tokenizer import Tokenizer
from lm_basics.transformer import TransformerLM

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class StartingPoint:
    """Model, data and prompt format at the beginning of a run."""

    model: TransformerConfig
    """Shape of the model."""
    weights_hash: str
    """Identity of its weights."""
    template: ChatTemplate
    """What prompts look like."""
    examples_hash: str
    """Identity of the examples."""
    num_too_long: int
    """How many of them are left out because they are longer than the context."""

    @classmethod
    def from_parts(
        cls,
        model: TransformerLM,
        template: ChatTemplate,
        examples: Sequence[Example | Conversation],
        *,
        num_too_long: int = 0,
    ) -> "StartingPoint":
        """Describe a run that is about to start.

        Raises:
            ValueError: there are no examples.
        """
        if not examples:
            raise ValueError("expected at least one example to learn from, got none")
        return cls(
            model=model.config,
            weights_hash=hash_weights(model),
            template=template,
            examples_hash=hash_examples(examples),
            num_too_long=num_too_long,
        )


def add_chat_tokens(
    model: TransformerLM, tokenizer: Tokenizer, template: ChatTemplate
) -> tuple[TransformerLM, Tokenizer]:
    """Return model and tokenizer with the template's special tokens; those it has are kept.

    The rows of new tokens begin as the mean of those of all known ones, so that the model neither
    expects nor rules them out (Hewitt, "Initializing New Word Embeddings", 2021); they take the
    place of padding, where there is any. All else of the model stays as it is.
    """
    known = tokenizer.special_token_ids
    missing = [token for token in template.special_tokens if token not in known]
    if not missing:
        return model, tokenizer
    grown = Tokenizer(
        tokenizer.vocab, tokenizer.merges, [*known, *missing], pattern=tokenizer.pattern
    )
    logger.info("The tokenizer lacks %s: added, and learned from here on.", ", ".join(missing))
    num_known, num_rows = tokenizer.vocab_size, grown.vocab_size
    wider = deepcopy(model)
    for table in (wider.token_embeddings, wider.lm_head):
        if table is not None:
            rows = table.weight.detach()
            learned, padding = rows[:num_known], rows[num_rows:]
            new = learned.mean(0, keepdim=True).expand(num_rows - num_known, -1)
            table.weight = nn.Parameter(torch.cat([learned, new, padding]))
    wider.config = replace(model.config, vocab_size=len(wider.output_weight))
    return wider, grown


def hash_weights(model: nn.Module) -> str:
    """Return 16 hex digits of the SHA-256 of all parameters and buffers in float32."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]

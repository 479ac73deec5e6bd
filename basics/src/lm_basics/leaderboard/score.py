"""The score of a model under the rules of a division."""

import math

from lm_basics.leaderboard.division_data import DivisionData
from lm_basics.leaderboard.divisions import Division
from lm_basics.training import evaluate_loss
from lm_basics.transformer import TransformerLM


def score_model(
    model: TransformerLM,
    data: DivisionData,
    division: Division,
    *,
    context_length: int | None = None,
    num_tokens: int | None = None,
) -> float:
    """Return the division's score, every held-out token predicted once, in float32.

    Args:
        model: On its device.
        data: Its validation tokens are used.
        division: Says what a score is.
        context_length: Longest window; None means the division's, which alone counts.
        num_tokens: Only so many of the first tokens; None means all, which alone counts.
    """
    tokens = data.validation.tokens[:num_tokens]
    longest = context_length or division.context_length
    loss = evaluate_loss(
        model,
        tokens,
        first_context=data.end_of_text,
        context_length=min(longest, model.config.context_length),
    )
    if division.score == "nats per token":
        return loss.nats_per_token
    num_bytes = int(data.tokenizer.token_num_bytes[tokens].sum())
    return loss.total_nats / math.log(2) / num_bytes

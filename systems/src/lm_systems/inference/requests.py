"""A prompt on its way through a generator: checked, keyed for sampling, then completed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from lm_basics.decoding import draw_tokens, stream_key
from lm_basics.sampling_config import SamplingConfig
from lm_basics.text_generation import until_stop_string
from lm_systems.inference.protocol import Completion, FinishReason, TextCodec


@dataclass(kw_only=True, slots=True)
class Request:
    """One prompt and what has been drawn for it so far."""

    prompt_ids: tuple[int, ...]
    """The prompt as tokens."""
    key: int
    """Names this request's stream of random numbers."""
    max_length: int
    """Most tokens of prompt and completion together."""
    token_ids: list[int] = field(default_factory=list)
    """Drawn tokens."""
    log_probs: list[float] = field(default_factory=list)
    """Their log-probabilities."""
    finish_reason: FinishReason | None = None
    """Why the completion ended; None while it goes on."""

    def append(
        self, token_id: int, log_prob: float, sampling: SamplingConfig, tokenizer: TextCodec
    ) -> None:
        """Add a drawn token and decide whether it was the last."""
        self.token_ids.append(token_id)
        self.log_probs.append(log_prob)
        if token_id in sampling.stop_token_ids or self._holds_stop_string(sampling, tokenizer):
            self.finish_reason = "stop"
        elif len(self.prompt_ids) + len(self.token_ids) >= self.max_length:
            self.finish_reason = "length"

    def complete(self, sampling: SamplingConfig, tokenizer: TextCodec) -> Completion:
        """Return the finished completion."""
        if self.finish_reason is None:
            raise ValueError(f"the request is unfinished after {len(self.token_ids)} tokens")
        ends_in_stop_token = self.token_ids[-1] in sampling.stop_token_ids
        text = tokenizer.decode(self.token_ids[:-1] if ends_in_stop_token else self.token_ids)
        return Completion(
            prompt_ids=list(self.prompt_ids),
            token_ids=self.token_ids,
            log_probs=self.log_probs,
            text="".join(until_stop_string([text], sampling.stop_strings)),
            finish_reason=self.finish_reason,
        )

    def _holds_stop_string(self, sampling: SamplingConfig, tokenizer: TextCodec) -> bool:
        if not sampling.stop_strings:
            return False
        text = tokenizer.decode(self.token_ids)
        return any(stop in text for stop in sampling.stop_strings)


def make_requests(
    prompts: Sequence[str | Sequence[int]],
    sampling: SamplingConfig,
    tokenizer: TextCodec,
    *,
    context_length: int,
    vocab_size: int,
) -> list[Request]:
    """Tokenize and check prompts.

    The last token drawn is never fed back, so a completion may end one place after the context:
    a prompt that fills the context still gets one token.

    Raises:
        ValueError: A prompt is empty, longer than the context or holds an unknown token.
    """
    occurrences: Counter[tuple[int, ...]] = Counter()
    requests: list[Request] = []
    for i, prompt in enumerate(prompts):
        ids = tuple(tokenizer.encode(prompt)) if isinstance(prompt, str) else tuple(prompt)
        if not ids:
            raise ValueError(f"prompt {i} is empty; it needs at least one token")
        if len(ids) > context_length:
            raise ValueError(
                f"prompt {i} has {len(ids)} tokens, but the context holds {context_length}"
            )
        if not 0 <= min(ids) <= max(ids) < vocab_size:
            raise ValueError(
                f"prompt {i} holds a token outside of the vocabulary of {vocab_size}: "
                f"smallest {min(ids)}, largest {max(ids)}"
            )
        requests.append(
            Request(
                prompt_ids=ids,
                # Repeats of a prompt differ; where a prompt stands among others changes nothing.
                key=stream_key(sampling.seed, occurrences[ids], ids),
                max_length=min(len(ids) + sampling.max_new_tokens, context_length + 1),
            )
        )
        occurrences[ids] += 1
    return requests


def extend_requests(
    requests: Sequence[Request],
    logits: Float[Tensor, "requests vocab"],
    sampling: SamplingConfig,
    tokenizer: TextCodec,
) -> None:
    """Draw the next token of every request from its row of logits."""
    keys, steps = [one.key for one in requests], [len(one.token_ids) for one in requests]
    tokens, log_probs = draw_tokens(logits, keys, steps, sampling)
    for request, token_id, log_prob in zip(
        requests, tokens.tolist(), log_probs.tolist(), strict=True
    ):
        request.append(token_id, log_prob, sampling, tokenizer)

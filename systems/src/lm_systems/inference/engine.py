"""The inference engine: many prompts at once through a key-value cache.

Finished rows leave the batch and waiting prompts take their places (continuous batching, Yu et
al., 2022, in its simple form), so short completions do not wait for long ones.
"""

from collections import deque
from collections.abc import Sequence

import torch

from lm_basics.transformer import TransformerLM
from lm_systems.inference.batch import RunningBatch
from lm_systems.inference.protocol import Completion, SamplingConfig, TextCodec
from lm_systems.inference.requests import make_requests

# Refilling costs a forward pass of its own, so a quarter of the rows must be free before it.
_REFILL_SHARE = 4


class Engine:
    """A ``Generator`` over one of our models.

    It holds the model itself: a training step's new weights are used from the next call on.
    """

    def __init__(
        self, model: TransformerLM, tokenizer: TextCodec, *, max_batch_size: int = 64
    ) -> None:
        if max_batch_size < 1:
            raise ValueError(f"max_batch_size must be at least 1, got {max_batch_size}")
        self.model = model
        self.tokenizer = tokenizer
        self.max_batch_size = max_batch_size

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[str | Sequence[int]], sampling: SamplingConfig
    ) -> list[Completion]:
        """Return one completion per prompt, in their order.

        A completion depends on its prompt, the sampling and the weights, not on the other
        prompts nor on the batch size, up to rounding in the matrix products. A prompt that
        appears n times gets n different draws.

        Raises:
            ValueError: A prompt is empty, longer than the context or holds an unknown token.
        """
        requests = make_requests(
            prompts,
            sampling,
            self.tokenizer,
            context_length=self.model.config.context_length,
            vocab_size=self.model.config.vocab_size,
        )
        if not requests:
            return []
        batch = RunningBatch(
            self.model,
            sampling,
            num_rows=min(self.max_batch_size, len(requests)),
            num_slots=max(request.max_length for request in requests) - 1,
        )
        # Like lengths run together: less padding, tighter views of the cache, and repeats of a
        # prompt meet in one prefill.
        by_length = sorted(requests, key=lambda one: (len(one.prompt_ids), one.prompt_ids))
        waiting = deque(by_length)
        while waiting or batch.requests:
            free = self.max_batch_size - len(batch.requests)
            if waiting and (free * _REFILL_SHARE >= self.max_batch_size or not batch.requests):
                batch.admit([waiting.popleft() for _ in range(min(free, len(waiting)))])
            if batch.requests:
                batch.advance()
        return [request.complete(self.tokenizer) for request in requests]

"""Other people's models behind our generation protocol.

Checks, draws and log-probabilities are the engine's own: a ``transformers`` model with the same
weights gives the completions that ``Engine`` gives.
"""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from lm_basics.sampling_config import SamplingConfig
from lm_systems.inference.protocol import Completion, TextCodec
from lm_systems.inference.requests import Request, extend_requests, make_requests


class TransformersGenerator:
    """A ``Generator`` over a causal language model of ``transformers``."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: TextCodec, *, max_batch_size: int = 64
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

        Raises:
            ValueError: A prompt is empty, longer than the context or holds an unknown token.
        """
        requests = make_requests(
            prompts,
            sampling,
            self.tokenizer,
            context_length=self.model.config.max_position_embeddings,
            vocab_size=self.model.config.vocab_size,
        )
        # Prompts of one length need no padding, so no model's treatment of padding matters.
        by_length: dict[int, list[Request]] = {}
        for request in requests:
            by_length.setdefault(len(request.prompt_ids), []).append(request)
        for group in by_length.values():
            for start in range(0, len(group), self.max_batch_size):
                self._run(group[start : start + self.max_batch_size], sampling)
        return [request.complete(sampling, self.tokenizer) for request in requests]

    def _run(self, requests: list[Request], sampling: SamplingConfig) -> None:
        device = self.model.device
        token_ids = torch.tensor([request.prompt_ids for request in requests], device=device)
        cache = None
        while running := [i for i, one in enumerate(requests) if one.finish_reason is None]:
            output = self.model(token_ids, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            # Finished rows stay in the batch, where nothing reads them, until the last is done.
            extend_requests(
                [requests[i] for i in running],
                output.logits[running, -1],
                sampling,
                self.tokenizer,
            )
            token_ids = torch.tensor([[one.token_ids[-1]] for one in requests], device=device)

"""The running rows of a generation: admitted by a prefill, advanced together, then retired."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lm_basics.transformer import TransformerLM
from lm_systems.inference.cache import KeyValueCache
from lm_systems.inference.protocol import SamplingConfig
from lm_systems.inference.requests import Request, extend_requests

PREFILL_TOKENS = 8192
"""Most tokens, padding included, that one forward pass of a prefill takes."""


class RunningBatch:
    """Requests that are being decoded; row ``i`` of the cache belongs to ``requests[i]``."""

    def __init__(
        self, model: TransformerLM, sampling: SamplingConfig, *, num_rows: int, num_slots: int
    ) -> None:
        self.model = model
        self.sampling = sampling
        self.requests: list[Request] = []
        self._device = model.output_weight.device
        self._cache = self._make_cache(num_rows, num_slots)

    def admit(self, requests: Sequence[Request]) -> None:
        """Run the prompts, draw each request's first token, and keep those that go on.

        A prompt that several requests share runs once.
        """
        prompts = sorted({request.prompt_ids for request in requests}, key=len)
        waiting: dict[tuple[int, ...], list[Request]] = {prompt: [] for prompt in prompts}
        for request in requests:
            waiting[request.prompt_ids].append(request)
        while prompts:
            # Sorted by length: the last prompt of a chunk is what the others are padded to.
            count = 1
            while count < len(prompts) and (count + 1) * len(prompts[count]) <= PREFILL_TOKENS:
                count += 1
            chunk, prompts = prompts[:count], prompts[count:]
            self._prefill(chunk, [waiting[prompt] for prompt in chunk])

    def advance(self) -> None:
        """Draw one token for every row and retire the rows that are done."""
        tokens = [request.token_ids[-1] for request in self.requests]
        places = [len(one.prompt_ids) + len(one.token_ids) - 1 for one in self.requests]
        hidden = self.model.hidden(
            torch.tensor(tokens, device=self._device)[:, None],
            positions=torch.tensor(places, device=self._device)[:, None],
            cache=self._cache.view(len(places), max(places) + 1),
        )
        extend_requests(self.requests, self._head(hidden[:, 0]), self.sampling)
        self._retire()

    def _prefill(self, prompts: list[tuple[int, ...]], waiting: list[list[Request]]) -> None:
        seq = len(prompts[-1])
        # Padding stands on the right, where its keys are hidden until a later token overwrites
        # them; so every row starts at position 0.
        token_ids = torch.tensor(
            [[*prompt, *[0] * (seq - len(prompt))] for prompt in prompts], device=self._device
        )
        cache = self._make_cache(len(prompts), seq)
        hidden = self.model.hidden(
            token_ids,
            positions=torch.arange(seq, device=self._device).expand(len(prompts), -1),
            cache=cache.view(len(prompts), seq),
        )
        source_rows = [row for row, group in enumerate(waiting) for _ in group]
        last = [len(prompts[row]) - 1 for row in source_rows]
        requests = [request for group in waiting for request in group]
        extend_requests(requests, self._head(hidden[source_rows, last]), self.sampling)
        going_on = [i for i, request in enumerate(requests) if request.finish_reason is None]
        first_row = len(self.requests)
        self._cache.copy_rows(
            cache,
            [source_rows[i] for i in going_on],
            list(range(first_row, first_row + len(going_on))),
        )
        self.requests.extend(requests[i] for i in going_on)

    def _retire(self) -> None:
        """Close the gaps of finished rows with rows from the end."""
        going_on = [i for i, one in enumerate(self.requests) if one.finish_reason is None]
        holes = [i for i in range(len(going_on)) if self.requests[i].finish_reason is not None]
        movers = [i for i in going_on if i >= len(going_on)]
        if holes:
            self._cache.copy_rows(self._cache, movers, holes)
        for hole, mover in zip(holes, movers, strict=True):
            self.requests[hole] = self.requests[mover]
        del self.requests[len(going_on) :]

    def _head(self, hidden: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows vocab"]:
        """Return logits for the few places that are drawn from, not for whole prompts."""
        return hidden @ self.model.output_weight.T

    def _make_cache(self, num_rows: int, num_slots: int) -> KeyValueCache:
        return KeyValueCache(
            self.model.config,
            num_rows=num_rows,
            num_slots=num_slots,
            dtype=self.model.output_weight.dtype,
            device=self._device,
        )

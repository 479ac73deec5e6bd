"""The inference engine: many prompts at once through a key-value cache.

Finished rows leave the batch and waiting prompts take their places (continuous batching, Yu et
al., 2022, in its simple form), so short completions do not wait for long ones.

The cache has a fixed size, and the slot index of a key is its absolute position. Rows may have
different lengths: slots that a row has not reached hold zeros or what an earlier request left
there, and the causal mask ``slot <= query position`` hides them.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_basics.model_config import TransformerConfig
from lm_basics.sampling_config import SamplingConfig
from lm_basics.transformer import TransformerLM
from lm_systems.inference.protocol import Completion, TextCodec
from lm_systems.inference.requests import Request, extend_requests, make_requests

PREFILL_TOKENS = 8192
"""Most tokens, padding included, that one forward pass of a prefill takes."""

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
            self.tokenizer,
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
        return [request.complete(sampling, self.tokenizer) for request in requests]


class RunningBatch:
    """Requests that are being decoded; row ``i`` of the cache belongs to ``requests[i]``."""

    def __init__(
        self,
        model: TransformerLM,
        tokenizer: TextCodec,
        sampling: SamplingConfig,
        *,
        num_rows: int,
        num_slots: int,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
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
        self._extend(self.requests, hidden[:, 0])
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
        self._extend(requests, hidden[source_rows, last])
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

    def _extend(self, requests: list[Request], hidden: Float[Tensor, "rows d_model"]) -> None:
        # Logits for the few places that are drawn from, not for whole prompts.
        logits = hidden @ self.model.output_weight.T
        extend_requests(requests, logits, self.sampling, self.tokenizer)

    def _make_cache(self, num_rows: int, num_slots: int) -> "KeyValueCache":
        return KeyValueCache(
            self.model.config,
            num_rows=num_rows,
            num_slots=num_slots,
            dtype=self.model.output_weight.dtype,
            device=self._device,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerSlots:
    """One layer's part of a cache, as ``lm_basics.nn.attention.LayerCache`` wants it."""

    keys: Float[Tensor, "rows kv_heads slots d_head"]
    """Rotated keys."""
    values: Float[Tensor, "rows kv_heads slots d_head"]
    """Values."""
    row_index: Int[Tensor, "rows 1"]
    """0, 1, 2, …: which row each new key goes to."""

    def update(
        self,
        k: Float[Tensor, "rows kv_heads seq d_head"],
        v: Float[Tensor, "rows kv_heads seq d_head"],
        positions: Int[Tensor, "rows seq"],
    ) -> tuple[
        Float[Tensor, "rows kv_heads slots d_head"], Float[Tensor, "rows kv_heads slots d_head"]
    ]:
        """Store ``k`` and ``v`` at ``positions`` and return all slots of the view."""
        self.keys[self.row_index, :, positions] = k.transpose(1, 2).to(self.keys.dtype)
        self.values[self.row_index, :, positions] = v.transpose(1, 2).to(self.values.dtype)
        return self.keys, self.values


class KeyValueCache:
    """Keys and values of every layer for a fixed number of rows and slots."""

    def __init__(
        self,
        config: TransformerConfig,
        *,
        num_rows: int,
        num_slots: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.num_rows = num_rows
        self.num_slots = num_slots
        self._row_index = torch.arange(num_rows, device=device)[:, None]
        self._layers: list[tuple[Tensor, Tensor]] = []
        for i in range(config.num_layers):
            attention = config.block(i).attention
            shape = (
                num_rows,
                attention.count_kv_heads(),
                num_slots,
                attention.head_width(config.d_model),
            )
            # Zeros, not empty: a hidden slot has weight 0, and 0 * NaN would still be NaN.
            keys = torch.zeros(shape, dtype=dtype, device=device)
            self._layers.append((keys, torch.zeros_like(keys)))

    def view(self, num_rows: int, num_slots: int) -> list[LayerSlots]:
        """Return every layer's first rows and slots, sharing memory with the cache.

        Attention reads whole views, so a tight one saves time.

        Raises:
            ValueError: The cache is smaller.
        """
        if num_rows > self.num_rows or num_slots > self.num_slots:
            raise ValueError(
                f"{num_rows} rows of {num_slots} slots do not fit a cache of {self.num_rows} rows "
                f"of {self.num_slots}"
            )
        return [
            LayerSlots(
                keys=keys[:num_rows, :, :num_slots],
                values=values[:num_rows, :, :num_slots],
                row_index=self._row_index[:num_rows],
            )
            for keys, values in self._layers
        ]

    def copy_rows(self, source: "KeyValueCache", source_rows: list[int], rows: list[int]) -> None:
        """Copy all slots of ``source_rows`` into ``rows``; a source row may appear many times."""
        if len(source_rows) != len(rows):
            raise ValueError(f"{len(source_rows)} source rows for {len(rows)} rows")
        for ours, theirs in zip(self._layers, source._layers, strict=True):
            for target, origin in zip(ours, theirs, strict=True):
                target[rows, :, : source.num_slots] = origin[source_rows]

"""A key-value cache of fixed size: the slot index of a key is its absolute position.

Rows may have different lengths. Slots that a row has not reached hold zeros or what an earlier
request left there; the causal mask ``slot <= query position`` hides them.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_basics.model_config import TransformerConfig


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

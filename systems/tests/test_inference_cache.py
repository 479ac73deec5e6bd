"""The cache stores at positions, shares memory with its views, and copies rows."""

import pytest
import torch
from torch.testing import assert_close

from lm_basics.model_config import uniform_transformer
from lm_systems.inference.engine import KeyValueCache

CONFIG = uniform_transformer(
    vocab_size=5, context_length=16, d_model=16, num_layers=2, num_heads=4, num_kv_heads=2
)


def _cache(num_rows: int = 3, num_slots: int = 6) -> KeyValueCache:
    return KeyValueCache(
        CONFIG,
        num_rows=num_rows,
        num_slots=num_slots,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )


def test_rows_store_at_their_own_positions() -> None:
    cache = _cache()
    k, v = torch.randn(2, 2, 1, 4), torch.randn(2, 2, 1, 4)
    keys, values = cache.view(2, 5)[1].update(k, v, torch.tensor([[4], [1]]))
    assert keys.shape == values.shape == (2, 2, 5, 4)
    assert_close(keys[0, :, 4], k[0, :, 0])
    assert_close(values[1, :, 1], v[1, :, 0])
    assert keys.count_nonzero() == 16
    assert cache.view(3, 6)[0].keys.count_nonzero() == 0


def test_whole_prompts_store_in_order() -> None:
    k, v = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    keys, values = _cache().view(3, 4)[0].update(k, v, torch.arange(4).expand(3, -1))
    assert_close((keys, values), (k, v))


def test_a_source_row_can_be_copied_to_many_rows() -> None:
    source, target = _cache(2, 4), _cache(3, 6)
    k = torch.randn(2, 2, 4, 4)
    for layer in source.view(2, 4):
        layer.update(k, 2 * k, torch.arange(4).expand(2, -1))
    target.copy_rows(source, [1, 1, 0], [0, 2, 1])
    for layer in target.view(3, 6):
        assert_close(layer.keys[:, :, :4], k[[1, 0, 1]])
        assert_close(layer.values[:, :, :4], 2 * k[[1, 0, 1]])


def test_a_view_larger_than_the_cache_is_refused() -> None:
    with pytest.raises(ValueError, match="4 rows of 6 slots do not fit a cache of 3 rows of 6"):
        _cache().view(4, 6)
    with pytest.raises(ValueError, match="3 rows of 7 slots"):
        _cache().view(3, 7)


def test_copying_to_another_number_of_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="2 source rows for 1 rows"):
        _cache().copy_rows(_cache(), [0, 1], [2])

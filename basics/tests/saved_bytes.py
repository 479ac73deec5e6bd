"""Measures what the forward pass keeps for the backward pass."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks


def saved_bytes(model: nn.Module, forward: Callable[[], Tensor]) -> int:
    """Run ``forward`` and return the bytes of all storages that autograd keeps.

    A storage counts once and whole; those of parameters and of buffers do not count.
    """
    own = {
        tensor.untyped_storage()._cdata
        for tensor in itertools.chain(model.parameters(), model.buffers())
    }
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            # Held, so that no other storage takes its address.
            storages[storage._cdata] = storage
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = forward()
    total = sum(storage.nbytes() for storage in storages.values())
    del loss
    return total

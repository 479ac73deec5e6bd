"""Data parallelism: every process has the whole model and a part of the batch.

The gradient of a mean over the batch is the mean of the processes' gradients. It is communicated
while the backward pass still computes earlier layers': in buckets, filled in the reverse order of
the parameters, each sent off when its last gradient is there (Li et al., 2020).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lm_systems.parallel.collectives import Collectives, Pending, broadcast_all


class DDP(nn.Module):
    """A replica of a module whose gradients become those of all processes.

    Call ``finish_gradient_synchronization`` between the backward pass and the optimizer's step.
    """

    def __init__(
        self,
        module: nn.Module,
        bucket_size_mb: float | None = 0.0,
        *,
        collectives: Collectives | None = None,
    ) -> None:
        """Give all processes the parameters and buffers of process 0.

        Args:
            module: The same in all processes but for its values.
            bucket_size_mb: Most megabytes (10^6 bytes) of gradients in one message; 0 sends each
                parameter alone, None all together. A larger parameter has a bucket of its own.
            collectives: Of which processes; None means all.

        Raises:
            ValueError: The size is negative.
        """
        super().__init__()
        if bucket_size_mb is not None and bucket_size_mb < 0:
            raise ValueError(f"bucket_size_mb must be 0, positive or None, got {bucket_size_mb}")
        self.module = module
        self.collectives = collectives or Collectives()
        broadcast_all(self.collectives, [*module.parameters(), *module.buffers()])
        self._is_accumulating = False
        # Tied parameters come once, and so does their hook.
        self._gradients = GradientBuckets(module.parameters(), self.collectives, bucket_size_mb)
        for parameter in self._gradients.parameters:
            parameter.register_post_accumulate_grad_hook(self._note_gradient)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the module returns."""
        return self.module(*args, **kwargs)

    def finish_gradient_synchronization(self) -> None:
        """Wait until every gradient is the mean over the processes.

        A parameter without a gradient in any process keeps none.
        """
        self._gradients.finish()

    @contextmanager
    def accumulating(self) -> Iterator[None]:
        """Keep gradients here while the block runs: those of later passes are added to them."""
        self._is_accumulating = True
        try:
            yield
        finally:
            self._is_accumulating = False

    def _note_gradient(self, parameter: Tensor) -> None:
        if not self._is_accumulating:
            self._gradients.note(parameter)


class GradientBuckets:
    """Averages gradients over the processes in messages of several parameters.

    All processes send the buckets in one order, whichever gradients come first: messages are told
    apart by their order alone.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        collectives: Collectives,
        bucket_size_mb: float | None,
    ) -> None:
        """Fill buckets, the last parameters first, with those that are trained."""
        self.parameters = [one for one in parameters if one.requires_grad]
        self._collectives = collectives
        self._buckets = _fill_buckets(self.parameters[::-1], bucket_size_mb)
        self._bucket_of = {
            parameter: number for number, bucket in enumerate(self._buckets) for parameter in bucket
        }
        self._begin()

    def note(self, parameter: Tensor) -> None:
        """Send what has come together now that the gradient of ``parameter`` is there."""
        self._num_missing[self._bucket_of[parameter]] -= 1
        while len(self._pending) < len(self._buckets) and not self._num_missing[len(self._pending)]:
            self._send()

    @torch.no_grad()
    def finish(self) -> None:
        """Send what is left, wait for all, and put the means into the gradients."""
        if not self._buckets:
            return
        device = self.parameters[0].device
        is_used = torch.tensor([p.grad is not None for p in self.parameters], dtype=torch.uint8)
        while len(self._pending) < len(self._buckets):
            self._send()
        # One process may have used what another has not: then its gradient there was zero.
        is_used = self._collectives.largest(is_used.to(device)).tolist()
        for bucket, pending in zip(self._buckets, self._pending, strict=True):
            _spread(pending.wait(), bucket)
        for parameter, is_one_used in zip(self.parameters, is_used, strict=True):
            if not is_one_used:
                parameter.grad = None
        self._begin()

    def _begin(self) -> None:
        self._pending: list[Pending] = []
        self._num_missing = [len(bucket) for bucket in self._buckets]

    @torch.no_grad()
    def _send(self) -> None:
        bucket = self._buckets[len(self._pending)]
        for parameter in bucket:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients: list[Tensor] = [p.grad for p in bucket if p.grad is not None]
        is_alone = len(bucket) == 1 and gradients[0].is_contiguous()
        # A gradient that is alone in its bucket is reduced where it lies.
        message = gradients[0] if is_alone else torch.cat([one.flatten() for one in gradients])
        self._collectives.note("reduce", f"bucket {len(self._pending)}")
        self._pending.append(self._collectives.average(message))


def _fill_buckets(parameters: Sequence[Tensor], size_mb: float | None) -> list[list[Tensor]]:
    """Return the parameters in their order, cut where a bucket is full or the type changes."""
    buckets: list[list[Tensor]] = []
    for parameter in parameters:
        if buckets and _fits(buckets[-1], parameter, size_mb):
            buckets[-1].append(parameter)
        else:
            buckets.append([parameter])
    return buckets


def _fits(bucket: Sequence[Tensor], parameter: Tensor, size_mb: float | None) -> bool:
    if (bucket[0].dtype, bucket[0].device) != (parameter.dtype, parameter.device):
        return False
    num_bytes = sum(one.nbytes for one in bucket) + parameter.nbytes
    return size_mb is None or num_bytes <= size_mb * 1e6


def _spread(message: Tensor, bucket: Sequence[Tensor]) -> None:
    """Copy a bucket's mean back into the gradients."""
    parts = message.flatten().split([one.numel() for one in bucket])
    for parameter, part in zip(bucket, parts, strict=True):
        gradient = parameter.grad
        if gradient is not None and gradient.data_ptr() != part.data_ptr():
            gradient.copy_(part.view_as(parameter))

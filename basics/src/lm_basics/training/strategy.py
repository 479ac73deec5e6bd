"""How one step is computed: the seam behind which parallelism lives.

The loop calls these methods and nothing else, so data, tensor or pipeline parallelism are other
implementations of ``Strategy`` and the loop stays the same file. After ``clip`` it calls either
``step`` or ``skip``.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_basics.optim.clipping import clip_gradients
from lm_basics.training.precision import LossScaler, autocast
from lm_basics.training.snapshot import Stateful
from lm_basics.transformer import TransformerLM


@runtime_checkable
class Strategy(Protocol):
    """One training step, in parts."""

    def forward_backward(
        self,
        token_ids: Int[Tensor, "batch seq"],
        targets: Int[Tensor, "batch seq"],
        documents: Int[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the mean loss of the batch in nats and leave its gradients in the parameters."""
        ...

    def reduce_gradients(self) -> None:
        """Combine the gradients of all workers."""
        ...

    def clip(self, max_norm: float) -> Float[Tensor, ""]:
        """Clip the combined gradients and return their norm before that."""
        ...

    def has_overflowed(self) -> bool:
        """Tell whether the clipped gradients left the range of float16, which skipping mends."""
        ...

    def step(self, lr_scale: float) -> None:
        """Update the parameters with ``lr_scale`` times the peak rates and drop the gradients."""
        ...

    def skip(self) -> None:
        """Drop the gradients without an update."""
        ...

    def parts(self) -> dict[str, Stateful]:
        """Return what a checkpoint holds: ``model``, ``optimizer``, and what else has a state."""
        ...


class SerialStrategy:
    """Everything in one process on one device."""

    def __init__(
        self,
        model: TransformerLM,
        optimizer: torch.optim.Optimizer,
        *,
        dtype: torch.dtype = torch.float32,
        micro_batch_size: int | None = None,
    ) -> None:
        """Prepare the step.

        Args:
            model: On its device already.
            optimizer: Its groups' ``lr`` are the peak rates.
            dtype: Type of the matrix products; parameters keep theirs. float16 scales the loss.
            micro_batch_size: Sequences per pass; gradients of several passes add up. None: all.
        """
        self.model = model
        self.optimizer = optimizer
        self.dtype = dtype
        self.micro_batch_size = micro_batch_size
        self.scaler = LossScaler() if dtype == torch.float16 else None
        self._loss = model.ops.compile_step(model.objective)
        self._peak_rates = [group["lr"] for group in optimizer.param_groups]
        self._is_finite = True

    def forward_backward(
        self,
        token_ids: Int[Tensor, "batch seq"],
        targets: Int[Tensor, "batch seq"],
        documents: Int[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, ""]:
        """Accumulate gradients over micro-batches; equal to one pass over the whole batch."""
        size = self.micro_batch_size or len(token_ids)
        total = torch.zeros((), device=token_ids.device)
        for first in range(0, len(token_ids), size):
            rows = slice(first, first + size)
            part_ids = token_ids[rows]
            part_documents = () if documents is None else (documents[rows],)
            with autocast(token_ids.device, self.dtype):
                loss = self._loss(part_ids, targets[rows], *part_documents)
                loss = loss * (len(part_ids) / len(token_ids))
            (loss if self.scaler is None else self.scaler.scale_loss(loss)).backward()
            total += loss.detach()
        return total

    def reduce_gradients(self) -> None:
        """Do nothing: one process has all gradients."""

    def clip(self, max_norm: float) -> Float[Tensor, ""]:
        """Clip by the global norm."""
        if self.scaler is not None:
            self.scaler.unscale_gradients(self.model.parameters())
        norm = clip_gradients(self.model.parameters(), max_norm)
        if self.scaler is not None:
            self._is_finite = bool(norm.isfinite())
        return norm

    def has_overflowed(self) -> bool:
        """Tell whether the loss was scaled too far; not that even the unscaled one overflows."""
        return self.scaler is not None and not self._is_finite and self.scaler.can_shrink()

    def step(self, lr_scale: float) -> None:
        """Set the rates, update, drop the gradients."""
        for group, peak_rate in zip(self.optimizer.param_groups, self._peak_rates, strict=True):
            group["lr"] = lr_scale * peak_rate
        self.optimizer.step()
        self.skip()

    def skip(self) -> None:
        """Drop the gradients."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.scaler is not None:
            self.scaler.update(has_overflowed=not self._is_finite)

    def parts(self) -> dict[str, Stateful]:
        """Return model, optimizer and, in float16, the scaler."""
        parts: dict[str, Stateful] = {"model": self.model, "optimizer": self.optimizer}
        return parts if self.scaler is None else parts | {"scaler": self.scaler}

"""How one step is computed: the seam behind which parallelism lives.

The loop calls these five methods and nothing else, so data, tensor or pipeline parallelism are
other implementations of ``Strategy`` and the loop stays the same file.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_basics.optim.clipping import clip_gradients
from lm_basics.transformer import TransformerLM


@runtime_checkable
class Strategy(Protocol):
    """One training step, in parts."""

    def forward_backward(
        self, token_ids: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"]
    ) -> Float[Tensor, ""]:
        """Return the mean loss of the batch in nats and leave its gradients in the parameters."""
        ...

    def reduce_gradients(self) -> None:
        """Combine the gradients of all workers."""
        ...

    def clip(self, max_norm: float) -> Float[Tensor, ""]:
        """Clip the combined gradients and return their norm before that."""
        ...

    def step(self, lr_scale: float) -> None:
        """Update the parameters with ``lr_scale`` times the peak rates and drop the gradients."""
        ...

    def state(self) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        """Return what a checkpoint holds."""
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
            dtype: Type of the matrix products; parameters keep theirs.
            micro_batch_size: Sequences per pass; gradients of several passes add up. None: all.
        """
        self.model = model
        self.optimizer = optimizer
        self.dtype = dtype
        self.micro_batch_size = micro_batch_size
        self._loss = model.ops.compile_step(model.objective)
        self._peak_rates = [group["lr"] for group in optimizer.param_groups]

    def forward_backward(
        self, token_ids: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"]
    ) -> Float[Tensor, ""]:
        """Accumulate gradients over micro-batches; equal to one pass over the whole batch."""
        size = self.micro_batch_size or len(token_ids)
        total = torch.zeros((), device=token_ids.device)
        parts = zip(token_ids.split(size), targets.split(size), strict=True)
        for part_ids, part_targets in parts:
            with torch.autocast(
                token_ids.device.type, self.dtype, enabled=self.dtype != torch.float32
            ):
                loss = self._loss(part_ids, part_targets) * (len(part_ids) / len(token_ids))
            loss.backward()
            total += loss.detach()
        return total

    def reduce_gradients(self) -> None:
        """Do nothing: one process has all gradients."""

    def clip(self, max_norm: float) -> Float[Tensor, ""]:
        """Clip by the global norm."""
        return clip_gradients(self.model.parameters(), max_norm)

    def step(self, lr_scale: float) -> None:
        """Set the rates, update, drop the gradients."""
        for group, peak_rate in zip(self.optimizer.param_groups, self._peak_rates, strict=True):
            group["lr"] = lr_scale * peak_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        """Return model and optimizer."""
        return self.model, self.optimizer

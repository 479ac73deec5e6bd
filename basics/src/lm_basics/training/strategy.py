"""How one step is computed: the seam behind which parallelism lives.

The loop calls these methods and nothing else, so data, tensor or pipeline parallelism are other
implementations of ``Strategy`` and the loop stays the same file. After ``clip`` it calls either
``step`` or ``skip``.

Matrix products may be computed in fewer bits. bfloat16 has the range of float32, so its gradients
need no care. In float16 those below 6e-8 vanish and those above 65,504 become infinite. Scaling the
loss moves all of them up by one factor, which is taken out again before the update (Micikevicius et
al., "Mixed Precision Training", 2018).
"""

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_basics.optim.build import build_optimizer
from lm_basics.optim.optimizer import clip_gradients, gradient_norm
from lm_basics.training.config import TrainingConfig
from lm_basics.training.snapshot import Stateful
from lm_basics.transformer import TransformerLM
from lm_shared.tensors import choose_dtype


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

    def backward(self, loss: Float[Tensor, ""]) -> None:
        """Add the gradients of a loss that was computed elsewhere to those in the parameters."""
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
        """Return what a checkpoint holds: ``model``, ``optimizer``, and what else has a state.

        Their states are those of one process; all workers have to ask for them.
        """
        ...

    def evaluating(self) -> AbstractContextManager[None]:
        """Return a context in which all workers alike may run the model outside of a step."""
        ...

    def finish(self) -> None:
        """Leave the whole model in this process: no step follows."""
        ...


StrategyFactory = Callable[[TransformerLM, TrainingConfig], Strategy]
"""Makes the strategy of a training run, of which the loop knows nothing else."""


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
            micro_batch_size: Sequences per pass, see ``forward_backward``; None: all.
        """
        self.model = model
        self.optimizer = optimizer
        self.dtype = dtype
        self.micro_batch_size = micro_batch_size
        self.scaler = LossScaler() if dtype == torch.float16 else None
        self._loss = model.ops.compile_step(model.objective)
        self._peak_rates = [group["lr"] for group in optimizer.param_groups]
        self._is_finite = True

    @classmethod
    def from_config(cls, model: TransformerLM, config: TrainingConfig) -> "SerialStrategy":
        """Return the strategy of a training run."""
        return cls(
            model,
            build_optimizer(model, config.optimizer),
            dtype=choose_dtype(config.dtype, model.output_weight.device),
            micro_batch_size=config.micro_batch_size,
        )

    def forward_backward(
        self,
        token_ids: Int[Tensor, "batch seq"],
        targets: Int[Tensor, "batch seq"],
        documents: Int[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, ""]:
        """Accumulate gradients over micro-batches.

        Up to rounding they are those of one pass over the whole batch, with one exception: experts
        balance their load within each pass, and the objective has the mean of these losses. Of the
        whole batch it would need the choices of all passes before the first gradient.
        """
        size = self.micro_batch_size or len(token_ids)
        total = torch.zeros((), device=token_ids.device)
        for first in range(0, len(token_ids), size):
            rows = slice(first, first + size)
            part_ids = token_ids[rows]
            part_documents = () if documents is None else (documents[rows],)
            with autocast(token_ids.device, self.dtype):
                loss = self._loss(part_ids, targets[rows], *part_documents)
                loss = loss * (len(part_ids) / len(token_ids))
            self.backward(loss)
            total += loss.detach()
        return total

    def backward(self, loss: Float[Tensor, ""]) -> None:
        """Add the gradients, in float16 those of the scaled loss."""
        (loss if self.scaler is None else self.scaler.scale_loss(loss)).backward()

    def reduce_gradients(self) -> None:
        """Do nothing: one process has all gradients."""

    def clip(self, max_norm: float) -> Float[Tensor, ""]:
        """Clip by the global norm."""
        if self.scaler is not None:
            self.scaler.unscale_gradients(self.model.parameters())
        norm = clip_gradients(self.model.parameters(), max_norm, norm=self.gradient_norm())
        if self.scaler is not None:
            self._is_finite = bool(norm.isfinite())
        return norm

    def gradient_norm(self) -> Float[Tensor, ""]:
        """Return the norm of all gradients taken as one vector."""
        return gradient_norm(self.model.parameters())

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

    def evaluating(self) -> AbstractContextManager[None]:
        """Do nothing: the model is whole at any time."""
        return nullcontext()

    def finish(self) -> None:
        """Do nothing."""


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Return a context in which matrix products are computed in ``dtype``."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


class LossScaler:
    """The factor of the loss: halved when gradients overflow, doubled after a calm while.

    Powers of two only, so that multiplying and dividing by them loses no bit. Torch's
    ``GradScaler`` has no bounds, below which an overflow is a divergence, and steps by itself.
    """

    def __init__(
        self,
        *,
        scale: float = 2.0**16,
        growth_interval: int = 2_000,
        max_scale: float = 2.0**24,
    ) -> None:
        """Choose the first factor.

        Args:
            scale: The first factor.
            growth_interval: Updates in a row without overflow after which the factor doubles.
            max_scale: The factor grows no further.

        Raises:
            ValueError: A factor is no power of two from 1 on, or the interval is not positive.
        """
        for name, factor in (("scale", scale), ("max_scale", max_scale)):
            if factor < 1 or not math.log2(factor).is_integer():
                raise ValueError(f"{name} must be a power of two from 1 on, got {factor}")
        if growth_interval <= 0:
            raise ValueError(f"growth_interval must be positive, got {growth_interval}")
        self.scale = scale
        self.growth_interval, self.max_scale = growth_interval, max_scale
        self._num_calm = 0

    def scale_loss(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Return the loss whose gradients fit into float16."""
        return loss * self.scale

    def unscale_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Take the factor out of the gradients, in place."""
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(1 / self.scale)

    def can_shrink(self) -> bool:
        """Tell whether an overflow may go away with a smaller factor."""
        return self.scale > 1

    def update(self, *, has_overflowed: bool) -> None:
        """Adapt the factor to what the last gradients were."""
        if has_overflowed:
            self.scale, self._num_calm = max(1.0, self.scale / 2), 0
            return
        self._num_calm += 1
        if self._num_calm == self.growth_interval:
            self.scale, self._num_calm = min(self.max_scale, self.scale * 2), 0

    def state_dict(self) -> dict[str, Any]:
        """Return what changes from step to step."""
        return {"scale": self.scale, "num_calm": self._num_calm}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        self.scale, self._num_calm = state_dict["scale"], state_dict["num_calm"]

"""A training step in many processes, behind the seam of ``lm_basics.training.strategy``.

All processes load the same batch; each takes its rows, of which every process gets as many. Losses
and gradients are means over all rows. Experts balance their load within the rows of a process.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_basics.optim.build import build_optimizer
from lm_basics.optim.config import AdamWConfig, SGDConfig
from lm_basics.optim.optimizer import gradient_norm
from lm_basics.training.config import TrainingConfig
from lm_basics.training.snapshot import Stateful
from lm_basics.training.strategy import SerialStrategy
from lm_basics.transformer import TransformerLM
from lm_shared.tensors import choose_dtype
from lm_systems.parallel.collectives import Collectives
from lm_systems.parallel.data_parallel import DDP
from lm_systems.parallel.fsdp import FSDP
from lm_systems.parallel.sharded_optimizer import ShardedOptimizer

_BUCKET_SIZE_MB = 25.0


class _RowsStrategy(SerialStrategy):
    """Each process computes the loss of its rows."""

    collectives: Collectives

    def forward_backward(
        self,
        token_ids: Int[Tensor, "batch seq"],
        targets: Int[Tensor, "batch seq"],
        documents: Int[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, ""]:
        """Compute the gradients of the own rows and return the mean loss of all.

        Raises:
            ValueError: The rows cannot be shared out evenly.
        """
        _check_batch(len(token_ids), self.collectives)
        ids, goals = self._own_rows(token_ids), self._own_rows(targets)
        numbers = None if documents is None else self._own_rows(documents)
        loss = super().forward_backward(ids, goals, numbers)
        return self.collectives.average(loss).wait()

    def _own_rows(self, batch: Int[Tensor, "batch seq"]) -> Int[Tensor, "rows seq"]:
        return batch.chunk(self.collectives.size)[self.collectives.rank]


class DDPStrategy(_RowsStrategy):
    """Replicas: gradients are averaged while the backward pass computes."""

    def __init__(
        self,
        model: TransformerLM,
        optimizer: torch.optim.Optimizer,
        *,
        dtype: torch.dtype = torch.float32,
        micro_batch_size: int | None = None,
        collectives: Collectives | None = None,
    ) -> None:
        """Give all processes the weights of process 0; see ``SerialStrategy``."""
        super().__init__(model, optimizer, dtype=dtype, micro_batch_size=micro_batch_size)
        self.collectives = collectives or Collectives()
        self._replica = DDP(model, _BUCKET_SIZE_MB, collectives=self.collectives)

    @classmethod
    def from_config(cls, model: TransformerLM, config: TrainingConfig) -> "DDPStrategy":
        """Return the strategy of a training run.

        Raises:
            ValueError: The batch cannot be shared out evenly.
        """
        _check_batch(config.batch_size, Collectives())
        return cls(
            model,
            cls.shard_optimizer(build_optimizer(model, config.optimizer)),
            dtype=choose_dtype(config.dtype, model.output_weight.device),
            micro_batch_size=config.micro_batch_size,
        )

    @staticmethod
    def shard_optimizer(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Return the optimizer as it is: every process has all of its state."""
        return optimizer

    def forward_backward(
        self,
        token_ids: Int[Tensor, "batch seq"],
        targets: Int[Tensor, "batch seq"],
        documents: Int[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, ""]:
        """Send gradients as they come, or with micro-batches when all have been added up."""
        is_one_pass = self.micro_batch_size is None
        with nullcontext() if is_one_pass else self._replica.accumulating():
            return super().forward_backward(token_ids, targets, documents)

    def reduce_gradients(self) -> None:
        """Wait for the means."""
        self._replica.finish_gradient_synchronization()


class ShardedOptimizerStrategy(DDPStrategy):
    """Replicas whose optimizer keeps each state in one process alone."""

    @staticmethod
    def shard_optimizer(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Share the states out."""
        return ShardedOptimizer.from_optimizer(optimizer)


class FSDPStrategy(_RowsStrategy):
    """Every process keeps a part of each matrix, of its gradient and of its state."""

    def __init__(
        self,
        model: TransformerLM,
        make_optimizer: Callable[[TransformerLM], torch.optim.Optimizer],
        *,
        dtype: torch.dtype = torch.float32,
        micro_batch_size: int | None = None,
        collectives: Collectives | None = None,
    ) -> None:
        """Spread the model, then make the optimizer of its parts; see ``SerialStrategy``."""
        self.collectives = collectives or Collectives()
        compute_dtype = None if dtype == torch.float32 else dtype
        self._sharded = FSDP(model, compute_dtype, collectives=self.collectives)
        super().__init__(
            model, make_optimizer(model), dtype=dtype, micro_batch_size=micro_batch_size
        )
        self._loss = self._objective

    @classmethod
    def from_config(cls, model: TransformerLM, config: TrainingConfig) -> "FSDPStrategy":
        """Return the strategy of a training run.

        Raises:
            ValueError: The batch cannot be shared out evenly, or a setting needs whole matrices.
        """
        _check_batch(config.batch_size, Collectives())
        if not isinstance(config.optimizer, AdamWConfig | SGDConfig):
            raise ValueError(
                f"the strategy fsdp has parts of matrices, and {type(config.optimizer).__name__} "
                "needs whole ones: take adam-w-config or sgd-config, or the strategy sharded"
            )
        if config.ema_decay is not None:
            raise ValueError(
                f"the strategy fsdp averages no weights, got ema_decay={config.ema_decay}: take "
                "ddp or sharded"
            )
        if model.ops.name == "compiled":
            raise ValueError("the strategy fsdp runs no compiled step: leave compile out")
        return cls(
            model,
            lambda one: build_optimizer(one, config.optimizer),
            dtype=choose_dtype(config.dtype, model.output_weight.device),
            micro_batch_size=config.micro_batch_size,
        )

    def reduce_gradients(self) -> None:
        """Wait for the means."""
        self._sharded.finish_gradient_synchronization()

    def gradient_norm(self) -> Float[Tensor, ""]:
        """Return the norm of all gradients, the parts of the other processes included."""
        sharded = self._sharded.sharded_parameters()
        parameters = [*self.model.parameters()]
        parts = gradient_norm(one for one in parameters if one in sharded)
        whole = gradient_norm(one for one in parameters if one not in sharded)
        squares = self.collectives.total(parts.square().to(self.model.output_weight.device))
        return (squares + whole.square()).sqrt()

    def parts(self) -> dict[str, Stateful]:
        """Return model and optimizer with the states that they have in one process."""
        whole = {
            "model": _WholeModel(self._sharded),
            "optimizer": _WholeOptimizer(self._sharded, self.optimizer),
        }
        return super().parts() | whole

    def evaluating(self) -> AbstractContextManager[None]:
        """Gather what is read."""
        return self._sharded.reading()

    def finish(self) -> None:
        """Gather the whole model."""
        self._sharded.unshard()

    def _objective(self, *batch: Tensor) -> Tensor:
        with self._sharded.forward_pass():
            return self.model.objective(*batch)


class _WholeModel:
    """The state of a spread model, that of any number of processes."""

    def __init__(self, sharded: FSDP) -> None:
        self._sharded = sharded

    def state_dict(self) -> dict[str, Any]:
        """Return whole parameters, and the buffers."""
        full = self._sharded.gather_full_parameters()
        state = self._sharded.module.state_dict()
        return {name: full.get(name, one) for name, one in state.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the own rows."""
        module = self._sharded.module
        parameters = dict(module.named_parameters())
        module.load_state_dict(
            {
                name: self._sharded.own_part(parameters[name], one) if name in parameters else one
                for name, one in state_dict.items()
            }
        )


class _WholeOptimizer:
    """The state of an optimizer of parts, that of any number of processes."""

    def __init__(self, sharded: FSDP, optimizer: torch.optim.Optimizer) -> None:
        self._sharded, self._optimizer = sharded, optimizer

    def state_dict(self) -> dict[str, Any]:
        """Return whole moments."""
        return self._converted(self._optimizer.state_dict(), self._sharded.gather)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the own rows."""
        self._optimizer.load_state_dict(self._converted(state_dict, self._sharded.own_part))

    def _converted(self, state_dict: dict[str, Any], convert: Callable[..., Tensor]) -> Any:
        groups = self._optimizer.param_groups
        parameters = [one for group in groups for one in group["params"]]
        states = {
            number: {
                name: convert(parameters[number], one) if isinstance(one, Tensor) else one
                for name, one in state.items()
            }
            for number, state in state_dict["state"].items()
        }
        return {**state_dict, "state": states}


def _check_batch(batch_size: int, collectives: Collectives) -> None:
    if batch_size % collectives.size:
        raise ValueError(
            f"batch_size={batch_size} is not divisible by the {collectives.size} processes"
        )

"""Fully sharded data parallelism (Zhao et al., 2023): every process keeps a part of every matrix.

A matrix is whole in a process only while its layer computes. Before that the parts are gathered,
in the type of the computation; in the backward pass once more; there the gradient goes back as its
mean over the processes, of which each keeps its rows. So the optimizer sees float32 parts alone.

The module keeps its parameters and their names. While it runs, ``layer.weight`` is a property:
whoever reads it, the layer itself or a loss that uses the matrix of the output head, gets the
gathered matrix as a result of autograd, whose gradient flows back to the part. Autograd would hold
that matrix until the backward pass: ``saved_tensors_hooks`` save a note in its place, by which it
is gathered anew.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lm_systems.parallel.collectives import Collectives, Pending, broadcast_all
from lm_systems.parallel.data_parallel import GradientBuckets
from lm_systems.parallel.gathering import ShardedWeight, Timetable

_MOST_GRADIENTS_UNDER_WAY = 2
"""Whole gradients in memory: of the layer that computes, and of the one before it."""


def has_matrix(module: nn.Module) -> bool:
    """Tell whether a module holds a matrix named ``weight``, as linear maps and embeddings do."""
    weight = module._parameters.get("weight")
    return weight is not None and weight.ndim == 2


class FSDP(nn.Module):
    """A module whose matrices are spread over the processes.

    Build the optimizer from ``parameters()`` afterwards; its rule has to be elementwise, as AdamW's
    is. Call ``finish_gradient_synchronization`` between the backward pass and the step. Gradients
    of several passes add up. All processes have to use the layers in the same order.
    """

    def __init__(
        self,
        module: nn.Module,
        compute_dtype: torch.dtype | None = None,
        *,
        shard: Callable[[nn.Module], bool] = has_matrix,
        collectives: Collectives | None = None,
    ) -> None:
        """Give all processes the values of process 0, then keep the own rows of the matrices.

        Args:
            module: The same in all processes but for its values; changed in place.
            compute_dtype: Type in which matrices and their gradients are communicated and used;
                inputs of the layers are cast to it. None means that of the parameters.
            shard: Which modules' ``weight`` is spread, along its rows; every other parameter stays
                whole.
            collectives: Of which processes; None means all.
        """
        super().__init__()
        self.module = module
        self.collectives = collectives or Collectives()
        broadcast_all(self.collectives, [*module.parameters(), *module.buffers()])
        self._weights: dict[nn.Parameter, ShardedWeight] = {}
        self._remove: list[Callable[[], None]] = []
        for name, layer in [*module.named_modules()]:
            if shard(layer):
                self._spread(layer, f"{name}.weight".lstrip("."), compute_dtype)
        whole = [one for one in module.parameters() if one not in self._weights]
        self._whole = GradientBuckets(whole, self.collectives, None)
        self._timetable = Timetable(self._weights.values())
        self._order = [*self._weights.values()]
        self._saved: list[ShardedWeight] = []
        self._depth = 0
        """Passes and layers that are under way: what is read in them is a whole matrix."""
        self._gradients: deque[tuple[nn.Parameter, Pending]] = deque()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the module returns."""
        with self.forward_pass():
            return self.module(*args, **kwargs)

    @contextmanager
    def forward_pass(self) -> Iterator[None]:
        """Gather matrices ahead while the block runs the module, and let autograd keep none."""
        self._timetable.begin(self._order)
        hooks = torch.autograd.graph.saved_tensors_hooks(self._note, self._restore)
        try:
            with self._read_whole(), hooks:
                yield
        finally:
            uses = self._timetable.end()
        # The order of the registration was a guess; the next pass will mostly do as this one did.
        self._order = uses or self._order

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Gather each matrix when it is read, as by validations that run any part of the module."""
        self._timetable.end()
        try:
            with self._read_whole():
                yield
        finally:
            self._timetable.end()

    def finish_gradient_synchronization(self) -> None:
        """Wait until every gradient is the mean over the processes, of matrices the own rows."""
        self._timetable.end()
        self._saved.clear()
        while self._gradients:
            self._take_gradient()
        self._whole.finish()

    def sharded_parameters(self) -> set[nn.Parameter]:
        """Return the parameters that are spread over the processes."""
        return {*self._weights}

    @torch.no_grad()
    def gather_full_parameters(self) -> dict[str, Tensor]:
        """Return copies of all parameters as they are in one process, under their names."""
        return {
            name: self.gather(parameter, parameter.detach())
            for name, parameter in self.module.named_parameters()
        }

    def gather(self, parameter: nn.Parameter, like: Tensor) -> Tensor:
        """Return a copy of ``like``, gathered if it is spread as the parameter is."""
        weight = self._weights.get(parameter)
        if weight is None or like.shape != parameter.shape:
            return like.clone()
        return weight.trim(self.collectives.gather(like).wait()).clone()

    def own_part(self, parameter: nn.Parameter, full: Tensor) -> Tensor:
        """Return what this process keeps of a whole tensor that belongs to the parameter."""
        weight = self._weights.get(parameter)
        return full if weight is None or full.shape != weight.shape else weight.cut(full)

    @torch.no_grad()
    def unshard(self) -> nn.Module:
        """Return the module as it was: with whole matrices, and knowing nothing of this."""
        self._timetable.end()
        full = self.gather_full_parameters()
        for remove in self._remove:
            remove()
        for name, parameter in self.module.named_parameters():
            parameter.grad = None
            parameter.data = full[name]
        self._weights, self._remove = {}, []
        return self.module

    def _spread(self, layer: nn.Module, name: str, dtype: torch.dtype | None) -> None:
        parameter = layer._parameters["weight"]
        if parameter is None:
            raise ValueError(f"{name} is to be spread over the processes, but there is none")
        if parameter not in self._weights:
            self._weights[parameter] = ShardedWeight(parameter, name, self.collectives, dtype)
        weight = self._weights[parameter]
        plain = type(layer)
        # The class keeps its name: what the layer is called must not change.
        layer.__class__ = type(
            plain.__name__, (plain,), {"weight": property(lambda _: self._read(weight))}
        )
        handles = [
            layer.register_forward_pre_hook(lambda *_: self._enter()),
            layer.register_forward_hook(lambda *_: self._leave(weight), always_call=True),
        ]
        if dtype is not None:
            handles.append(layer.register_forward_pre_hook(lambda _, args: _cast(args, dtype)))

        def remove() -> None:
            layer.__class__ = plain
            for handle in handles:
                handle.remove()

        self._remove.append(remove)

    @contextmanager
    def _read_whole(self) -> Iterator[None]:
        self._enter()
        try:
            yield
        finally:
            self._depth -= 1

    def _enter(self) -> None:
        self._depth += 1

    def _leave(self, weight: ShardedWeight) -> None:
        self._depth -= 1
        self._timetable.close(weight)

    def _read(self, weight: ShardedWeight) -> Tensor:
        """Return the gathered matrix as a function of the own part, and outside a pass the part."""
        if not self._depth:
            return weight.parameter
        full = self._timetable.use(weight)
        if not (torch.is_grad_enabled() and weight.parameter.requires_grad):
            return full
        return _Gathered.apply(weight.parameter, full, weight, self._send_gradient)

    def _note(self, tensor: Tensor) -> "Tensor | _View":
        """Stand in for what autograd wants to save."""
        weight = self._timetable.find(tensor)
        if weight is None:
            return tensor
        if self._saved[-1:] != [weight]:
            self._saved.append(weight)
        return _View(weight, tensor.size(), tensor.stride(), int(tensor.storage_offset()))

    def _restore(self, saved: "Tensor | _View") -> Tensor:
        """Return what autograd wanted to save."""
        if isinstance(saved, Tensor):
            return saved
        if self._saved:
            # The first of a backward pass, which mostly needs them in the reverse order.
            self._timetable.begin(self._saved[::-1])
            self._saved = []
        full = self._timetable.use(saved.weight)
        return full.as_strided(saved.size, saved.stride, saved.offset)

    def _send_gradient(self, weight: ShardedWeight, gradient: Tensor) -> None:
        """Begin to average a matrix's gradient over the processes."""
        self._timetable.close(weight)
        while len(self._gradients) >= _MOST_GRADIENTS_UNDER_WAY:
            self._take_gradient()
        self.collectives.note("reduce", weight.name)
        pending = self.collectives.scatter_average(weight.pad(gradient))
        self._gradients.append((weight.parameter, pending))

    def _take_gradient(self) -> None:
        parameter, pending = self._gradients.popleft()
        part = pending.wait().to(parameter.dtype)
        parameter.grad = part if parameter.grad is None else parameter.grad.add_(part)


@dataclass(frozen=True, slots=True)
class _View:
    """A part of a matrix that autograd will ask for, and nothing of its memory."""

    weight: ShardedWeight
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


class _Gathered(torch.autograd.Function):
    """From the own part to the whole matrix; backward, its gradient is sent on its way."""

    @staticmethod
    def forward(
        ctx: Any,
        part: Tensor,
        full: Tensor,
        weight: ShardedWeight,
        send: Callable[[ShardedWeight, Tensor], None],
    ) -> Tensor:
        """Return ``full``, which depends on ``part``."""
        ctx.weight, ctx.send = weight, send
        return full.view_as(full)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return no gradient: the part gets its own once all processes have sent theirs."""
        ctx.send(ctx.weight, gradient)
        return None, None, None, None


def _cast(args: tuple[Any, ...], dtype: torch.dtype) -> tuple[Any, ...]:
    """Return a layer's inputs, numbers with a fraction in ``dtype``."""
    return tuple(
        one.to(dtype) if isinstance(one, Tensor) and one.is_floating_point() else one
        for one in args
    )

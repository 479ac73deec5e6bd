"""When the parts of a matrix are gathered, how long the whole is held, and what is next.

The layers of a pass are used one after another. Reading a matrix opens it; the end of its layer, or
the use of another one, closes it: its memory is released and the gathering of the layer two places
on may begin. So two matrices are in memory, the one in use and the next, and never more than three.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from lm_systems.parallel.collectives import Collectives, EventKind, Pending


class ShardedWeight:
    """A matrix of which this process keeps some of the rows, in the parameter it always was."""

    def __init__(
        self,
        parameter: nn.Parameter,
        name: str,
        collectives: Collectives,
        dtype: torch.dtype | None,
    ) -> None:
        """Cut the parameter; rows of zeros make them as many for each process."""
        self.parameter, self.name = parameter, name
        self.shape = parameter.shape
        """Of the whole."""
        self._collectives = collectives
        self._dtype = dtype or parameter.dtype
        self._rows = -(-self.shape[0] // collectives.size)
        self._pending: Pending | None = None
        parameter.data = self.cut(parameter.data)

    def cut(self, full: Tensor) -> Tensor:
        """Return a copy of the own rows of a whole matrix."""
        first = self._collectives.rank * self._rows
        return self.pad(full)[first : first + self._rows].clone()

    def pad(self, full: Tensor) -> Tensor:
        """Return a matrix of as many rows for each process, contiguous."""
        missing = self._rows * self._collectives.size - self.shape[0]
        padded = torch.cat((full, full.new_zeros(missing, *self.shape[1:]))) if missing else full
        return padded.contiguous()

    def trim(self, padded: Tensor) -> Tensor:
        """Return the matrix without the rows that were added."""
        return padded[: self.shape[0]]

    def note(self, kind: EventKind) -> None:
        """Write down what happens to the matrix."""
        self._collectives.note(kind, self.name)

    @torch.no_grad()
    def launch(self) -> Pending:
        """Begin to gather, unless that has begun, and return what is on its way."""
        if self._pending is None:
            self.note("gather")
            self._pending = self._collectives.gather(self.parameter.detach().to(self._dtype))
        return self._pending

    @torch.no_grad()
    def full(self) -> Tensor:
        """Return the whole matrix when it is here."""
        return self.trim(self.launch().wait())

    def free(self) -> None:
        """Let the whole go, as far as this is what holds it."""
        if self._pending is not None:
            self.note("free")
            # Work that nobody has waited for may not be forgotten.
            self._pending.wait()
            self._pending = None


class Timetable:
    """The order in which one pass needs the matrices, and where it stands."""

    def __init__(self, weights: Iterable[ShardedWeight]) -> None:
        self._weights = [*weights]
        self._order: Sequence[ShardedWeight] = ()
        self._place = 0
        self._open: ShardedWeight | None = None
        self._uses: list[ShardedWeight] = []

    def begin(self, order: Sequence[ShardedWeight]) -> None:
        """Expect a pass of that order; nothing is before its first two."""
        self.end()
        self._order, self._place = order, 0
        self._launch_allowed()

    def use(self, weight: ShardedWeight) -> Tensor:
        """Open a matrix, which closes the one before, and return it when it is here."""
        if self._open is not weight:
            if self._open is not None:
                self.close(self._open)
            self._open = weight
            self._uses.append(weight)
            if weight in self._order[self._place :]:
                self._place = self._order.index(weight, self._place)
                self._launch_allowed()
            weight.launch().wait()
            weight.note("use")
        return weight.full()

    def close(self, weight: ShardedWeight) -> None:
        """Let an open matrix go and begin to gather what may come now."""
        if self._open is weight:
            self._open = None
            weight.free()
            if weight in self._order[self._place : self._place + 1]:
                self._place += 1
                self._launch_allowed()

    def find(self, tensor: Tensor) -> ShardedWeight | None:
        """Return the open matrix if the tensor lies in its memory."""
        weight = self._open
        if weight is None:
            return None
        is_same = tensor.untyped_storage().data_ptr() == weight.full().untyped_storage().data_ptr()
        return weight if is_same else None

    def end(self) -> list[ShardedWeight]:
        """Let everything go that is still held, and return what was used, in order."""
        for weight in self._weights:
            weight.free()
        uses, self._uses = self._uses, []
        self._order, self._place, self._open = (), 0, None
        return uses

    def _launch_allowed(self) -> None:
        # Those before ``place`` have finished: the layer two before the second one here is the last
        # of them.
        for weight in self._order[self._place : self._place + 2]:
            weight.launch()

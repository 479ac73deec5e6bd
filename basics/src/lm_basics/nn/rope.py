"""Positions as rotations (Su et al., 2021) and as added waves (Vaswani et al., 2017)."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn

from lm_basics.nn.ops import REFERENCE_OPS, Ops


class _PositionTables(nn.Module):
    """Tables that follow from three numbers: no checkpoint holds them, the meta device loses none.

    A model that is made on the meta device gets its weights later, by ``to_empty`` and a checkpoint
    or by ``load_state_dict(..., assign=True)``; the tables are then computed again.
    """

    has_own_dtype: bool
    """Whether the tables stay in float32 when the model gets another type."""

    def __init__(
        self,
        theta: float,
        width: int,
        max_seq_len: int,
        device: torch.device | None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.theta, self.width, self.max_seq_len = theta, width, max_seq_len
        device, dtype = device or torch.get_default_device(), dtype or torch.float32
        for name, table in self._tables().items():
            self.register_buffer(name, table.to(device, dtype), persistent=False)

    def _tables(self) -> dict[str, Float64[Tensor, "positions width"]]:
        """Return the tables by their names, on the CPU."""
        raise NotImplementedError

    def _angles(self) -> Float64[Tensor, "positions half"]:
        # In float64: at position 100,000 float32 loses the fast components' last digits. On the
        # CPU, for Apple's GPUs have no float64.
        even = torch.arange(0, self.width, 2, dtype=torch.float64, device="cpu")
        positions = torch.arange(self.max_seq_len, dtype=torch.float64, device="cpu")
        return positions[:, None] / self.theta ** (even / self.width)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "_PositionTables":
        tables = dict(self.named_buffers())
        super()._apply(fn, recurse)
        moved = dict(self.named_buffers())
        # From before, for ``to_empty`` moves no values, and ``to(bfloat16)`` would round angles.
        if any(table.is_meta and not moved[name].is_meta for name, table in tables.items()):
            tables = {name: table.to(tables[name].dtype) for name, table in self._tables().items()}
        for name, table in tables.items():
            dtype = table.dtype if self.has_own_dtype else moved[name].dtype
            self.register_buffer(name, table.to(moved[name].device, dtype), persistent=False)
        return self

    def _leave_meta(self, x: Tensor) -> None:
        """Compute the tables where the weights were put in the places of those on ``meta``."""
        if not x.is_meta and any(table.is_meta for table in self.buffers()):
            self.to_empty(device=x.device)


class RotaryPositionalEmbedding(_PositionTables):
    """Rotate the pair ``(x[2i], x[2i+1])`` by ``position / theta**(2i / d_k)``.

    The product of a rotated query and a rotated key depends on their distance only. The angles are
    kept in float32 and the rotation is computed in it, whatever the type of the model.
    """

    cos: Tensor
    sin: Tensor
    has_own_dtype = True

    def __init__(
        self,
        theta: float,
        d_k: int,
        max_seq_len: int,
        device: torch.device | None = None,
        *,
        ops: Ops = REFERENCE_OPS,
    ) -> None:
        if d_k % 2:
            raise ValueError(f"RoPE rotates pairs: d_k={d_k} must be even")
        super().__init__(theta, d_k, max_seq_len, device)
        self.ops = ops

    def _tables(self) -> dict[str, Float64[Tensor, "positions half"]]:
        angles = self._angles()
        return {"cos": angles.cos(), "sin": angles.sin()}

    def forward(
        self,
        x: Float[Tensor, "*batch seq d_k"],
        token_positions: Int[Tensor, "*rows seq"] | None = None,
    ) -> Float[Tensor, "*batch seq d_k"]:
        """Rotate ``x``.

        Args:
            x: Queries or keys; any leading axes.
            token_positions: Position of each vector, from 0; one row for all, or with as many
                leading axes as ``x``, which broadcast: an axis for the heads has size 1. None means
                0, 1, 2, …

        Raises:
            ValueError: More vectors than positions, or positions whose shape does not fit.
            IndexError: A position is negative or too large.
        """
        return self.ops.rope(x, *self.angles(x, token_positions))

    def angles(
        self, x: Float[Tensor, "*batch seq d_k"], token_positions: Int[Tensor, "*rows seq"] | None
    ) -> tuple[Float[Tensor, "*#batch seq half"], Float[Tensor, "*#batch seq half"]]:
        """Return cosines and sines for the places of ``x``; see ``forward``."""
        self._leave_meta(x)
        places = x.shape[:-1]
        if token_positions is None:
            return _first_rows(self.cos, places[-1]), _first_rows(self.sin, places[-1])
        given = token_positions.shape
        if len(given) < len(places) and any(size != 1 for size in given[:-1]):
            # (batch, seq) for (batch, heads, seq): the usual rule would take the batch for the
            # heads, and nothing would tell where there are as many of them.
            raise ValueError(
                f"token_positions of shape {tuple(given)} leave open which axes of "
                f"{tuple(places)} they are for: give the others as axes of size 1"
            )
        index = fitting("token_positions", token_positions, places)
        return _rows(self.cos, index), _rows(self.sin, index)


class SinusoidalPositionalEmbedding(_PositionTables):
    """Add ``sin(position / theta**(2i / d_model))`` and its cosine to components 2i and 2i + 1."""

    table: Tensor
    has_own_dtype = False

    def __init__(
        self,
        theta: float,
        d_model: int,
        max_seq_len: int,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if d_model % 2:
            raise ValueError(f"sines and cosines come in pairs: d_model={d_model} must be even")
        super().__init__(theta, d_model, max_seq_len, device, dtype)

    def _tables(self) -> dict[str, Float64[Tensor, "positions d_model"]]:
        angles = self._angles()
        return {"table": torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)}

    def forward(
        self,
        x: Float[Tensor, "*batch seq d_model"],
        token_positions: Int[Tensor, "*rows seq"] | None = None,
    ) -> Float[Tensor, "*batch seq d_model"]:
        """Return ``x`` with the waves of its positions added; None means 0, 1, 2 and so on.

        Raises:
            ValueError: More vectors than positions, or positions whose shape does not fit.
            IndexError: A position is negative or too large.
        """
        self._leave_meta(x)
        if token_positions is None:
            waves = _first_rows(self.table, x.shape[-2])
        else:
            waves = _rows(self.table, fitting("token_positions", token_positions, x.shape[:-1]))
        return x + waves.to(x.dtype)


def fitting(
    name: str, values: Int[Tensor, "*any"], places: Sequence[int]
) -> Int[Tensor, "*#batch seq"]:
    """Return ``values`` if there is one for each token: leading axes may be missing or 1.

    Args:
        name: What errors call them.
        values: Positions or numbers of documents.
        places: Shape of the tokens.

    Raises:
        ValueError: They do not fit.
    """
    if values.shape == places:
        return values
    surplus = max(0, values.ndim - len(places))
    shape = tuple(values.shape[surplus:])
    pairs = zip(reversed(shape[:-1]), reversed(places[:-1]), strict=False)
    if (
        shape[-1:] != tuple(places[-1:])
        or any(size != 1 for size in values.shape[:surplus])
        or any(given not in (1, wanted) for given, wanted in pairs)
    ):
        raise ValueError(
            f"{name} of shape {tuple(values.shape)} do not fit tokens of shape {tuple(places)}: "
            "expected one for each token, where leading axes may be missing or 1"
        )
    return values.view(shape)


def _first_rows(table: Float[Tensor, "positions width"], count: int) -> Float[Tensor, "seq width"]:
    if count > len(table):
        raise ValueError(f"{count} vectors in a row, but max_seq_len is {len(table)}")
    return table[:count]


def _rows(
    table: Float[Tensor, "positions width"], index: Int[Tensor, "*batch seq"]
) -> Float[Tensor, "*batch seq width"]:
    # Indexing with brackets would count negative positions from the table's end.
    return table.index_select(0, index.flatten()).view(*index.shape, table.shape[1])

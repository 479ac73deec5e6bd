"""Positions as rotations (Su et al., 2021) and as added waves (Vaswani et al., 2017)."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_basics.nn.ops import REFERENCE_OPS, Ops


class RotaryPositionalEmbedding(nn.Module):
    """Rotate the pair ``(x[2i], x[2i+1])`` by ``position / theta**(2i / d_k)``.

    The product of a rotated query and a rotated key depends on their distance only. The angles are
    kept in float32 and the rotation is computed in it, whatever the type of the model.
    """

    cos: Tensor
    sin: Tensor

    def __init__(
        self,
        theta: float,
        d_k: int,
        max_seq_len: int,
        device: torch.device | None = None,
        *,
        ops: Ops = REFERENCE_OPS,
    ) -> None:
        super().__init__()
        if d_k % 2:
            raise ValueError(f"RoPE rotates pairs: d_k={d_k} must be even")
        self.ops = ops
        angles = _angles(theta, d_k, max_seq_len)
        self.register_buffer("cos", angles.cos().float().to(device), persistent=False)
        self.register_buffer("sin", angles.sin().float().to(device), persistent=False)

    def _apply(
        self, fn: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> "RotaryPositionalEmbedding":
        # ``model.to(bfloat16)`` would round the angles: the tables change their device alone.
        cos, sin = self.cos, self.sin
        super()._apply(fn, recurse)
        if not cos.is_meta:
            self.cos, self.sin = cos.to(self.cos.device), sin.to(self.sin.device)
        return self

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
        return self.ops.rope(x, *self.angles(x.shape[:-1], token_positions))

    def angles(
        self, places: Sequence[int], token_positions: Int[Tensor, "*rows seq"] | None
    ) -> tuple[Float[Tensor, "*#batch seq half"], Float[Tensor, "*#batch seq half"]]:
        """Return cosines and sines for vectors of the shape ``places``; see ``forward``."""
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


class SinusoidalPositionalEmbedding(nn.Module):
    """Add ``sin(position / theta**(2i / d_model))`` and its cosine to components 2i and 2i + 1."""

    table: Tensor

    def __init__(
        self,
        theta: float,
        d_model: int,
        max_seq_len: int,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if d_model % 2:
            raise ValueError(f"sines and cosines come in pairs: d_model={d_model} must be even")
        angles = _angles(theta, d_model, max_seq_len)
        table = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)
        self.register_buffer("table", table.to(device, dtype or torch.float32), persistent=False)

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


def _angles(theta: float, width: int, num_positions: int) -> Float[Tensor, "positions half"]:
    # In float64: at position 100,000 float32 loses the fast components' last digits. On the CPU,
    # for Apple's GPUs have no float64.
    wavelengths = theta ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.arange(num_positions, dtype=torch.float64)[:, None] / wavelengths

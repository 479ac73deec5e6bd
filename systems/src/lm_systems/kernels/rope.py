"""Rotary embedding as one complex product per pair.

The interleaved pair ``(x[2i], x[2i+1])`` is in memory exactly the complex number
``x[2i] + j x[2i+1]``, and rotating it by an angle is a product with ``cos + j sin`` (Su et al.,
2021, Section 3.2.1). The view costs nothing, so each direction is one pass over memory.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def rope(
    x: Float[Tensor, "*batch seq d_k"],
    cos: Float[Tensor, "*#batch seq half"],
    sin: Float[Tensor, "*#batch seq half"],
) -> Float[Tensor, "*batch seq d_k"]:
    """Rotate the interleaved pairs of ``x`` in float32 and return its dtype."""
    pairs = x.float().unflatten(-1, (-1, 2))
    if not _can_be_complex(pairs):
        # Not contiguous(), which leaves what only begins at an odd place where it is.
        pairs = pairs.clone(memory_format=torch.contiguous_format)
    rotated = torch.view_as_complex(pairs) * torch.complex(cos, sin)
    return torch.view_as_real(rotated).flatten(-2).to(x.dtype)


def _can_be_complex(pairs: Tensor) -> bool:
    """Return whether every pair is adjacent and starts at an even place in its storage."""
    *outer, inner = pairs.stride()
    return inner == 1 and not any(place % 2 for place in (pairs.storage_offset(), *outer))

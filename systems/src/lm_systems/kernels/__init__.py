"""Fast versions of the operations in `lm_basics.nn.ops`, each beside its reference."""

from typing import Literal

# Here and not in ``ops``: command lines list the names before torch is imported.
OpsName = Literal["reference", "fused", "compiled", "triton", "tiled"]
"""The records that ``ops.get_ops`` hands out."""

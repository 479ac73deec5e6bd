"""What tests of every unit share: the pytest plugin, processes and tolerances."""

from lm_shared.testing.checker import check

__all__ = ["check"]

"""Budgets, scaling laws and planning, from scratch.

The names are imported when they are first used. Figures are not among them: they need matplotlib.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

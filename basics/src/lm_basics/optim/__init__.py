"""Optimizers, learning-rate schedules and gradient clipping.

The names are imported when they are first used: settings and schedules need no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Tensors, configuration and run records: what every unit shares.

Here are the names that need nothing but the standard library, so that importing them is quick.
Those that need torch come from their modules: ``lm_shared.tensors``, ``lm_shared.runs``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

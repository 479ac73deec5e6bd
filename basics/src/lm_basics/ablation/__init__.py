"""Experiments: variants against a base at equal budgets over paired seeds, and what they show."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Training runs side by side: their curves, their numbers and a page of both."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

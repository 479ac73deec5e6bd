"""Many processes: data parallelism and who runs it, what they send each other, what it costs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

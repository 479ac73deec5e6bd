"""What a transformer costs, worked out from its configuration alone.

Parameters, floating-point operations, memory, time and money. The names are imported when they are
first used; only ``page`` draws, and nothing but a measurement of this machine needs torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

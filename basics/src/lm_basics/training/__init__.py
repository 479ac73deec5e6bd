"""Training: data, checkpoints, the parallelism seam, evaluation and the loop.

The names are imported when they are first used: settings need no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Text to tokens and back: byte-pair encoding, simpler kinds, and files that other tools read."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Tokens on the disk: the ids of many documents as one mapped file, written whole or resumed."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

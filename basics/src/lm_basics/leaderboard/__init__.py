"""The leaderboard of trained models: divisions, data, a run by the rules, a verifier that replays.

What all leaderboards share is ``lm_shared.leaderboard``. The names are imported when they are first
used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

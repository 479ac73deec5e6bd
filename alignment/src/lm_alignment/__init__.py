"""From a model that continues text to one that answers, from scratch.

``sft.train_sft`` imitates answers, ``dpo.train_dpo`` prefers some to others, ``rl.grpo.train_grpo``
learns from the verdicts of a verifier on the model's own answers, and
``evaluation.evaluate_reward`` measures on held-out questions.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

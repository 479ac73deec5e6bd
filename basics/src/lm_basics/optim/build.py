"""An optimizer for a model: which parameters get which rule.

========  ==========================================  ======  ==================
group     what is in it                               decays  under Muon, SOAP
========  ==========================================  ======  ==================
hidden    matrices of the blocks, but for routers     yes     their rule
tables    one row per token or per expert             yes     AdamW
vectors   gains                                       no      AdamW
========  ==========================================  ======  ==================

A row of the embedding, of the output head, or of a router of experts scores or stands for one
thing. Rows are not directions of a map between two spaces, and many get no gradient in a step, so
that an update which makes all singular values alike would move them by noise.
"""

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lm_basics.optim.adamw import AdamW
from lm_basics.optim.config import MuonConfig, OptimizerConfig, SGDConfig, SOAPConfig
from lm_basics.optim.muon import Muon
from lm_basics.optim.optimizer import SGD, Implementation
from lm_basics.optim.soap import SOAP

_TABLES = re.compile(r"token_embeddings\.|lm_head\.|.*\.router\.")


def build_optimizer(
    model: nn.Module, config: OptimizerConfig, *, implementation: Implementation = "auto"
) -> torch.optim.Optimizer:
    """Return the optimizer that ``config`` describes.

    Args:
        model: Parameters that require no gradient are left out.
        config: The rule, or two rules.
        implementation: Of AdamW.
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    vectors = [p for p in trainable.values() if p.ndim < 2]
    hidden = [p for name, p in trainable.items() if p.ndim == 2 and not _TABLES.match(name)]
    apart = {id(p) for p in (*vectors, *hidden)}
    tables = [p for p in trainable.values() if id(p) not in apart]
    if isinstance(config, MuonConfig):
        others = _decay_groups(tables, vectors)
        return Muon(hidden, others, config, implementation=implementation)
    if isinstance(config, SOAPConfig):
        others = _decay_groups(tables, vectors)
        return SOAP(hidden, others, config, implementation=implementation)
    groups = _decay_groups([*tables, *hidden], vectors)
    if isinstance(config, SGDConfig):
        return SGD(groups, config.lr, config.momentum, config.weight_decay)
    return AdamW(
        groups,
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
        implementation=implementation,
    )


def _decay_groups(decaying: Iterable[Tensor], others: Iterable[Tensor]) -> list[dict[str, Any]]:
    """Return the groups that are not empty."""
    groups: list[dict[str, Any]] = [
        {"params": list(decaying)},
        {"params": list(others), "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]

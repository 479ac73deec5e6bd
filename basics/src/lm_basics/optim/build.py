"""An optimizer for a model: which parameters get which rule."""

import torch
from torch import nn

from lm_basics.optim.adamw import AdamW, AdamWConfig
from lm_basics.optim.muon import Muon, MuonConfig

OptimizerConfig = AdamWConfig | MuonConfig


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return the optimizer that ``config`` describes.

    Matrices decay, vectors (the gains) do not. Under Muon, the matrices between embedding and head
    are orthogonalized; whatever holds one row per token follows AdamW.
    """
    adamw = config.others if isinstance(config, MuonConfig) else config
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    hidden = {
        name: p
        for name, p in trainable.items()
        if p.ndim == 2 and not name.startswith(("token_embeddings.", "lm_head."))
    }
    vectors = [p for p in trainable.values() if p.ndim < 2]
    tables = [p for name, p in trainable.items() if p.ndim >= 2 and name not in hidden]
    if isinstance(config, MuonConfig):
        groups = [{"params": tables}, {"params": vectors, "weight_decay": 0.0}]
        return Muon(hidden.values(), [group for group in groups if group["params"]], config)
    return AdamW(
        [
            {"params": [*tables, *hidden.values()]},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=adamw.lr,
        betas=adamw.betas,
        eps=adamw.eps,
        weight_decay=adamw.weight_decay,
    )

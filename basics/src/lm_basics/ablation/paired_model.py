"""Models whose initialization is paired: what two of them have in common starts alike."""

from dataclasses import replace

import torch

from lm_basics.model_config import TransformerConfig
from lm_basics.transformer import TransformerLM


def build_paired_model(
    config: TransformerConfig, base: TransformerConfig, *, seed: int
) -> TransformerLM:
    """Return a model that starts with the base's values of the same seed wherever shapes allow.

    Both draw from one stream of random numbers. As soon as one layer has another shape, everything
    behind it would start from other numbers and the pairing would be lost, so parameters of equal
    name and shape are copied from the base. That is done only where the two configurations differ
    in their blocks and norms alone: there the distribution depends on the shape alone.

    Args:
        config: The variant.
        base: What it is compared with.
        seed: Decides all initial values; the global random state is left as it was.
    """
    model = _build(config, seed)
    if config != base and _have_equal_distributions(config, base):
        theirs = _build(base, seed).state_dict()
        ours = model.state_dict()
        same = {k: v for k, v in theirs.items() if k in ours and ours[k].shape == v.shape}
        model.load_state_dict(ours | same)
    return model


def _build(config: TransformerConfig, seed: int) -> TransformerLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TransformerLM(config)


def _have_equal_distributions(config: TransformerConfig, base: TransformerConfig) -> bool:
    free = {
        "pattern": base.pattern,
        "position_embedding": base.position_embedding,
        "final_norm": base.final_norm,
        "norm_eps": base.norm_eps,
    }
    return replace(config, **free) == base

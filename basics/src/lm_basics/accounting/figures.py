"""Figures of where the FLOPs of a forward pass go."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from lm_basics.accounting.flops import ForwardFlops, forward_flops
from lm_basics.accounting.parameters import count_parameters
from lm_basics.model_config import TransformerConfig, uniform_transformer
from lm_shared.figures import line_figure

_DEPTHS = (3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)
_WIDTH_PER_LAYER = 128
_NUM_CONTEXTS = 12
_COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "MLP": ("feedforward",),
    "attention: projections": ("qkv", "output"),
    "attention: scores and sums": ("attention",),
    "output head": ("head",),
}


def growing_models(*, context_length: int = 2048) -> list[TransformerConfig]:
    """Return models of one shape from about 10M to about 175B parameters.

    A block is 128 wide for each layer that the model has, and so is a head: 96 layers are as wide
    as GPT-3. The vocabulary is GPT-2's, tied.
    """
    return [
        uniform_transformer(
            vocab_size=50_257,
            context_length=context_length,
            d_model=_WIDTH_PER_LAYER * depth,
            num_layers=depth,
            num_heads=depth,
            tie_embeddings=True,
        )
        for depth in _DEPTHS
    ]


def share_by_size_figure(*, context_length: int = 2048) -> Figure:
    """Draw the shares of FLOPs over the number of parameters outside of the embedding."""
    models = growing_models(context_length=context_length)
    sizes = [count_parameters(model) - model.vocab_size * model.d_model for model in models]
    passes = [forward_flops(model, context_length) for model in models]
    return _share_figure(sizes, passes, x_label="parameters without the embedding")


def share_by_context_figure(config: TransformerConfig) -> Figure:
    """Draw the shares of a model's FLOPs over the length of the sequence."""
    shortest = max(1, config.context_length // 2**3)
    contexts = [shortest * 2**doubling for doubling in range(_NUM_CONTEXTS)]
    passes = [forward_flops(config, context) for context in contexts]
    return _share_figure(contexts, passes, x_label="tokens of a sequence")


def _share_figure(x: Sequence[int], passes: Sequence[ForwardFlops], *, x_label: str) -> Figure:
    shares = [flops.shares() for flops in passes]
    lines = {
        name: (x, [100 * sum(share[part] for part in parts) for share in shares])
        for name, parts in _COMPONENTS.items()
    }
    return line_figure(lines, x_label=x_label, y_label="% of the forward FLOPs", x_scale="log")

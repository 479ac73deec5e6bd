"""Models by name or by file: those that others published, as near as this code comes to them."""

import difflib
import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_basics.model_config import (
    BlockConfig,
    FullAttention,
    MLPConfig,
    NoPosition,
    SinusoidalConfig,
    TransformerConfig,
    uniform_transformer,
)
from lm_basics.model_folder import CONFIG_NAME, find_model_folder
from lm_shared.files import read_json

_GPT2_DIFFERENCES = (
    "learned positions became sinusoids, LayerNorm became RMSNorm, there are no biases, and GELU "
    "is the exact one"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedModel:
    """A published model and how far our configuration is from it."""

    config: TransformerConfig
    """The model, as near as it can be expressed."""
    parameters: int
    """Published number of parameters."""
    tolerance: float
    """Share by which our number of parameters may differ."""
    source: str
    """Where shape and number come from."""
    differences: str
    """What our configuration does otherwise; empty if nothing that has parameters or FLOPs."""


def _gpt(
    *,
    num_layers: int,
    d_model: int,
    num_heads: int,
    context_length: int,
    parameters: int,
    tolerance: float,
    source: str,
    differences: str,
) -> PublishedModel:
    block = BlockConfig(
        attention=FullAttention(num_heads=num_heads, position=NoPosition()),
        feedforward=MLPConfig(d_ff=4 * d_model, activation="gelu"),
    )
    config = TransformerConfig(
        vocab_size=50_257,
        context_length=context_length,
        d_model=d_model,
        num_layers=num_layers,
        pattern=(block,),
        position_embedding=SinusoidalConfig(),
        tie_embeddings=True,
    )
    return PublishedModel(
        config=config,
        parameters=parameters,
        tolerance=tolerance,
        source=source,
        differences=differences,
    )


def _gpt2(num_layers: int, d_model: int, num_heads: int, parameters: int) -> PublishedModel:
    return _gpt(
        num_layers=num_layers,
        d_model=d_model,
        num_heads=num_heads,
        context_length=1024,
        parameters=parameters,
        tolerance=0.01,
        source="Radford et al., 2019, Table 2; parameters of the released checkpoint",
        differences=_GPT2_DIFFERENCES,
    )


def _llama3(
    num_layers: int, d_model: int, num_heads: int, d_ff: int, parameters: int
) -> PublishedModel:
    config = uniform_transformer(
        vocab_size=128_256,
        context_length=8192,
        d_model=d_model,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=8,
        d_ff=d_ff,
        rope_theta=500_000.0,
    )
    return PublishedModel(
        config=config,
        parameters=parameters,
        tolerance=0.0,
        source="Grattafiori et al., 2024, Table 3; parameters of the released checkpoint",
        differences="",
    )


PUBLISHED: Mapping[str, PublishedModel] = {
    "gpt2-small": _gpt2(12, 768, 12, 124_439_808),
    "gpt2-medium": _gpt2(24, 1024, 16, 354_823_168),
    "gpt2-large": _gpt2(36, 1280, 20, 774_030_080),
    "gpt2-xl": _gpt2(48, 1600, 25, 1_557_611_200),
    "llama3-8b": _llama3(32, 4096, 32, 14_336, 8_030_261_248),
    "llama3-70b": _llama3(80, 8192, 64, 28_672, 70_553_706_496),
    "llama3-405b": _llama3(126, 16_384, 128, 53_248, 405_853_388_800),
    "gpt3-175b": _gpt(
        num_layers=96,
        d_model=12_288,
        num_heads=96,
        context_length=2048,
        parameters=175_000_000_000,
        tolerance=0.005,
        source="Brown et al., 2020, Table 2.1",
        differences=f"{_GPT2_DIFFERENCES}; every second layer of GPT-3 attends to a band of keys, "
        "here all attend to all",
    ),
}
"""By name, from small to large within a family."""


def find_model(name: str) -> TransformerConfig:
    """Return the configuration that a name or a path stands for.

    Args:
        name: One of ``PUBLISHED``, a ``config.json`` in our own layout or in that of Llama or
            Qwen3, or its folder, or that of a training run. How positions are stretched to longer
            contexts (Llama 3.1) is passed over: it costs nothing.

    Raises:
        FileNotFoundError: There is no such file, or the folder holds no ``config.json``.
        ValueError: There is neither such a model nor such a file (the message holds the nearest
            name), or the file describes another kind of model.
    """
    if name in PUBLISHED:
        return PUBLISHED[name].config
    path = Path(name)
    is_folder = path.is_dir()
    if is_folder:
        path = find_model_folder(path) / CONFIG_NAME
    if not path.is_file():
        nearest = difflib.get_close_matches(name.lower(), PUBLISHED, n=1, cutoff=0.0)[0]
        if is_folder or path.suffix == ".json":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        raise ValueError(
            f"no model and no file {name!r}: did you mean {nearest}? There are "
            f"{', '.join(PUBLISHED)}"
        )
    data = _without_stretching(read_json(path))
    # It needs torch, which the published ones do without.
    from lm_basics.export import parse_config  # noqa: PLC0415

    return parse_config(data, path)[0]


def _without_stretching(data: Any) -> Any:
    """Return a description whose rotations are plain; other than objects come back unchanged."""
    if not isinstance(data, Mapping):
        return data
    plain = dict(data)
    plain.pop("rope_scaling", None)
    rope = plain.get("rope_parameters")
    if isinstance(rope, Mapping):
        plain["rope_parameters"] = {**rope, "rope_type": "default"}
    return plain

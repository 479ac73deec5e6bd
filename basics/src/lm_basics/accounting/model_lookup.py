"""A model by its name or by its file."""

import difflib
import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_basics.accounting.published import PUBLISHED
from lm_basics.export import CONFIG_NAME, find_model_folder, parse_config
from lm_basics.model_config import TransformerConfig
from lm_shared.files import read_json


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
    return parse_config(_without_stretching(read_json(path)), path)[0]


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

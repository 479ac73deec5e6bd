"""Models as folders: ``config.json`` and ``model.safetensors``.

Where the architecture allows it, ``transformers`` and vLLM load the folder unchanged: as Qwen3 when
queries and keys are normalized, as Llama otherwise; see ``hugging_face_layout``. Any other model is
written in a layout of our own, which ``load_model`` alone reads.
"""

import errno
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from lm_basics.hugging_face_layout import (
    describe,
    foreign_name,
    from_foreign,
    parse_description,
    reason_against,
    to_foreign,
)
from lm_basics.model_config import TransformerConfig
from lm_basics.nn.ops import REFERENCE_OPS, Ops
from lm_basics.tokenizer import Tokenizer
from lm_basics.tokenizer.patterns import END_OF_TEXT
from lm_basics.transformer import TransformerLM
from lm_shared.config import from_dict, to_dict
from lm_shared.files import atomic_folder, read_json, write_bytes, write_json

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
MODEL_FOLDER_NAME = "model"
"""Where the folder of a training run has its model."""
OWN_TYPE = "lm_basics"
"""``model_type`` of the layout of our own."""

_MODEL_SUFFIXES = (".json", ".safetensors", ".jinja")

logger = logging.getLogger(__name__)


def save_model(
    model: TransformerLM,
    folder: Path | str,
    *,
    tokenizer: Tokenizer | None = None,
    chat_template: str | None = None,
    end_of_text: str = END_OF_TEXT,
) -> None:
    """Write ``model`` and, if given, its tokenizer; an existing folder is replaced as a whole.

    The tokenizer's special token ``end_of_text``, where it has that one, ends generated text. A
    model that neither Llama nor Qwen3 can express is written in our own layout, with a warning.
    """
    tensors: Mapping[str, Tensor] = model.state_dict()
    if reason := reason_against(model.config):
        logger.warning("Only this code can load %s: %s.", folder, reason)
        description = {"model_type": OWN_TYPE, "transformer": to_dict(model.config)}
    else:
        description = describe(model.config)
        tensors = to_foreign(tensors, model.config)
    if tokenizer is not None:
        end = tokenizer.special_token_ids.get(end_of_text)
        description |= {"bos_token_id": None, "eos_token_id": end, "pad_token_id": end}
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with atomic_folder(folder) as partial:
        write_json(partial / CONFIG_NAME, description)
        write_bytes(partial / WEIGHTS_NAME, safetensors.torch.save(plain, {"format": "pt"}))
        if tokenizer is not None:
            tokenizer.save(partial, end_of_text=end_of_text, chat_template=chat_template)


def check_model_folder(folder: Path | str) -> None:
    """Refuse a folder that ``save_model`` would replace although it holds other things.

    Raises:
        ValueError: a file in it is none that a saved model consists of.
        NotADirectoryError: it is a file.
    """
    folder = Path(folder)
    if folder.is_file():
        raise NotADirectoryError(errno.ENOTDIR, "a file stands where a folder should go", folder)
    foreign = sorted(p.name for p in folder.glob("*") if p.suffix not in _MODEL_SUFFIXES)
    if foreign:
        raise ValueError(
            f"{folder} holds {foreign[0]}, which is no part of a model, and would be replaced: "
            "choose another folder"
        )


def find_model_folder(folder: Path | str) -> Path:
    """Return the folder itself, or the model inside of it where it is that of a training run."""
    folder = Path(folder)
    inside = folder / MODEL_FOLDER_NAME
    has_own = (folder / WEIGHTS_NAME).exists()
    return inside if not has_own and (inside / CONFIG_NAME).is_file() else folder


def load_model(folder: Path | str, *, ops: Ops = REFERENCE_OPS) -> TransformerLM:
    """Read a folder of ours, or a Llama or Qwen3 folder of anybody, as float32 on the CPU.

    Of the folder of a training run it is the model that the run ended with.

    Raises:
        FileNotFoundError: The folder or one of its two files is missing.
        ValueError: Another architecture, an option that this model lacks, or damaged weights.
    """
    folder = find_model_folder(folder)
    config, is_own = parse_config(read_json(folder / CONFIG_NAME), folder / CONFIG_NAME)
    weights_path = folder / WEIGHTS_NAME
    if not weights_path.is_file():
        raise FileNotFoundError(f"{weights_path} does not exist")
    model = TransformerLM(config, ops=ops)
    try:
        found = safetensors.torch.load_file(weights_path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{weights_path} is damaged: {error}") from error
    expected = {name if is_own else foreign_name(name): name for name in model.state_dict()}
    # Tied heads and tables of angles are in some files although they can be derived.
    derived = {name for name in found if name.endswith("rotary_emb.inv_freq")}
    derived |= {"lm_head.weight"} if config.tie_embeddings else set()
    lacking, unknown = expected.keys() - found, found.keys() - expected - derived
    if lacking or unknown:
        raise ValueError(
            f"{weights_path} does not fit {CONFIG_NAME}: it lacks {sorted(lacking)} and holds "
            f"{sorted(unknown)}, which this model has no place for"
        )
    found = {name: found[name].float() for name in expected}
    try:
        model.load_state_dict(found if is_own else from_foreign(found, expected, config))
    except RuntimeError as error:
        raise ValueError(f"{weights_path} does not fit {CONFIG_NAME}: {error}") from error
    return model


def parse_config(data: Any, path: Path) -> tuple[TransformerConfig, bool]:
    """Return the configuration of a ``config.json``, and whether it is in the layout of our own.

    Args:
        data: What the file holds.
        path: Where it lies, for errors.

    Raises:
        ValueError: Another architecture, an option that this model lacks, or something else.
    """
    try:
        if data.get("model_type") == OWN_TYPE:
            return _parse_own(data["transformer"], path), True
        if "model_type" not in data and isinstance(data.get("model"), dict):
            # What a training run records of itself.
            return _parse_own(data["model"], path), True
        return parse_description(data, path), False
    except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise ValueError(
            f"{path} does not describe a model: {type(error).__name__} {error}"
        ) from error


def _parse_own(data: Any, path: Path) -> TransformerConfig:
    try:
        return from_dict(TransformerConfig, data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error

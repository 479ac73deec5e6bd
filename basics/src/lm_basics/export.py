"""Models as folders: ``config.json`` and ``model.safetensors``.

Where the architecture allows it, ``transformers`` and vLLM load the folder unchanged: as Qwen3 when
queries and keys are normalized, as Llama otherwise; see ``hugging_face_layout``. Any other model is
written in a layout of our own, which ``load_model`` alone reads.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from lm_basics.chat_template import ChatTemplate, read_chat_template
from lm_basics.hugging_face_layout import (
    describe,
    foreign_name,
    from_foreign,
    parse_description,
    reason_against,
    to_foreign,
)
from lm_basics.model_config import RopeConfig, TransformerConfig
from lm_basics.model_folder import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    find_model_folder,
    find_text_model,
)
from lm_basics.nn.ops import REFERENCE_OPS, Ops
from lm_basics.tokenizer import Tokenizer
from lm_basics.tokenizer.patterns import END_OF_TEXT
from lm_basics.tokenizer.tokenizer_json import read_end_of_text
from lm_basics.transformer import TransformerLM
from lm_shared.config import from_dict, to_dict
from lm_shared.files import atomic_folder, read_json, write_bytes, write_json

GENERATION_NAME = "generation_config.json"
OWN_TYPE = "lm_basics"
"""``model_type`` of the layout of our own."""

MODEL_PARTS = ("*.json", "*.safetensors", "*.jinja")
"""Files of a saved model, for ``claim_folder``."""

# Rows without a token: sizes are rounded up to a multiple of 256, or by a few hundredths.
_MOST_PADDING = 255
_MOST_PADDING_SHARE = 0.05

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
        description["dtype"] = str(model.output_weight.dtype).removeprefix("torch.")
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


def load_model(folder: Path | str, *, ops: Ops = REFERENCE_OPS) -> TransformerLM:
    """Read a folder of ours, or a Llama or Qwen3 folder of anybody, as float32 on the CPU.

    Of the folder of a training run it is the model that the run ended with.

    Raises:
        FileNotFoundError: The folder or one of its files is missing.
        ValueError: Another architecture, an option that this model lacks, or weights that are
            damaged or do not fit.
    """
    folder = find_model_folder(folder)
    config, is_own = parse_config(read_json(folder / CONFIG_NAME), folder / CONFIG_NAME)
    model = TransformerLM(config, ops=ops)
    expected = {name if is_own else foreign_name(name): name for name in model.state_dict()}
    found = _drop_derived(_read_tensors(folder), config, is_own=is_own, folder=folder)
    lacking, unknown = expected.keys() - found, found.keys() - expected
    if lacking or unknown:
        raise ValueError(
            f"the weights in {folder} do not fit {CONFIG_NAME}: they lack {sorted(lacking)} and "
            f"hold {sorted(unknown)}, which this model has no place for"
        )
    integers = sorted(name for name in expected if not found[name].is_floating_point())
    if integers:
        raise ValueError(f"{folder} holds integers where weights are expected: {integers}")
    found = {name: found[name].float() for name in expected}
    try:
        model.load_state_dict(found if is_own else from_foreign(found, expected, config))
    except RuntimeError as error:
        raise ValueError(f"the weights in {folder} do not fit {CONFIG_NAME}: {error}") from error
    return model


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    """Read the weights, from one file or from the parts that an index lists."""
    paths = [folder / WEIGHTS_NAME]
    index = folder / f"{WEIGHTS_NAME}.index.json"
    if not paths[0].is_file() and index.is_file():
        parts = read_json(index).get("weight_map", {})
        # Names alone: an index must not lead out of the folder.
        paths = [folder / Path(str(name)).name for name in sorted(set(parts.values()))]
    tensors: dict[str, Tensor] = {}
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist")
        try:
            tensors |= safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
    return tensors


def _drop_derived(
    tensors: Mapping[str, Tensor], config: TransformerConfig, *, is_own: bool, folder: Path
) -> dict[str, Tensor]:
    """Leave out what some files hold although it follows from the rest, where it does follow.

    Raises:
        ValueError: A tied head or a table of wavelengths differs from what it should repeat.
    """
    kept = dict(tensors)
    table = "token_embeddings.weight" if is_own else foreign_name("token_embeddings.weight")
    head = kept.pop("lm_head.weight", None) if config.tie_embeddings else None
    if head is not None and (table not in kept or not torch.equal(head, kept[table])):
        raise ValueError(
            f"{folder / CONFIG_NAME} ties the output head to the embedding, but the weights hold "
            f"an lm_head.weight that is not {table}: set tie_word_embeddings to false to keep both"
        )
    position = config.block(0).attention.position
    for name in [name for name in kept if name.endswith("rotary_emb.inv_freq")]:
        frequencies = kept.pop(name)
        if isinstance(position, RopeConfig):
            width = 2 * len(frequencies)
            expected = position.theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
            if not torch.allclose(frequencies.double(), expected, rtol=1e-2):
                raise ValueError(f"{name} in {folder} is not that of theta={position.theta}")
    return kept


@dataclass(frozen=True, kw_only=True, slots=True)
class TextModel:
    """A model with what it takes to read and write text."""

    model: TransformerLM
    """Predicts the tokens."""
    tokenizer: Tokenizer
    """Its tokenizer."""
    stop_token_ids: tuple[int, ...]
    """Tokens that end what it writes; none where nothing names any."""
    begin_ids: tuple[int, ...]
    """What it goes on from where there is no prompt."""
    chat_template: ChatTemplate | None
    """How it was taught to read a conversation; None where nothing tells."""

    def encode_prompt(self, text: str) -> list[int]:
        """Return the ids of a text to go on from; an empty one begins a document.

        Raises:
            ValueError: An empty text, and the model has no token that begins one.
        """
        ids = self.tokenizer.encode(text) or list(self.begin_ids)
        if not ids:
            raise ValueError(
                "an empty prompt begins with the end-of-text token, but the model names none: "
                "give a prompt"
            )
        return ids

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the ids after which the model answers the last of ``messages``.

        Raises:
            ValueError: The model has no chat template, or it refuses these turns.
        """
        if self.chat_template is None:
            raise ValueError("the model has no chat template: it was not taught to answer")
        return self.chat_template.encode(self.tokenizer, messages)


def load_text_model(
    folder: Path | str, *, tokenizer: Path | str | None = None, ops: Ops = REFERENCE_OPS
) -> TextModel:
    """Read a model and its tokenizer: a run, a model folder or a Hugging Face folder.

    Args:
        folder: Where they are.
        tokenizer: Folder of the tokenizer, for a model that was saved without.
        ops: The operations that the model calls.

    Raises:
        FileNotFoundError: The folder or one of its files is missing.
        ValueError: What ``load_model`` refuses, or a tokenizer of another model.

    Many models have more rows than their tokenizer has ids, to round sizes up for a GPU. These rows
    are left out, so that nothing can draw a token without a text; far more are refused.
    """
    folder, tokens = find_text_model(folder, tokenizer)
    encoder, model = Tokenizer.from_folder(tokens), load_model(folder, ops=ops)
    named = encoder.special_token_ids.get(read_end_of_text(tokens) or END_OF_TEXT)
    stops = _named_ids(folder, "eos_token_id") or (() if named is None else (named,))
    num_tokens, num_rows = encoder.vocab_size, model.config.vocab_size
    num_padding, most = num_rows - num_tokens, max(_MOST_PADDING, _MOST_PADDING_SHARE * num_rows)
    if not 0 <= num_padding <= most:
        raise ValueError(
            f"the tokenizer in {tokens} has {num_tokens:,} tokens, the model in {folder} "
            f"{num_rows:,}: they do not belong together"
        )
    if stops and encoder.vocab.keys().isdisjoint(stops):
        raise ValueError(
            f"the model in {folder} ends with token {stops[0]:,}, which the tokenizer in {tokens} "
            f"with its {encoder.vocab_size:,} tokens lacks: they do not belong together"
        )
    if num_padding:
        logger.info(
            "The tokenizer in %s has no text for %d rows of the model in %s: they are left out.",
            tokens,
            num_padding,
            folder,
        )
        model.drop_tokens_from(num_tokens)
    return TextModel(
        model=model,
        tokenizer=encoder,
        stop_token_ids=stops,
        begin_ids=_named_ids(folder, "bos_token_id")[:1] or stops[:1],
        chat_template=read_chat_template(tokens),
    )


def _named_ids(folder: Path, key: str) -> tuple[int, ...]:
    """Return the ids under ``key`` in the first file that names any, as transformers looks."""
    for name in (GENERATION_NAME, CONFIG_NAME):
        path = folder / name
        data = read_json(path) if path.is_file() else {}
        ids = data.get(key) if isinstance(data, dict) else None
        ids = ids if isinstance(ids, list) else [] if ids is None else [ids]
        if not all(isinstance(one, int) and one >= 0 for one in ids):
            raise ValueError(f"{path}: {key} must hold token ids, got {ids}")
        if ids:
            return tuple(ids)
    return ()


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

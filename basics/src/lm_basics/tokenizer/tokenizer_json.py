"""The tokenizer folder of Hugging Face: ``tokenizer.json`` and ``tokenizer_config.json``.

``tokenizers``, ``transformers`` and vLLM load the folder and give the same ids. Reading refuses
every feature that this code does not have, because ignoring one would change ids silently.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_basics.tokenizer.patterns import END_OF_TEXT, GPT2_PATTERN
from lm_basics.tokenizer.vocabulary import (
    from_named_vocabulary,
    from_visible,
    to_named_vocabulary,
    to_visible,
)
from lm_shared.files import read_json, write_json

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"

_REPEATED_COUNT = re.compile(r"\{\d+(,\d*)?\}\+")


@dataclass(frozen=True, kw_only=True, slots=True)
class BpeTables:
    """Everything that decides a byte-level BPE tokenizer's ids."""

    vocab: Mapping[int, bytes]
    """Bytes of every id, special tokens included."""
    merges: Sequence[tuple[bytes, bytes]]
    """Merges in the order of their creation."""
    special_token_ids: Mapping[str, int]
    """Ids of the special tokens."""
    pattern: str = GPT2_PATTERN
    """Regular expression of the pre-tokens."""

    def hash(self) -> str:
        """Return the SHA-256, in hex, of all four."""
        tables = {
            "vocab": [[token_id, token.hex()] for token_id, token in sorted(self.vocab.items())],
            "merges": [[left.hex(), right.hex()] for left, right in self.merges],
            "special_token_ids": dict(self.special_token_ids),
            "pattern": self.pattern,
        }
        return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()


def write_tokenizer_folder(
    tables: BpeTables,
    folder: Path,
    *,
    end_of_text: str = END_OF_TEXT,
    chat_template: str | None = None,
) -> None:
    """Write both files; other files in ``folder`` stay.

    Args:
        tables: the tokenizer.
        folder: made if there is none.
        end_of_text: becomes ``eos_token`` where it is one of the special tokens.
        chat_template: Jinja template for ``apply_chat_template`` of transformers.
    """
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000_000,
    }
    if end_of_text in tables.special_token_ids:
        config["eos_token"] = end_of_text
    if chat_template is not None:
        config["chat_template"] = chat_template
    write_json(folder / TOKENIZER_FILE, _to_json(tables))
    write_json(folder / CONFIG_FILE, config)


def read_tokenizer_folder(folder: Path) -> BpeTables:
    """Read ``tokenizer.json``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or asks for more than byte-level BPE.
    """
    path = folder / TOKENIZER_FILE
    data = read_json(path)
    try:
        return _from_json(data)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a tokenizer: {error!r}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_end_of_text(folder: Path) -> str | None:
    """Return the ``eos_token`` of ``tokenizer_config.json``, ``None`` where nothing names one.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        return None
    config = read_json(path)
    token = config.get("eos_token") if isinstance(config, dict) else None
    # Others also write it like an added token, with its content and options.
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None


def _to_json(tables: BpeTables) -> dict[str, Any]:
    special_ids = set(tables.special_token_ids.values())
    added = [
        {
            "id": token_id,
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for content, token_id in sorted(tables.special_token_ids.items(), key=lambda item: item[1])
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(tables.pattern),
        "post_processor": None,
        "decoder": _byte_level(use_regex=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": to_named_vocabulary(tables.vocab, special_ids),
            "merges": [[to_visible(left), to_visible(right)] for left, right in tables.merges],
        },
    }


def _byte_level(*, use_regex: bool) -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def _pre_tokenizer(pattern: str) -> dict[str, Any]:
    """Return GPT-2's built-in splitting, or a split by ``pattern`` and then the bytes."""
    if pattern == GPT2_PATTERN:
        return _byte_level(use_regex=True)
    if _REPEATED_COUNT.search(pattern):
        raise ValueError(
            f"Hugging Face tokenizers read {{1,3}}+ as a repetition, so the pattern {pattern!r} "
            "would cut other pre-tokens there: leave the + out"
        )
    split = {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(use_regex=False)]}


def _from_json(data: Mapping[str, Any]) -> BpeTables:
    model = data["model"]
    _refuse(model, ("unk_token", "byte_fallback", "ignore_merges", "dropout"), "model")
    _refuse(model, ("continuing_subword_prefix", "end_of_word_suffix"), "model")
    _refuse(data, ("normalizer", "truncation", "padding"), "tokenizer")
    post_processor = data.get("post_processor") or {"type": "ByteLevel"}
    if post_processor["type"] != "ByteLevel":
        raise ValueError(f"cannot add tokens to a text as {post_processor['type']} does")
    if model.get("type", "BPE") != "BPE":
        raise ValueError(f"expected a model of type BPE, got {model['type']!r}")
    for token in data["added_tokens"]:
        _refuse(token, ("single_word", "lstrip", "rstrip"), f"added token {token['content']!r}")
    special_token_ids = {token["content"]: token["id"] for token in data["added_tokens"]}
    # Hugging Face also allows added tokens that are missing from the model's vocabulary.
    vocab = from_named_vocabulary(model["vocab"] | special_token_ids, special_token_ids)
    merges = [_parse_merge(merge) for merge in model["merges"]]
    return BpeTables(
        vocab=vocab,
        merges=merges,
        special_token_ids=special_token_ids,
        pattern=_parse_pattern(data["pre_tokenizer"]),
    )


def _refuse(section: Mapping[str, Any], features: Sequence[str], name: str) -> None:
    """Raise if one of ``features`` is switched on."""
    for feature in features:
        if section.get(feature):
            raise ValueError(f"{name} uses {feature}={section[feature]!r}, which is not supported")


def _parse_merge(merge: str | Sequence[str]) -> tuple[bytes, bytes]:
    """Read a merge; versions of tokenizers before 0.20 wrote one string with a space in it."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return from_visible(left), from_visible(right)


def _parse_pattern(pre_tokenizer: Mapping[str, Any]) -> str:
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    *splits, byte_level = steps
    if byte_level["type"] != "ByteLevel" or byte_level["add_prefix_space"]:
        raise ValueError(f"expected ByteLevel without add_prefix_space, got {byte_level}")
    if not splits and byte_level.get("use_regex", True):
        return GPT2_PATTERN
    if len(splits) == 1 and splits[0]["type"] == "Split" and not byte_level.get("use_regex", True):
        (split,) = splits
        if split["behavior"] == "Isolated" and not split["invert"]:
            return split["pattern"]["Regex"]
    raise ValueError(f"cannot split text as {pre_tokenizer} does")

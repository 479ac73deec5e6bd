"""Models in the Hugging Face layout: ``config.json`` and ``model.safetensors``.

``transformers`` and vLLM load the folder unchanged: as Qwen3 when queries and keys are normalized,
as Llama otherwise. Those rotate the first half of a head against the second, this code rotates
neighbors, so the rows of the query and key projections change places on the way.
"""

from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from jaxtyping import Float
from torch import Tensor

from lm_basics.model_config import TransformerConfig, uniform_transformer
from lm_basics.nn.ops import REFERENCE_OPS, Ops
from lm_basics.tokenizer import END_OF_TEXT, Tokenizer
from lm_basics.transformer import TransformerLM
from lm_shared.files import atomic_folder, read_json, write_bytes, write_json

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"

_LAYER_NAMES = {
    "attn.q_proj": "self_attn.q_proj",
    "attn.k_proj": "self_attn.k_proj",
    "attn.v_proj": "self_attn.v_proj",
    "attn.output_proj": "self_attn.o_proj",
    "attn.q_norm": "self_attn.q_norm",
    "attn.k_norm": "self_attn.k_norm",
    "ln1": "input_layernorm",
    "ln2": "post_attention_layernorm",
    "ffn.w1": "mlp.gate_proj",
    "ffn.w2": "mlp.down_proj",
    "ffn.w3": "mlp.up_proj",
}
_OUTER_NAMES = {
    "token_embeddings": "model.embed_tokens",
    "ln_final": "model.norm",
    "lm_head": "lm_head",
}
_ROTATED = ("attn.q_proj", "attn.k_proj", "attn.q_norm", "attn.k_norm")


def save_model(
    model: TransformerLM,
    folder: Path | str,
    *,
    tokenizer: Tokenizer | None = None,
    chat_template: str | None = None,
    end_of_text: str = END_OF_TEXT,
) -> None:
    """Write ``model`` and, if given, its tokenizer; an existing folder is replaced as a whole.

    The tokenizer's special token ``end_of_text``, where it has that one, ends generated text.

    Raises:
        ValueError: The blocks differ, which neither Llama nor Qwen3 can express.
    """
    config = _describe(model.config, tokenizer, end_of_text)
    d_head = model.config.d_model // model.config.block(0).attention.num_heads
    tensors = {
        _foreign_name(name): _halve(value, d_head) if _is_rotated(name) else value
        for name, value in model.state_dict().items()
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with atomic_folder(folder) as partial:
        write_json(partial / CONFIG_NAME, config)
        write_bytes(partial / WEIGHTS_NAME, safetensors.torch.save(tensors, {"format": "pt"}))
        if tokenizer is not None:
            tokenizer.save(partial, end_of_text=end_of_text, chat_template=chat_template)


def load_model(folder: Path | str, *, ops: Ops = REFERENCE_OPS) -> TransformerLM:
    """Read a Llama or Qwen3 folder, whoever wrote it, as float32 on the CPU.

    Raises:
        FileNotFoundError: The folder or one of its two files is missing.
        ValueError: Another architecture, an option that this model lacks, or damaged weights.
    """
    folder = Path(folder)
    config = _read_config(folder)
    weights_path = folder / WEIGHTS_NAME
    if not weights_path.is_file():
        raise FileNotFoundError(f"{weights_path} does not exist")
    model = TransformerLM(config, ops=ops)
    try:
        foreign = safetensors.torch.load_file(weights_path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{weights_path} is damaged: {error}") from error
    expected = {_foreign_name(name): name for name in model.state_dict()}
    # Tied heads and tables of angles are in some files although they can be derived.
    derived = {name for name in foreign if name.endswith("rotary_emb.inv_freq")}
    derived |= {"lm_head.weight"} if config.tie_embeddings else set()
    lacking, unknown = expected.keys() - foreign, foreign.keys() - expected - derived
    if lacking or unknown:
        raise ValueError(
            f"{weights_path} does not fit {CONFIG_NAME}: it lacks {sorted(lacking)} and holds "
            f"{sorted(unknown)}, which this model has no place for"
        )
    d_head = config.d_model // config.block(0).attention.num_heads
    try:
        model.load_state_dict(
            {
                own: _interleave(foreign[name].float(), d_head)
                if _is_rotated(own)
                else foreign[name].float()
                for name, own in expected.items()
            }
        )
    except RuntimeError as error:
        raise ValueError(f"{weights_path} does not fit {CONFIG_NAME}: {error}") from error
    return model


def _describe(
    config: TransformerConfig, tokenizer: Tokenizer | None, end_of_text: str
) -> dict[str, Any]:
    if len(set(config.pattern)) > 1:
        raise ValueError(f"the Hugging Face layout needs equal blocks, got {config.pattern}")
    block = config.block(0)
    theta = block.attention.position.theta
    kind = "qwen3" if block.attention.qk_norm else "llama"
    architecture = {"qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}[kind]
    description = {
        "architectures": [architecture],
        "model_type": kind,
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": block.feedforward.d_ff,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": block.attention.num_heads,
        "num_key_value_heads": block.attention.count_kv_heads(),
        "head_dim": config.d_model // block.attention.num_heads,
        "hidden_act": "silu",
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_eps,
        # Both spellings: transformers reads the second since version 5, most other tools the first.
        "rope_theta": theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": config.tie_embeddings,
        "dtype": "float32",
    }
    if tokenizer is not None:
        end = tokenizer.special_token_ids.get(end_of_text)
        description |= {"bos_token_id": None, "eos_token_id": end, "pad_token_id": end}
    return description


def _read_config(folder: Path) -> TransformerConfig:
    data = read_json(folder / CONFIG_NAME)
    try:
        return _parse(data, folder)
    except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise ValueError(
            f"{folder / CONFIG_NAME} does not describe a model: {type(error).__name__} {error}"
        ) from error


def _parse(data: dict[str, Any], folder: Path) -> TransformerConfig:
    kind = data.get("model_type")
    if kind not in ("llama", "qwen3"):
        raise ValueError(f"{folder} holds a model of type {kind!r}, expected llama or qwen3")
    num_heads, d_model = data["num_attention_heads"], data["hidden_size"]
    num_kv_heads = data.get("num_key_value_heads") or num_heads
    d_head = data.get("head_dim") or d_model // num_heads
    rope = data.get("rope_parameters") or data.get("rope_scaling") or {}
    unsupported = {
        "attention_bias": data.get("attention_bias", False),
        "mlp_bias": data.get("mlp_bias", False),
        # "type" is how files from before 2024 spell it.
        "rope_type": rope.get("rope_type", rope.get("type", "default")) != "default",
        "use_sliding_window": data.get("use_sliding_window", False),
        "head_dim": d_head * num_heads != d_model,
        "hidden_act": data.get("hidden_act", "silu") != "silu",
    }
    if any(unsupported.values()):
        names = ", ".join(name for name, present in unsupported.items() if present)
        raise ValueError(f"{folder}: this model has no support for the values of {names}")
    return uniform_transformer(
        vocab_size=data["vocab_size"],
        context_length=data["max_position_embeddings"],
        d_model=d_model,
        num_layers=data["num_hidden_layers"],
        num_heads=num_heads,
        num_kv_heads=None if num_kv_heads == num_heads else num_kv_heads,
        d_ff=data["intermediate_size"],
        qk_norm=kind == "qwen3",
        rope_theta=rope.get("rope_theta", data.get("rope_theta", 10_000.0)),
        norm_eps=data["rms_norm_eps"],
        tie_embeddings=data.get("tie_word_embeddings", False),
    )


def _foreign_name(name: str) -> str:
    """Translate a state-dict key of ours."""
    if not name.startswith("layers."):
        module = name.removesuffix(".weight")
        return f"{_OUTER_NAMES[module]}.weight"
    _, index, inner = name.split(".", 2)
    return f"model.layers.{index}.{_LAYER_NAMES[inner.removesuffix('.weight')]}.weight"


def _is_rotated(name: str) -> bool:
    return name.removesuffix(".weight").endswith(_ROTATED)


def _halve(rows: Float[Tensor, "rows *columns"], d_head: int) -> Float[Tensor, "rows *columns"]:
    """Move the even rows of each head before its odd ones."""
    pairs = rows.unflatten(0, (-1, d_head // 2, 2))
    return pairs.transpose(1, 2).flatten(0, 2)


def _interleave(
    rows: Float[Tensor, "rows *columns"], d_head: int
) -> Float[Tensor, "rows *columns"]:
    """Undo ``_halve``."""
    halves = rows.unflatten(0, (-1, 2, d_head // 2))
    return halves.transpose(1, 2).flatten(0, 2)

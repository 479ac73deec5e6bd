"""Models as Llama and Qwen3 are described and named by Hugging Face.

Those rotate the first half of a head against the second, this code rotates neighbors, so the rows
of the query and key projections change places on the way.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from lm_basics.model_config import (
    FullAttention,
    RopeConfig,
    SwiGLUConfig,
    TransformerConfig,
    uniform_transformer,
)

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


def reason_against(config: TransformerConfig) -> str | None:
    """Return what neither Llama nor Qwen3 can express, ``None`` if there is nothing."""
    block = config.block(0)
    obstacles = {
        "its blocks differ": len(set(config.pattern)) > 1,
        f"its attention is {type(block.attention).__name__}": type(block.attention)
        is not FullAttention,
        "its attention has no rotation": not isinstance(block.attention.position, RopeConfig),
        "its feed-forward layers are no SwiGLU": not isinstance(block.feedforward, SwiGLUConfig),
        f"it has {block.norm} norm": block.norm != "pre" or not config.final_norm,
        "positions are added to its embeddings": config.position_embedding is not None,
    }
    return next((reason for reason, is_there in obstacles.items() if is_there), None)


def to_foreign(
    tensors: Mapping[str, Tensor], config: TransformerConfig
) -> dict[str, Float[Tensor, "*shape"]]:
    """Return the tensors of a state dict of ours under the names of Hugging Face."""
    d_head = config.block(0).attention.head_width(config.d_model)
    return {
        foreign_name(name): _halve(value, d_head) if _is_rotated(name) else value
        for name, value in tensors.items()
    }


def from_foreign(
    tensors: Mapping[str, Tensor], expected: Mapping[str, str], config: TransformerConfig
) -> dict[str, Float[Tensor, "*shape"]]:
    """Undo ``to_foreign``; ``expected`` holds our name for each foreign one."""
    d_head = config.block(0).attention.head_width(config.d_model)
    return {
        own: _interleave(tensors[name], d_head) if _is_rotated(own) else tensors[name]
        for name, own in expected.items()
    }


def describe(config: TransformerConfig) -> dict[str, Any]:
    """Return what ``config.json`` holds.

    Raises:
        ValueError: neither Llama nor Qwen3 can express the model.
    """
    block = config.block(0)
    position, layer = block.attention.position, block.feedforward
    reason = reason_against(config)
    if reason or not (isinstance(position, RopeConfig) and isinstance(layer, SwiGLUConfig)):
        raise ValueError(f"neither Llama nor Qwen3 can express the model: {reason}")
    theta = position.theta
    kind = "qwen3" if block.attention.qk_norm else "llama"
    architecture = {"qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}[kind]
    return {
        "architectures": [architecture],
        "model_type": kind,
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": layer.d_ff,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": block.attention.num_heads,
        "num_key_value_heads": block.attention.count_kv_heads(),
        "head_dim": block.attention.head_width(config.d_model),
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


def parse_description(data: Mapping[str, Any], path: Path) -> TransformerConfig:
    """Return the configuration that a ``config.json`` describes.

    Raises:
        ValueError: it is another kind of model, or has options that this code lacks.
        KeyError: something is missing.
    """
    kind = data.get("model_type")
    if kind not in ("llama", "qwen3"):
        raise ValueError(f"{path} is of a model of type {kind!r}, expected llama or qwen3")
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
        "partial_rotary_factor": (
            rope.get("partial_rotary_factor", data.get("partial_rotary_factor", 1.0)) != 1.0
        ),
        # One rotation for each type of layer, as newer files may write it.
        "rope_parameters": any(isinstance(value, dict) for value in rope.values()),
        "layer_types": any(one != "full_attention" for one in data.get("layer_types") or ()),
        "hidden_act": data.get("hidden_act", "silu") != "silu",
        "quantization_config": bool(data.get("quantization_config")),
    }
    if any(unsupported.values()):
        names = ", ".join(name for name, present in unsupported.items() if present)
        raise ValueError(f"{path}: this model has no support for the values of {names}")
    return uniform_transformer(
        vocab_size=data["vocab_size"],
        context_length=data["max_position_embeddings"],
        d_model=d_model,
        num_layers=data["num_hidden_layers"],
        num_heads=num_heads,
        num_kv_heads=None if num_kv_heads == num_heads else num_kv_heads,
        d_head=None if d_head * num_heads == d_model else d_head,
        d_ff=data["intermediate_size"],
        qk_norm=kind == "qwen3",
        rope_theta=rope.get("rope_theta", data.get("rope_theta", 10_000.0)),
        norm_eps=data["rms_norm_eps"],
        tie_embeddings=data.get("tie_word_embeddings", False),
    )


def foreign_name(name: str) -> str:
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

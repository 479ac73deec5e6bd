"""Exported folders, loaded by this code; ``test_transformers_models.py`` loads them elsewhere."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from basics.tests.exported_models import VARIANTS, varied_model
from lm_basics.export import load_model, save_model
from lm_basics.hugging_face_layout import describe, reason_against
from lm_basics.model_config import (
    FullAttention,
    MixtureOfExpertsConfig,
    MLPConfig,
    NoPosition,
    SinusoidalConfig,
    SlidingWindowAttention,
)
from lm_basics.transformer import TransformerLM


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_saved_model_loads_to_the_bit(variant: dict[str, object], tmp_path: Path) -> None:
    model = varied_model(variant)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.config == model.config
    for a, b in zip(loaded.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)


BLOCK = varied_model({}).config.block(0)
NOT_LLAMA = {
    "its blocks differ": {"pattern": (BLOCK, replace(BLOCK, attention=FullAttention(num_heads=2)))},
    "its attention is SlidingWindowAttention": {
        "pattern": (replace(BLOCK, attention=SlidingWindowAttention(num_heads=4, window=3)),)
    },
    "its attention has no rotation": {
        "pattern": (replace(BLOCK, attention=FullAttention(num_heads=4, position=NoPosition())),)
    },
    "its feed-forward layers are no SwiGLU": {
        "pattern": (
            replace(
                BLOCK,
                feedforward=MixtureOfExpertsConfig(
                    num_experts=3, num_active=2, expert=MLPConfig(d_ff=8, activation="gelu")
                ),
            ),
        )
    },
    "it has post norm": {"pattern": (replace(BLOCK, norm="post"),)},
    "it has none norm": {"pattern": (replace(BLOCK, norm="none"),), "final_norm": False},
    "positions are added to its embeddings": {"position_embedding": SinusoidalConfig()},
}


@pytest.mark.parametrize("reason", NOT_LLAMA)
def test_what_llama_cannot_express_is_loaded_by_us_alone(
    reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = replace(varied_model({}).config, **NOT_LLAMA[reason])
    assert reason_against(config) == reason
    model, ids = TransformerLM(config), torch.randint(40, (2, 16))
    with caplog.at_level(logging.WARNING):
        save_model(model, tmp_path / "model")
    assert f"Only this code can load {tmp_path / 'model'}: {reason}." in caplog.messages
    loaded = load_model(tmp_path / "model")
    assert loaded.config == config
    assert torch.equal(loaded(ids), model(ids))
    with pytest.raises(
        ValueError, match=f"neither Llama nor Qwen3 can express the model: {reason}"
    ):
        describe(config)


def test_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_model(folder)
    save_model(varied_model({}), folder)
    description = json.loads((folder / "config.json").read_text())
    for change, message in [
        ({"model_type": "gpt2"}, "type 'gpt2', expected llama or qwen3"),
        ({"attention_bias": True}, "no support for the values of attention_bias"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear"}}, "the values of rope_type"),
        ({"num_hidden_layers": 1}, r"lacks \[\] and holds \['model\.layers\.1"),
        ({"num_hidden_layers": 3}, r"lacks \['model\.layers\.2"),
        (
            {"head_dim": None, "num_attention_heads": 0},
            r"config\.json does not describe a model: ZeroDivision",
        ),
        ({"head_dim": None, "num_attention_heads": "2"}, "not describe a model: TypeError"),
        ({"d_model": 1, "intermediate_size": 65}, r"does not fit config\.json"),
    ]:
        (folder / "config.json").write_text(json.dumps(description | change))
        with pytest.raises(ValueError, match=message):
            load_model(folder)
    for useless in ("[]", json.dumps({"model_type": "llama"})):
        (folder / "config.json").write_text(useless)
        with pytest.raises(ValueError, match="does not describe a model"):
            load_model(folder)
    (folder / "config.json").write_text(json.dumps(description | {"head_dim": None}))
    load_model(folder)
    (folder / "config.json").write_text(json.dumps(description))
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors does not exist"):
        load_model(folder)


def test_the_folder_of_a_training_run_stands_for_its_model(tmp_path: Path) -> None:
    model = varied_model({})
    save_model(model, tmp_path / "run" / "model")
    (tmp_path / "run" / "config.json").write_text("{}")
    loaded = load_model(tmp_path / "run")
    assert torch.equal(loaded.output_weight, model.output_weight)
    # A folder with weights of its own is a model, whatever lies inside.
    other = varied_model({})
    save_model(other, tmp_path / "outer")
    save_model(model, tmp_path / "outer" / "model")
    assert torch.equal(load_model(tmp_path / "outer").output_weight, other.output_weight)

"""Exported folders, loaded by transformers and by this code."""

import json
from pathlib import Path

import pytest
import torch
import transformers

from lm_basics.export import load_model, save_model
from lm_basics.model_config import TransformerConfig, uniform_transformer
from lm_basics.transformer import TransformerLM

VARIANTS = [
    {},
    {"num_kv_heads": 2, "rope_theta": 500.0},
    {"qk_norm": True, "tie_embeddings": True},
    {"qk_norm": True, "num_kv_heads": 1, "d_ff": 48},
]


def _model(variant: dict[str, object]) -> TransformerLM:
    values: dict[str, object] = {
        "vocab_size": 40,
        "context_length": 16,
        "d_model": 24,
        "num_layers": 2,
        "num_heads": 4,
    }
    config = uniform_transformer(**{**values, **variant})  # pyright: ignore[reportArgumentType]
    model = TransformerLM(config)
    # Gains of one would hide a permutation that is forgotten.
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_transformers_gives_the_same_logits(variant: dict[str, object], tmp_path: Path) -> None:
    model, ids = _model(variant), torch.randint(40, (2, 16))
    save_model(model, tmp_path / "model")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(theirs(ids).logits, model(ids), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_saved_model_loads_to_the_bit(variant: dict[str, object], tmp_path: Path) -> None:
    model = _model(variant)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.config == model.config
    for a, b in zip(loaded.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_model_of_transformers_loads(tmp_path: Path) -> None:
    config = transformers.Qwen3Config(
        vocab_size=40,
        hidden_size=24,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        max_position_embeddings=16,
    )
    theirs = transformers.Qwen3ForCausalLM(config)
    theirs.save_pretrained(tmp_path)
    ids = torch.randint(40, (2, 16))
    torch.testing.assert_close(load_model(tmp_path)(ids), theirs(ids).logits, rtol=1e-4, atol=1e-4)


def test_blocks_that_differ_are_refused(tmp_path: Path) -> None:
    blocks = tuple(
        uniform_transformer(
            vocab_size=9, context_length=8, d_model=16, num_layers=1, num_heads=n
        ).pattern[0]
        for n in (2, 4)
    )
    config = TransformerConfig(
        vocab_size=9, context_length=8, d_model=16, num_layers=2, pattern=blocks
    )
    with pytest.raises(ValueError, match="needs equal blocks"):
        save_model(TransformerLM(config), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_model(folder)
    save_model(_model({}), folder)
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

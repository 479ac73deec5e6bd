"""Models of transformers: exported ones, and the sizes of published ones.

Together in one file, because the first of a process imports seconds of transformers.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from basics.tests.exported_models import VARIANTS, varied_model
from lm_basics.accounting import PUBLISHED
from lm_basics.accounting.published import find_model
from lm_basics.export import load_model, save_model
from lm_basics.model_config import SwiGLUConfig, TransformerConfig


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_transformers_gives_the_same_logits(variant: dict[str, object], tmp_path: Path) -> None:
    model, ids = varied_model(variant), torch.randint(40, (2, 16))
    save_model(model, tmp_path / "model")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(theirs(ids).logits, model(ids), rtol=1e-4, atol=1e-4)


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


@pytest.mark.parametrize("name", ["gpt2-small", "gpt2-xl"])
def test_published_counts_of_gpt2_are_those_of_its_class(name: str) -> None:
    config = PUBLISHED[name].config
    shape = transformers.GPT2Config(
        n_layer=config.num_layers,
        n_embd=config.d_model,
        n_head=config.block(0).attention.num_heads,
    )
    with torch.device("meta"):
        model = transformers.GPT2LMHeadModel(shape)
    assert model.num_parameters() == PUBLISHED[name].parameters


@pytest.mark.parametrize("name", ["llama3-8b", "llama3-405b"])
def test_published_counts_of_llama_are_those_of_its_class(name: str) -> None:
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(_llama_config(PUBLISHED[name].config))
    assert model.num_parameters() == PUBLISHED[name].parameters


def _llama_config(config: TransformerConfig) -> Any:
    block = config.block(0)
    assert isinstance(block.feedforward, SwiGLUConfig)
    return transformers.LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.d_model,
        intermediate_size=block.feedforward.d_ff,
        num_hidden_layers=config.num_layers,
        num_attention_heads=block.attention.num_heads,
        num_key_value_heads=block.attention.count_kv_heads(),
    )


def test_configurations_of_transformers_are_read(tmp_path: Path) -> None:
    qwen = transformers.Qwen3Config(num_hidden_layers=2, hidden_size=64, head_dim=32)
    qwen.save_pretrained(tmp_path)
    config = find_model(str(tmp_path))
    attention = config.block(0).attention
    assert attention.qk_norm
    assert attention.head_width(config.d_model) == 32
    assert config.num_layers == 2

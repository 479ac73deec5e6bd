"""Exported folders, loaded by this code; ``test_transformers_models.py`` loads them elsewhere."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from basics.tests.exported_models import VARIANTS, varied_model
from lm_basics.decoding import generate
from lm_basics.export import load_model, load_text_model, save_model
from lm_basics.hugging_face_layout import describe, reason_against
from lm_basics.model_config import (
    FullAttention,
    MixtureOfExpertsConfig,
    MLPConfig,
    NoPosition,
    SinusoidalConfig,
    SlidingWindowAttention,
)
from lm_basics.sampling_config import SamplingConfig
from lm_basics.tokenizer import END_OF_TEXT, Tokenizer
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
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}}, "values of rope_parameters"),
        ({"partial_rotary_factor": 0.5}, "the values of partial_rotary_factor"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "the values of layer_types"),
        ({"quantization_config": {"quant_method": "fp8"}}, "the values of quantization_config"),
        ({"num_hidden_layers": 1}, r"lack \[\] and hold \['model\.layers\.1"),
        ({"num_hidden_layers": 3}, r"lack \['model\.layers\.2"),
        (
            {"head_dim": None, "num_attention_heads": 0},
            r"config\.json does not describe a model: ZeroDivision",
        ),
        ({"head_dim": None, "num_attention_heads": "2"}, "not describe a model: TypeError"),
        ({"d_model": 1, "intermediate_size": 65}, r"do not fit config\.json"),
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


def test_a_description_may_leave_out_what_has_a_default(tmp_path: Path) -> None:
    model = varied_model({"rope_theta": 500.0})
    save_model(model, tmp_path)
    path = tmp_path / "config.json"
    description = json.loads(path.read_text())
    for spelling in ("rope_theta", "rope_parameters"):
        # Each of the two spellings of the base is enough.
        kept = {key: value for key, value in description.items() if key != spelling}
        kept.pop("tie_word_embeddings")
        kept.pop("num_key_value_heads")
        path.write_text(json.dumps(kept))
        assert load_model(tmp_path).config == model.config


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


def _change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


HEAD, TABLE = "lm_head.weight", "model.embed_tokens.weight"
FREQUENCIES = "model.layers.0.self_attn.rotary_emb.inv_freq"


@pytest.mark.parametrize("is_own", [False, True], ids=["llama", "own"])
def test_a_tied_model_with_two_tables_is_refused_unless_they_are_equal(
    is_own: bool, tmp_path: Path
) -> None:
    config = replace(varied_model({}).config, tie_embeddings=True)
    if is_own:
        config = replace(config, position_embedding=SinusoidalConfig())
    model = TransformerLM(config)
    save_model(model, tmp_path)
    table = "token_embeddings.weight" if is_own else TABLE
    _change_weights(tmp_path, lambda found: found.update({HEAD: found[table].clone()}))
    assert torch.equal(load_model(tmp_path).output_weight, model.output_weight)
    _change_weights(tmp_path, lambda found: found[HEAD][3, 1].add_(1e-3))
    with pytest.raises(ValueError, match=f"holds? an lm_head.weight that is not {table}"):
        load_model(tmp_path)
    _change_weights(tmp_path, lambda found: found.pop(table))
    with pytest.raises(ValueError, match=f"that is not {table}"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.pop(HEAD), r"they lack \['lm_head.weight'\]"),
        (lambda found: found.pop(TABLE), r"they lack \['model.embed_tokens.weight'\]"),
        (
            lambda found: found.update({"model.layers.0.self_attn.q_proj.bias": torch.zeros(24)}),
            r"hold \['model.layers.0.self_attn.q_proj.bias'\]",
        ),
        (lambda found: found.update({TABLE: found[TABLE].to(torch.int8)}), "holds integers"),
        (lambda found: found.update({TABLE: found[TABLE][:-1].clone()}), "size mismatch"),
        (lambda found: found.update({FREQUENCIES: torch.ones(3)}), "is not that of theta=10000"),
    ],
    ids=["no head", "no table", "bias", "integers", "a row less", "other angles"],
)
def test_weights_that_would_be_lost_or_misread_are_refused(
    change: Callable[[dict[str, torch.Tensor]], object], message: str, tmp_path: Path
) -> None:
    save_model(varied_model({}), tmp_path)
    load_model(tmp_path)
    _change_weights(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path)


def test_weights_in_several_files_are_put_together(tmp_path: Path) -> None:
    model = varied_model({})
    save_model(model, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-1.safetensors": names[:5], "model-2.safetensors": names[5:]}
    for part, inside in parts.items():
        save_file({name: tensors[name] for name in inside}, tmp_path / part)
    index = {"weight_map": {name: part for part, inside in parts.items() for name in inside}}
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert torch.equal(load_model(tmp_path).output_weight, model.output_weight)
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model-2\.safetensors does not exist"):
        load_model(tmp_path)


SPECIALS = [END_OF_TEXT, "<|begin|>", "<|user|>"]
VOCAB = {i: bytes([i]) for i in range(256)}


def _save_text_model(folder: Path, **settings: str) -> Tokenizer:
    tokenizer = Tokenizer(VOCAB, [], SPECIALS)
    config = replace(varied_model({}).config, vocab_size=tokenizer.vocab_size)
    save_model(TransformerLM(config), folder, tokenizer=tokenizer, **settings)
    return tokenizer


def _write(path: Path, **values: object) -> None:
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | values))


def test_a_text_model_knows_its_own_end(tmp_path: Path) -> None:
    tokenizer = _save_text_model(tmp_path / "model")
    end, begin, user = (tokenizer.special_token_ids[token] for token in SPECIALS)
    found = load_text_model(tmp_path)
    assert (found.stop_token_ids, found.begin_ids) == ((end,), (end,))
    assert (found.encode_prompt(""), found.encode_prompt("a")) == ([end], [97])
    # Where config.json names none, the tokenizer does.
    _write(tmp_path / "model" / "config.json", eos_token_id=None)
    assert load_text_model(tmp_path).stop_token_ids == (end,)
    _write(tmp_path / "model" / "tokenizer_config.json", eos_token="<|user|>")
    assert load_text_model(tmp_path).stop_token_ids == (user,)
    _write(tmp_path / "model" / "config.json", eos_token_id=5, bos_token_id=begin)
    found = load_text_model(tmp_path)
    assert (found.stop_token_ids, found.encode_prompt("")) == ((5,), [begin])
    _write(tmp_path / "model" / "generation_config.json", eos_token_id=[6, 7])
    assert load_text_model(tmp_path).stop_token_ids == (6, 7)
    _write(tmp_path / "model" / "generation_config.json", eos_token_id=["6"])
    with pytest.raises(ValueError, match="eos_token_id must hold token ids, got"):
        load_text_model(tmp_path)


def test_a_tokenizer_may_lie_elsewhere_but_must_fit(tmp_path: Path) -> None:
    config = replace(varied_model({}).config, vocab_size=len(VOCAB))
    save_model(TransformerLM(config), tmp_path / "model")
    with pytest.raises(FileNotFoundError, match="give a folder by --tokenizer"):
        load_text_model(tmp_path / "model")
    Tokenizer(VOCAB, []).save(tmp_path / "tokenizer")
    found = load_text_model(tmp_path / "model", tokenizer=tmp_path / "tokenizer")
    assert (found.stop_token_ids, found.chat_template) == ((), None)
    with pytest.raises(ValueError, match="an empty prompt begins with the end-of-text token, but"):
        found.encode_prompt("")
    with pytest.raises(ValueError, match="no chat template"):
        found.encode_chat([{"role": "user", "content": "a"}])
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load_text_model(tmp_path / "absent")
    _save_text_model(tmp_path / "larger")
    with pytest.raises(ValueError, match="larger ends with token 256, which the tokenizer in"):
        load_text_model(tmp_path / "larger", tokenizer=tmp_path / "tokenizer")
    with pytest.raises(ValueError, match=r"larger has 259 tokens, the model in .*model 256: they"):
        load_text_model(tmp_path / "model", tokenizer=tmp_path / "larger")


@pytest.mark.parametrize(
    ("num_rows", "is_told"), [(256, False), (300, True), (511, True), (512, None), (1_000, None)]
)
def test_rows_that_are_left_out_are_told_and_far_more_than_padding_are_refused(
    num_rows: int, is_told: bool | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    Tokenizer(VOCAB, []).save(tmp_path / "tokenizer")
    config = replace(varied_model({}).config, vocab_size=num_rows)
    save_model(TransformerLM(config), tmp_path / "model")
    if is_told is None:
        with pytest.raises(ValueError, match=rf"has 256 tokens, the model in .* {num_rows:,}: the"):
            load_text_model(tmp_path / "model", tokenizer=tmp_path / "tokenizer")
        return
    found = load_text_model(tmp_path / "model", tokenizer=tmp_path / "tokenizer")
    assert len(found.model.output_weight) == 256
    assert (f"has no text for {num_rows - 256} rows of the model" in caplog.text) == is_told


@pytest.mark.parametrize("tied", [False, True])
def test_rows_beyond_the_tokenizer_are_padding_and_never_drawn(tmp_path: Path, tied: bool) -> None:
    tokenizer = Tokenizer(VOCAB, [], SPECIALS)
    config = replace(varied_model({}).config, vocab_size=320, tie_embeddings=tied)
    model = TransformerLM(config)
    with torch.no_grad():
        # Greedily and by chance: no other rows would be drawn.
        model.output_weight[tokenizer.vocab_size :] = 100 * model.output_weight[:61]
    save_model(model, tmp_path, tokenizer=tokenizer)
    assert len(load_model(tmp_path).output_weight) == 320
    loaded = load_text_model(tmp_path)
    ids = torch.tensor([tokenizer.encode("abc")])
    expected = model(ids)[..., : tokenizer.vocab_size]
    torch.testing.assert_close(loaded.model(ids), expected)
    for temperature in (0.0, 1.0):
        sampling = SamplingConfig(max_new_tokens=4, temperature=temperature)
        drawn = generate(loaded.model, ids[0].tolist(), sampling)
        assert max(drawn) < tokenizer.vocab_size
    save_model(loaded.model, tmp_path / "again", tokenizer=tokenizer)
    assert load_text_model(tmp_path / "again").model.config.vocab_size == tokenizer.vocab_size

"""Published models, and models found by name or file."""

from pathlib import Path

import pytest

from basics.tests.accounting_models import BASE, MODELS
from lm_basics.accounting import PUBLISHED, count_parameters
from lm_basics.accounting.published import find_model
from lm_basics.export import save_model
from lm_basics.model_config import FullAttention, RopeConfig
from lm_basics.transformer import TransformerLM
from lm_shared.files import read_json, write_json


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_near_the_published_ones(name: str) -> None:
    model = PUBLISHED[name]
    assert abs(count_parameters(model.config) / model.parameters - 1) <= model.tolerance


def test_a_name_stands_for_a_published_model() -> None:
    assert find_model("llama3-8b") is PUBLISHED["llama3-8b"].config


@pytest.mark.parametrize("name", ["llama", "no norms, sinusoids"])
@pytest.mark.filterwarnings("ignore")
def test_a_saved_model_is_found_by_folder_and_by_file(name: str, tmp_path: Path) -> None:
    save_model(TransformerLM(MODELS[name]), tmp_path / "model")
    assert find_model(str(tmp_path / "model")) == MODELS[name]
    assert find_model(str(tmp_path / "model" / "config.json")) == MODELS[name]


def test_stretched_positions_cost_nothing(tmp_path: Path) -> None:
    save_model(TransformerLM(BASE), tmp_path / "model")
    path = tmp_path / "config.json"
    data = read_json(tmp_path / "model" / "config.json")
    stretched = {"rope_type": "llama3", "factor": 8.0, "rope_theta": 5e5}
    write_json(path, {**data, "rope_scaling": stretched, "rope_parameters": stretched})
    attention = find_model(str(path)).block(0).attention
    assert isinstance(attention, FullAttention)
    assert attention.position == RopeConfig(theta=5e5)


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(ValueError, match="no model and no file 'gpt2-lage': did you mean gpt2-lar"):
        find_model("gpt2-lage")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "does not describe a model"),
        ("{", "damaged or no JSON file"),
        ('{"model_type": "mamba"}', "of type 'mamba', expected llama or qwen3"),
        ('{"model_type": "llama"}', "does not describe a model: KeyError"),
    ],
)
def test_other_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        find_model(str(path))

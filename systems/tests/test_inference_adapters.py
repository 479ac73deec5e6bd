"""The exported model behind transformers gives the engine's completions."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from lm_basics.export import save_model
from lm_basics.sampling_config import SamplingConfig
from lm_systems.inference.adapters import TransformersGenerator
from lm_systems.inference.engine import Engine
from systems.tests.reference import WordCodec

PROMPTS = [[5, 6, 7], [1, 2, 3], [9, 8, 7, 6, 5, 4], [5, 6, 7], [3]]


@pytest.fixture
def exported(make_model, tmp_path: Path):
    model = make_model()
    save_model(model, tmp_path / "model")
    return model, AutoModelForCausalLM.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingConfig(max_new_tokens=8, temperature=0),
        SamplingConfig(max_new_tokens=8, temperature=1.2, stop_token_ids=(7, 21, 33)),
        SamplingConfig(max_new_tokens=40, top_p=0.9),
    ],
    ids=["greedy", "stopping", "full context"],
)
def test_completions_equal_the_engine(exported, sampling) -> None:
    ours, theirs = exported
    expected = Engine(ours, WordCodec()).generate(PROMPTS, sampling)
    found = TransformersGenerator(theirs, WordCodec(), max_batch_size=2).generate(PROMPTS, sampling)
    for one, other in zip(found, expected, strict=True):
        assert one.token_ids == other.token_ids
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)
        assert (one.text, one.finish_reason) == (other.text, other.finish_reason)


def test_greedy_completions_equal_the_generate_of_transformers(exported) -> None:
    ours, theirs = exported
    sampling = SamplingConfig(max_new_tokens=8, temperature=0)
    for completion in Engine(ours, WordCodec()).generate(PROMPTS, sampling):
        prompt = torch.tensor([completion.prompt_ids])
        generated = theirs.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=8,
            do_sample=False,
            pad_token_id=0,
        )
        assert generated[0, prompt.shape[1] :].tolist() == completion.token_ids


def test_an_empty_batch_is_refused(exported) -> None:
    with pytest.raises(ValueError, match="max_batch_size must be at least 1, got 0"):
        TransformersGenerator(exported[1], WordCodec(), max_batch_size=0)

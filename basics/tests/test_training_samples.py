from pathlib import Path

import numpy as np
import pytest
import torch

from lm_basics.model_config import uniform_transformer
from lm_basics.tokenizer.simple import ByteTokenizer
from lm_basics.training import StepReport, TrainingConfig, train
from lm_basics.training.samples import (
    SAMPLES_NAME,
    SamplesConfig,
    SampleWriter,
    last_samples,
    read_samples,
)
from lm_basics.transformer import TransformerLM

TOKENS = np.frombuffer(b"to be or not to be, that is the question. " * 20, dtype=np.uint8)


def make_model() -> TransformerLM:
    torch.manual_seed(0)
    shape = uniform_transformer(
        vocab_size=256, context_length=8, d_model=16, num_layers=1, num_heads=2
    )
    return TransformerLM(shape)


def make_writer(folder: Path, **settings: object) -> SampleWriter:
    config = SamplesConfig(prompts=("to", "be"), max_new_tokens=4, **settings)  # type: ignore[arg-type]
    return SampleWriter(folder, ByteTokenizer(), config)


def test_samples_change_no_bit_of_the_training(tmp_path: Path) -> None:
    config = TrainingConfig(steps=4, batch_size=2)
    plain, sampled = make_model(), make_model()
    train(plain, TOKENS, config, folder=tmp_path / "a")
    writer = make_writer(tmp_path / "b")

    def sample(report: StepReport) -> None:
        writer.write(sampled, report.step)

    train(sampled, TOKENS, config, folder=tmp_path / "b", on_step=sample)
    pairs = zip(plain.parameters(), sampled.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    samples, num_damaged = read_samples(tmp_path / "b" / SAMPLES_NAME)
    assert [one.step for one in samples] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert num_damaged == 0


def test_a_resumed_run_has_the_samples_of_every_step_once(tmp_path: Path) -> None:
    model = make_model()
    first = make_writer(tmp_path)
    written = [first.write(model, step) for step in (1, 2, 3)]
    assert make_writer(tmp_path).write(model, 2) == written[1]
    samples, num_damaged = read_samples(tmp_path / SAMPLES_NAME)
    assert (samples, num_damaged) == ([*written[0], *written[1]], 0)
    assert last_samples(samples) == written[1]


def test_damaged_lines_are_told_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = make_writer(tmp_path)
    first = writer.write(make_model(), 1)
    assert caplog.messages == []
    path = tmp_path / SAMPLES_NAME
    path.write_bytes(path.read_bytes() + b'{"step": 2}\n[1]\n\xff{"ste')
    assert read_samples(path) == (first, 3)
    second = writer.write(make_model(), 2)
    assert f"3 damaged lines of {path} are left out" in caplog.messages
    assert read_samples(path) == ([*first, *second], 0)


def test_step_and_seed_decide_the_samples(tmp_path: Path) -> None:
    model = make_model()
    texts = {
        tuple(one.continuation for one in make_writer(tmp_path, seed=seed).write(model, step))
        for seed, step in ((0, 1), (0, 2), (5, 1))
    }
    assert len(texts) == 3
    greedy = [make_writer(tmp_path, seed=s, temperature=0.0).write(model, 1) for s in (0, 1)]
    assert greedy[0] == greedy[1]


def test_a_file_is_made_by_the_first_sample_only(tmp_path: Path) -> None:
    make_writer(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert last_samples([]) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompts": ()}, "prompts that are not empty, got"),
        ({"prompts": ("a", "")}, "prompts that are not empty, got"),
        ({"prompts": ("a",), "max_new_tokens": 0}, "max_new_tokens must be positive, got 0"),
        ({"prompts": ("a",), "temperature": -1.0}, "temperature must not be negative, got -1.0"),
    ],
)
def test_impossible_samples_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplesConfig(**values)  # type: ignore[arg-type]

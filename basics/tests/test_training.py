"""Batches, checkpoints, evaluation and the loop."""

import dataclasses
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lm_basics.model_config import MixtureOfExpertsConfig, SwiGLUConfig, uniform_transformer
from lm_basics.nn.ops import IGNORED_TARGET
from lm_basics.optim import AdamW, AdamWConfig, ConstantSchedule, MuonConfig
from lm_basics.training import (
    SerialStrategy,
    ShuffledWindows,
    StepReport,
    TrainingConfig,
    evaluate_loss,
    get_batch,
    load_checkpoint,
    save_checkpoint,
    train,
)
from lm_basics.training.data import fingerprint
from lm_basics.training.evaluation import _cut_windows
from lm_basics.transformer import TransformerLM
from lm_shared.testing.processes import run_python

TOKENS = np.random.default_rng(0).integers(0, 30, 2_000).astype(np.uint16)


def _model() -> TransformerLM:
    torch.manual_seed(0)
    return TransformerLM(
        uniform_transformer(
            vocab_size=30, context_length=8, d_model=16, num_layers=1, num_heads=2, qk_norm=True
        )
    )


def test_random_batches_are_uniform_and_shifted_by_one() -> None:
    data = np.arange(10)
    counts = np.zeros(10, dtype=int)
    for _ in range(300):
        x, y = get_batch(data, 16, 4, "cpu")
        assert (y == x + 1).all()
        assert (x[:, 1:] == x[:, :-1] + 1).all()
        counts += np.bincount(x[:, 0].numpy(), minlength=10)
    assert counts[:6].min() > 700  # 4800 starts over six places: 800 each
    assert counts[6:].sum() == 0
    with pytest.raises(ValueError, match="hold no window of context_length"):
        get_batch(data, 1, 10, "cpu")


def test_an_epoch_covers_every_window_once_and_epochs_differ() -> None:
    windows = ShuffledWindows(num_tokens=101, length=10, batch_size=3, seed=7)
    assert windows.windows_per_epoch == 9
    epochs = [np.concatenate([windows.starts(3 * e + i) for i in range(3)]) for e in range(2)]
    for starts in epochs:
        assert len(set(starts // 10)) == 9
        assert len(set(starts % 10)) == 1
        assert starts.max() + 11 <= 101
    assert not np.array_equal(epochs[0], epochs[1])
    np.testing.assert_array_equal(windows.starts(4), windows.starts(4))


def test_a_batch_may_span_two_epochs() -> None:
    windows = ShuffledWindows(num_tokens=101, length=10, batch_size=4)
    flat = np.concatenate([windows.starts(i) for i in range(9)])
    whole = ShuffledWindows(num_tokens=101, length=10, batch_size=9)
    np.testing.assert_array_equal(flat, np.concatenate([whole.starts(i) for i in range(4)]))


def test_too_little_data_is_refused() -> None:
    with pytest.raises(ValueError, match="15 tokens are too few"):
        ShuffledWindows(num_tokens=15, length=8, batch_size=1)


@pytest.mark.parametrize("optimizer_class", [AdamW, torch.optim.AdamW], ids=["ours", "torch"])
def test_checkpoint_round_trip(optimizer_class: type[AdamW], tmp_path: Path) -> None:
    def stepped(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(torch.arange(8)[None]).square().mean().backward()
        optimizer.step()

    model = _model()
    optimizer = optimizer_class(model.parameters(), lr=0.01)
    stepped(model, optimizer)
    buffer = io.BytesIO()
    save_checkpoint(model, optimizer, 5, buffer)
    save_checkpoint(model, optimizer, 5, tmp_path / "a.safetensors")
    buffer.seek(0)
    for source in (buffer, tmp_path / "a.safetensors"):
        restored = _model()
        other = optimizer_class(restored.parameters(), lr=0.5)
        assert load_checkpoint(source, restored, other) == 5
        stepped(restored, other)
        expected = _model()
        third = optimizer_class(expected.parameters(), lr=0.01)
        stepped(expected, third)
        stepped(expected, third)
        for a, b in zip(restored.parameters(), expected.parameters(), strict=True):
            assert torch.equal(a, b)


def test_torn_and_foreign_checkpoints_are_refused_by_name(tmp_path: Path) -> None:
    model, path = _model(), tmp_path / "model.safetensors"
    optimizer = AdamW(model.parameters())
    save_checkpoint(model, optimizer, 1, path, config_hash="mine")
    with pytest.raises(ValueError, match=r"model\.safetensors belongs to another configuration"):
        load_checkpoint(path, model, optimizer, config_hash="yours")
    whole = path.read_bytes()
    for length in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"model\.safetensors is no whole checkpoint"):
            load_checkpoint(path, model, optimizer)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="does not fit the model"):
        load_checkpoint(path, torch.nn.Linear(2, 2), None)


def test_micro_batches_equal_one_batch() -> None:
    ids = torch.randint(30, (6, 8))
    gradients = []
    for size in (None, 2, 4):
        model = _model()
        strategy = SerialStrategy(model, AdamW(model.parameters()), micro_batch_size=size)
        strategy.forward_backward(ids, ids)
        gradients.append([p.grad for p in model.parameters()])
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0])


@pytest.mark.parametrize("balance_weight", [0.0, 1.0])
def test_experts_balance_within_micro_batches(balance_weight: float) -> None:
    dense = _model().config
    experts = MixtureOfExpertsConfig(
        num_experts=4, num_active=2, expert=SwiGLUConfig(d_ff=24), balance_weight=balance_weight
    )
    pattern = tuple(dataclasses.replace(block, feedforward=experts) for block in dense.pattern)
    torch.manual_seed(0)
    model = TransformerLM(dataclasses.replace(dense, pattern=pattern))
    ids = torch.randint(30, (6, 8))

    def gradients(micro_batch_size: int | None) -> list[torch.Tensor | None]:
        strategy = SerialStrategy(
            model, AdamW(model.parameters()), micro_batch_size=micro_batch_size
        )
        strategy.forward_backward(ids, ids)
        found = [p.grad for p in model.parameters()]
        strategy.skip()
        return found

    found = gradients(4)
    # The passes' own objectives, by their shares of the sequences.
    parts = [model.objective(part, part) * (len(part) / 6) for part in (ids[:4], ids[4:])]
    torch.stack(parts).sum().backward()
    torch.testing.assert_close(found, [p.grad for p in model.parameters()])
    model.zero_grad()
    whole = gradients(None)
    pairs = zip(found, whole, strict=True)
    is_equal = all(
        torch.allclose(a, b, atol=1e-6) for a, b in pairs if a is not None and b is not None
    )
    assert is_equal == (balance_weight == 0)


@pytest.mark.parametrize("stride", [None, 8, 5, 1])
@pytest.mark.parametrize("length", [1, 7, 8, 9, 40])
def test_evaluation_predicts_every_token_once(stride: int | None, length: int) -> None:
    tokens = TOKENS[:length]
    num_windows = 1 + max(0, -(-(length - 8) // (stride or 8)))
    starts = np.arange(num_windows) * (stride or 8)
    inputs, targets = _cut_windows(tokens, starts, 3, 8, stride or 8)
    np.testing.assert_array_equal(targets[targets != IGNORED_TARGET], tokens)
    assert inputs[0, 0] == 3
    if length > 8:
        last = np.flatnonzero(targets[-1] != IGNORED_TARGET)[-1]
        assert inputs[-1, last] == tokens[-2]


def test_evaluation_equals_the_plain_sum() -> None:
    model, tokens = _model(), TOKENS[:20]
    loss = evaluate_loss(model, tokens, first_context=0, stride=1, batch_size=3)
    total = 0.0
    for i in range(20):
        context = [0, *tokens[:i].tolist()][-8:]
        total -= model(torch.tensor([context]))[0, -1].log_softmax(-1)[int(tokens[i])].item()
    assert loss.total_nats == pytest.approx(total, rel=1e-4)
    assert loss.nats_per_token == pytest.approx(total / 20, rel=1e-4)
    with pytest.raises(ValueError, match="got 0 tokens"):
        evaluate_loss(model, tokens[:0], first_context=0)


CONFIGS = {
    "adamw": TrainingConfig(steps=12, batch_size=4, checkpoint_every=3, validate_every=4),
    "muon": TrainingConfig(
        steps=12,
        batch_size=4,
        checkpoint_every=5,
        optimizer=MuonConfig(),
        schedule=ConstantSchedule(warmup_fraction=0.2),
    ),
}


class InterruptionError(Exception):
    """Stands for a kill in the middle of a step."""


@pytest.mark.parametrize("name", CONFIGS)
def test_resumed_run_equals_uninterrupted(name: str, tmp_path: Path) -> None:
    config = CONFIGS[name]

    def validate(model: TransformerLM) -> dict[str, float]:
        loss = evaluate_loss(model, TOKENS[:50], first_context=0)
        return {"validation_loss": loss.nats_per_token}

    straight = _model()
    expected = train(straight, TOKENS, config, folder=tmp_path / "a", validate=validate)
    for stop in (1, 4, 8, 12):

        def interrupt(report: StepReport, stop: int = stop) -> None:
            if report.step == stop:
                raise InterruptionError

        with pytest.raises(InterruptionError):
            train(_model(), TOKENS, config, folder=tmp_path / "b", on_step=interrupt)
    resumed = _model()
    result = train(resumed, TOKENS, config, folder=tmp_path / "b", validate=validate)
    for a, b in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    assert result.validation == expected.validation
    assert result.final_loss == expected.final_loss
    lines = [json.loads(x) for x in (tmp_path / "b/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 13))


def test_training_learns_a_repeating_text(tmp_path: Path) -> None:
    tokens = np.tile(np.arange(10, dtype=np.uint16), 200)
    config = TrainingConfig(steps=60, batch_size=8, optimizer=AdamWConfig(lr=1e-2))
    result = train(_model(), tokens, config, folder=tmp_path)
    assert result.final_loss < 0.3 < math.log(10)
    assert result.tokens == 60 * 8 * 8
    assert (tmp_path / "receipt.json").exists()


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    train(_model(), TOKENS, TrainingConfig(steps=1), folder=tmp_path)
    with pytest.raises(ValueError, match=r"training\.steps is 1 there and 2 here"):
        train(_model(), TOKENS, TrainingConfig(steps=2), folder=tmp_path)


def test_other_data_is_another_run(tmp_path: Path) -> None:
    train(_model(), TOKENS, TrainingConfig(steps=1), folder=tmp_path)
    other = TOKENS.copy()
    other[1_000] += 1
    with pytest.raises(ValueError, match=r"\(data is .* there and .* here\)"):
        train(_model(), other, TrainingConfig(steps=1), folder=tmp_path)


def test_the_fingerprint_sees_type_length_and_both_ends() -> None:
    tokens = np.zeros(5_000_000, dtype=np.uint16)
    last = tokens.copy()
    last[-1] = 1
    seen = [tokens, tokens[:-1], tokens.astype(np.uint32), last]
    assert len({fingerprint(one) for one in seen}) == len(seen)
    assert fingerprint(tokens) == fingerprint(tokens.copy())


def test_opening_a_finished_run_again_changes_nothing(tmp_path: Path) -> None:
    config = TrainingConfig(steps=2)
    results = [
        train(_model(), TOKENS, config, folder=tmp_path, validate=lambda model: {"val_loss": 1.5})
        for _ in range(3)
    ]
    assert [result.validation for result in results] == [{"val_loss": 1.5}] * 3
    assert (tmp_path / "metrics.jsonl").read_text().count("val_loss") == 1


def test_a_run_that_cannot_begin_leaves_its_folder_free(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too few"):
        train(_model(), TOKENS[:10], TrainingConfig(steps=1), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_record_shorter_than_its_checkpoint_is_named(tmp_path: Path) -> None:
    train(_model(), TOKENS, TrainingConfig(steps=4), folder=tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_text("".join(lines[:2]))
    with pytest.raises(ValueError, match=r"metrics\.jsonl ends at step 2, .* after step 4"):
        train(_model(), TOKENS, TrainingConfig(steps=4), folder=tmp_path)


def test_a_diverged_run_stops_with_the_step(tmp_path: Path) -> None:
    config = TrainingConfig(steps=50, optimizer=AdamWConfig(lr=1e30))
    with pytest.raises(FloatingPointError, match=r"the loss is .* at step"):
        train(_model(), TOKENS, config, folder=tmp_path)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="steps must be positive, got 0"):
        TrainingConfig(steps=0)
    with pytest.raises(ValueError, match="max_grad_norm must be positive, got 0"):
        TrainingConfig(steps=1, max_grad_norm=0.0)
    with pytest.raises(ValueError, match="checkpoint_every must be positive or None, got 0"):
        TrainingConfig(steps=1, checkpoint_every=0)


def test_training_loads_neither_a_command_line_library_nor_torchs_compiler(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
import numpy as np
from lm_basics.model_config import uniform_transformer
from lm_basics.training import TrainingConfig, train
from lm_basics.transformer import TransformerLM
from lm_shared.tensors import require_determinism

require_determinism()
shape = uniform_transformer(vocab_size=9, context_length=4, d_model=8, num_layers=1, num_heads=1)
tokens, config = np.arange(99) % 9, TrainingConfig(steps=1)
for _ in range(2):  # The second one opens a finished run and loads its checkpoint.
    train(TransformerLM(shape), tokens, config, folder=Path(sys.argv[1]))
costly = {"matplotlib", "rich", "torch._dynamo", "torch._inductor", "tyro"}
print(sorted(costly & set(sys.modules)))
"""
    result = run_python(["-c", program, tmp_path / "run"])
    assert (result.stdout, result.stderr) == ("[]\n", "")

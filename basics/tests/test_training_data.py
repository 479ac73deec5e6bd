"""Which windows a step trains on, document masks, and tokens that do not fit."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lm_basics.model_config import uniform_transformer
from lm_basics.token_files.token_file import open_token_file, write_token_file
from lm_basics.training import RandomWindows, ShuffledEpochs, ShuffledWindows, TrainingConfig, train
from lm_basics.training.data import Loader, UniformWindows, window_sampler
from lm_basics.training.loop import _final_loss
from lm_basics.training.progress import StepReport, TokenRate
from lm_basics.transformer import TransformerLM
from lm_shared.metrics import read_metrics

TOKENS = np.arange(500) % 30


def _model() -> TransformerLM:
    torch.manual_seed(0)
    return TransformerLM(
        uniform_transformer(vocab_size=30, context_length=8, d_model=8, num_layers=1, num_heads=2)
    )


def _loader(starts: list[int] | None, *, num_tokens: int = 40) -> Loader:
    return Loader(
        tokens=np.arange(num_tokens, dtype=np.uint16),
        vocab_size=num_tokens,
        sampler=UniformWindows(num_tokens=num_tokens, length=8, batch_size=16),
        length=8,
        device=torch.device("cpu"),
        document_starts=None if starts is None else np.array(starts, dtype=np.int64),
    )


def test_random_windows_are_uniform_and_a_function_of_seed_and_step() -> None:
    windows = UniformWindows(num_tokens=10, length=4, batch_size=16, seed=3)
    drawn = np.concatenate([windows.starts(step) for step in range(300)])
    counts = np.bincount(drawn, minlength=10)
    assert counts[:6].min() > 700  # 4800 starts over six places: 800 each
    assert counts[6:].sum() == 0
    np.testing.assert_array_equal(windows.starts(7), windows.starts(7))
    other = UniformWindows(num_tokens=10, length=4, batch_size=16, seed=4)
    assert not np.array_equal(windows.starts(7), other.starts(7))
    assert not np.array_equal(windows.starts(7), windows.starts(8))
    with pytest.raises(ValueError, match="4 tokens are too few for one window of 4"):
        UniformWindows(num_tokens=4, length=4, batch_size=1)


def test_settings_choose_the_sampler() -> None:
    data = {"num_tokens": 100, "length": 10, "batch_size": 2, "seed": 1}
    assert window_sampler(RandomWindows(), **data) == UniformWindows(**data)
    assert window_sampler(ShuffledEpochs(), **data) == ShuffledWindows(**data)


def test_documents_are_numbered_by_where_they_begin() -> None:
    # The second of the documents is empty.
    starts = [0, 5, 5, 21]
    batch = _loader(starts).batch(0)
    assert batch.documents is not None
    expected = [
        [sum(start <= int(t) for start in starts) - 1 for t in row] for row in batch.token_ids
    ]
    assert batch.documents.tolist() == expected
    assert {3} < set(batch.documents.flatten().tolist())
    assert torch.equal(batch.targets, batch.token_ids + 1)
    assert _loader(None).batch(0).documents is None


def test_masked_runs_differ_and_equal_documents_one_by_one(tmp_path: Path) -> None:
    losses = {}
    for name, starts in (("one", [0]), ("many", list(range(0, 500, 3)))):
        config = TrainingConfig(steps=3, batch_size=2, mask_documents=True)
        result = train(
            _model(),
            TOKENS,
            config,
            folder=tmp_path / name,
            document_starts=np.array(starts, dtype=np.int64),
        )
        losses[name] = result.final_loss
    plain = train(
        _model(), TOKENS, TrainingConfig(steps=3, batch_size=2), folder=tmp_path / "plain"
    )
    assert losses["one"] == plain.final_loss != losses["many"]
    with pytest.raises(ValueError, match=r"\(documents is .* there and .* here\)"):
        train(_model(), TOKENS, config, folder=tmp_path / "many", document_starts=np.array([0]))


def test_document_starts_are_checked(tmp_path: Path) -> None:
    config = TrainingConfig(steps=1, mask_documents=True)
    with pytest.raises(ValueError, match="mask_documents needs document_starts, got None"):
        train(_model(), TOKENS, config, folder=tmp_path)
    for starts in ([], [1, 2], [0, 9, 8], [0, 501]):
        with pytest.raises(ValueError, match="must ascend from 0 to at most 500"):
            train(
                _model(),
                TOKENS,
                config,
                folder=tmp_path,
                document_starts=np.array(starts, dtype=np.int64),
            )


def test_tokens_outside_of_the_vocabulary_are_found_before_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for bad in (30, -1):
        tokens = TOKENS.copy()
        tokens[477] = bad
        with pytest.raises(ValueError, match=f"holds the token {bad}, but .* vocab_size is 30"):
            train(_model(), tokens, TrainingConfig(steps=1), folder=folder)
    with pytest.raises(TypeError, match=r"expected a row of integer tokens, got int64 of shape"):
        train(_model(), TOKENS[None], TrainingConfig(steps=1), folder=folder)
    file = write_token_file(tmp_path / "a.bin", [TOKENS + 1], vocab_size=31, vocab_hash="x")
    with pytest.raises(ValueError, match="holds the token 30, but"):
        train(_model(), file.tokens, TrainingConfig(steps=1), folder=folder)
    assert not folder.exists()


def test_a_long_mapped_file_is_not_read_twice_but_each_batch_is_checked(tmp_path: Path) -> None:
    tokens = np.zeros(10_000_000, dtype=np.uint16)
    tokens[4_096 : 2 * 4_096] = 40  # between two of the blocks that are looked at
    write_token_file(tmp_path / "a.bin", [tokens], vocab_size=41, vocab_hash="x")
    mapped = open_token_file(tmp_path / "a.bin").tokens
    config = TrainingConfig(steps=1, batch_size=1)
    train(_model(), mapped, config, folder=tmp_path / "run")
    loader = Loader(
        tokens=mapped,
        vocab_size=30,
        sampler=ShuffledWindows(num_tokens=3 * 4_096, length=8, batch_size=900),
        length=8,
        device=torch.device("cpu"),
    )
    with pytest.raises(ValueError, match="holds the token 40"):
        loader.batch(0)


def test_every_step_is_reported(tmp_path: Path) -> None:
    reports: list[StepReport] = []
    config = TrainingConfig(steps=3, batch_size=2)
    train(_model(), TOKENS, config, folder=tmp_path, on_step=reports.append)
    assert [(r.step, r.steps, r.tokens) for r in reports] == [(1, 3, 16), (2, 3, 32), (3, 3, 48)]
    assert reports[0].elapsed_s <= reports[1].elapsed_s
    assert min(report.tokens_per_s for report in reports) > 0
    rate = TokenRate(step_tokens=10)
    assert [rate.add(one) for one in (1.0, 4.0)] == [10.0, 4.0]
    assert [rate.add(2.0) for _ in range(20)][-1] == 5.0


@pytest.mark.parametrize(("num_tokens", "windows"), [(21, 1), (30, 1), (31, 2), (40, 2), (41, 3)])
def test_an_epoch_has_the_windows_that_fit_whatever_the_shift(
    num_tokens: int, windows: int
) -> None:
    sampler = ShuffledWindows(num_tokens=num_tokens, length=10, batch_size=windows, seed=1)
    assert sampler.windows_per_epoch == windows
    ends = []
    for epoch in range(60):
        starts = np.sort(sampler.starts(epoch))
        assert np.all(np.diff(starts) == 10)
        assert starts[0] >= 0
        ends.append(int(starts[-1]) + 10)
    # The last target is the token behind the last window; some shift reaches the last but few.
    assert max(ends) <= num_tokens - 1
    with pytest.raises(ValueError, match="at least 21 are needed"):
        ShuffledWindows(num_tokens=20, length=10, batch_size=1)


def test_the_final_loss_is_that_of_the_last_tenth_without_skipped_steps(tmp_path: Path) -> None:
    config = TrainingConfig(steps=25, batch_size=1)
    result = train(_model(), TOKENS, config, folder=tmp_path)
    losses = [line["loss"] for line in read_metrics(tmp_path / "metrics.jsonl")]
    assert result.final_loss == pytest.approx(sum(losses[-2:]) / 2)
    lines = [{"loss": 1.0}, {"loss": 2.0, "skipped": "spike"}, {"loss": 4.0}, {"val_loss": 9.0}]
    assert _final_loss(lines, 20) == 4.0
    assert _final_loss(lines, 30) == 2.5
    assert math.isnan(_final_loss(lines[1:2], 1))

"""The training loop with each strategy against one process: values, record, stop, resume."""

import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lm_basics.model_config import uniform_transformer
from lm_basics.optim import AdamWConfig, MuonConfig
from lm_basics.training import TrainingConfig, evaluate_loss, train
from lm_basics.training.checkpoints import FOLDER_NAME
from lm_basics.training.progress import StepReport
from lm_basics.training.strategy import SerialStrategy, StrategyFactory
from lm_basics.training.team import ALONE, Team
from lm_basics.transformer import TransformerLM
from lm_shared.metrics import read_metrics
from lm_shared.testing.processes import run_python
from lm_systems.parallel.strategies import DDPStrategy, FSDPStrategy, ShardedOptimizerStrategy
from systems.tests.process_groups import run_team

TOKENS = np.random.default_rng(0).integers(61, size=600).astype(np.uint16)
CONFIG = TrainingConfig(
    steps=8,
    batch_size=4,
    optimizer=AdamWConfig(lr=1e-2),
    # Small enough to clip: the norm has to be that of all gradients.
    max_grad_norm=0.5,
    dtype="float32",
    validate_every=4,
)
STRATEGIES: dict[str, StrategyFactory] = {
    "ddp": DDPStrategy.from_config,
    "sharded": ShardedOptimizerStrategy.from_config,
    "fsdp": FSDPStrategy.from_config,
}


def _train(
    team: Team,
    strategy: StrategyFactory,
    folder: Path,
    config: TrainingConfig = CONFIG,
    on_step: Callable[[StepReport], None] | None = None,
) -> TransformerLM:
    torch.manual_seed(0)
    model = TransformerLM(
        uniform_transformer(
            vocab_size=61, context_length=8, d_model=16, num_layers=2, num_heads=2, d_ff=22
        )
    )

    def validate(model: TransformerLM) -> dict[str, float]:
        loss = evaluate_loss(model, TOKENS[:50], first_context=0)
        return {"val_loss": loss.nats_per_token}

    train(
        model,
        TOKENS,
        config,
        folder=folder,
        strategy=strategy,
        validate=validate,
        on_step=on_step,
        team=team,
    )
    return model


def _train_and_save(
    team: Team, name: str, folder: Path, config: TrainingConfig, stop_at: int | None = None
) -> None:
    def stop(report: StepReport) -> None:
        # In one process alone, and not the one that writes.
        if report.step == stop_at and team.rank == 1:
            signal.raise_signal(signal.SIGINT)

    try:
        model = _train(team, STRATEGIES[name], folder, config, stop)
    except KeyboardInterrupt:
        assert stop_at is not None
        return
    torch.save(model.state_dict(), folder / f"rank-{team.rank}.pt")


def _losses(folder: Path) -> list[float]:
    lines = read_metrics(folder / "metrics.jsonl")
    return [one for line in lines for name, one in line.items() if name.endswith(("loss", "norm"))]


@pytest.mark.parametrize("micro_batch_size", [None, 1])
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_run_is_that_of_one_process(
    name: str, micro_batch_size: int | None, tmp_path: Path
) -> None:
    expected = _train(ALONE, SerialStrategy.from_config, tmp_path / "serial").state_dict()
    config = replace(CONFIG, micro_batch_size=micro_batch_size)
    assert run_team(_train_and_save, 2, name, tmp_path / "run", config) == [0, 0]
    for rank in range(2):
        found = torch.load(tmp_path / "run" / f"rank-{rank}.pt")
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert _losses(tmp_path / "run") == pytest.approx(_losses(tmp_path / "serial"), rel=1e-5)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_stopped_run_goes_on_with_its_bits_and_in_other_numbers(
    name: str, tmp_path: Path
) -> None:
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    assert run_team(_train_and_save, 2, name, straight, CONFIG) == [0, 0]
    assert run_team(_train_and_save, 2, name, stopped, CONFIG, 3) == [0, 0]
    assert [one.name for one in (stopped / FOLDER_NAME).iterdir()] == ["step-00000003.safetensors"]
    other = tmp_path / "other"
    (other / FOLDER_NAME).mkdir(parents=True)
    for file in ("config.json", "metrics.jsonl", f"{FOLDER_NAME}/step-00000003.safetensors"):
        (other / file).write_bytes((stopped / file).read_bytes())
    assert run_team(_train_and_save, 2, name, stopped, CONFIG) == [0, 0]
    expected = torch.load(straight / "rank-0.pt")
    found = torch.load(stopped / "rank-0.pt")
    assert all(torch.equal(found[one], expected[one]) for one in expected)
    # Sums of another order: equal up to rounding.
    serial = _train(ALONE, SerialStrategy.from_config, other).state_dict()
    torch.testing.assert_close(serial, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", STRATEGIES)
def test_float16_overflow_in_one_process_is_that_of_all(name: str) -> None:
    assert run_team(_overflow, 2, name) == [0, 0]


def _overflow(team: Team, name: str) -> None:
    shape = uniform_transformer(
        vocab_size=61, context_length=8, d_model=16, num_layers=1, num_heads=2
    )
    model = TransformerLM(shape)
    strategy = STRATEGIES[name](model, replace(CONFIG, dtype="float16"))
    ids = torch.arange(32).view(4, 8)
    for is_bad in (False, True, False):
        # As a scaled loss that leaves the range, in the rows of one process.
        factor = float("inf") if is_bad and team.rank == 1 else 1.0
        hook = model.ln_final.register_forward_hook(lambda _, __, y, by=factor: y * by)
        strategy.forward_backward(ids, ids)
        hook.remove()
        strategy.reduce_gradients()
        strategy.clip(1.0)
        assert strategy.has_overflowed() == is_bad
        strategy.skip() if is_bad else strategy.step(1.0)


def test_muon_runs_where_matrices_are_whole(tmp_path: Path) -> None:
    config = replace(CONFIG, optimizer=MuonConfig())
    expected = _train(ALONE, SerialStrategy.from_config, tmp_path / "a", config).state_dict()
    assert run_team(_train_and_save, 2, "sharded", tmp_path / "b", config) == [0, 0]
    found = torch.load(tmp_path / "b" / "rank-1.pt")
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": MuonConfig()}, "MuonConfig needs whole ones"),
        ({"ema_decay": 0.9}, "averages no weights, got ema_decay=0.9"),
        ({"batch_size": 3}, "batch_size=3 is not divisible by the 2 processes"),
    ],
)
def test_what_cannot_be_shared_is_refused(
    changes: dict[str, object], words: str, tmp_path: Path
) -> None:
    assert run_team(_refuse, 2, tmp_path, replace(CONFIG, **changes), words) == [0, 0]


def _refuse(team: Team, folder: Path, config: TrainingConfig, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _train(team, FSDPStrategy.from_config, folder, config)


@pytest.mark.slow
def test_the_command_of_the_readme_trains(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (words,) = re.findall(r"^torchrun (.*)$", readme, re.MULTILINE)
    command = ["-m", "torch.distributed.run", *words.split(), "--steps", "3", "--output", "run"]
    result = run_python(command, folder=tmp_path, timeout_s=300)
    assert result.returncode == 0, result.stderr
    # One process tells.
    assert result.stdout.count("3 steps, 768 tokens") == 1
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert len(read_metrics(tmp_path / "run" / "metrics.jsonl")) == 4

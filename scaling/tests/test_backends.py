from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lm_basics.model_config import TransformerConfig
from lm_basics.training.config import TrainingConfig
from lm_scaling.backends import Backend, ReplayBackend, SimulatorBackend, TrainerBackend
from lm_scaling.experiment import ExperimentConfig, ExperimentResult
from lm_scaling.laws.parametric import ParametricLaw
from lm_shared.config import load_config


@pytest.fixture
def experiment(tiny_model: TransformerConfig) -> ExperimentConfig:
    training = TrainingConfig(steps=6, batch_size=4, dtype="float32", validate_every=2)
    return ExperimentConfig(model=tiny_model, training=training)


def with_steps(experiment: ExperimentConfig, steps: int, seed: int = 0) -> ExperimentConfig:
    return replace(experiment, training=replace(experiment.training, steps=steps, seed=seed))


@pytest.fixture
def streams() -> tuple[np.ndarray, np.ndarray]:
    # A repeating pattern: learnable within a few steps.
    pattern = np.tile(np.arange(32, dtype=np.uint16), 40)
    return pattern, pattern[:100]


@pytest.fixture
def trainer(streams: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> TrainerBackend:
    return TrainerBackend(streams[0], streams[1], tmp_path, first_context=31)


def test_all_three_are_backends(trainer: TrainerBackend, law: ParametricLaw) -> None:
    result = ExperimentResult(losses=(1.0,), elapsed_s=1.0, flops=1.0, tokens=1, parameters=1)
    for backend in (trainer, SimulatorBackend(law=law), ReplayBackend([result])):
        assert isinstance(backend, Backend)


def test_a_simulator_without_noise_is_its_law(experiment: ExperimentConfig, law) -> None:
    result = SimulatorBackend(law=law, noise=0.0, flops_per_s=1e6).run(experiment)
    assert result.losses[-1] == law.predict(experiment.parameters(), experiment.train_tokens())
    assert result.elapsed_s == pytest.approx(experiment.flops() / 1e6)
    assert (result.tokens, result.flops) == (experiment.train_tokens(), experiment.flops())


def test_simulated_noise_has_its_size_and_belongs_to_the_experiment(experiment, law) -> None:
    backend = SimulatorBackend(law=law, noise=0.1)
    truth = law.predict(experiment.parameters(), experiment.train_tokens())
    configs = [with_steps(experiment, 6, seed) for seed in range(300)]
    noise = np.array([backend.run(config).losses[-1] - truth for config in configs])
    assert noise.std() == pytest.approx(0.1, rel=0.15)
    assert abs(noise.mean()) < 0.03
    assert backend.run(configs[7]).losses[-1] - truth == noise[7]
    other = SimulatorBackend(law=law, noise=0.1, seed=1)
    assert other.run(configs[7]).losses != backend.run(configs[7]).losses


def test_a_replay_answers_with_the_nearest_run(experiment: ExperimentConfig, law) -> None:
    simulator = SimulatorBackend(law=law)
    configs = [with_steps(experiment, steps) for steps in (100, 200, 400)]
    replay = ReplayBackend([simulator.run(config) for config in configs])
    for config in configs:
        assert replay.run(config) == simulator.run(config)
    assert replay.run(with_steps(experiment, 201)) == simulator.run(configs[1])


def test_a_replay_refuses_what_it_has_not_seen(experiment: ExperimentConfig, law) -> None:
    replay = ReplayBackend([SimulatorBackend(law=law).run(experiment)])
    with pytest.raises(ValueError, match=r"no recorded run has .* within 2.0%; the nearest has"):
        replay.run(with_steps(experiment, 7))
    with pytest.raises(ValueError, match="expected results"):
        ReplayBackend([])
    with pytest.raises(ValueError, match="tolerance >= 0"):
        ReplayBackend([SimulatorBackend(law=law).run(experiment)], tolerance=-1.0)


def test_a_training_run_learns_and_is_counted(trainer, experiment: ExperimentConfig) -> None:
    result = trainer.run(with_steps(experiment, 20))
    assert len(result.losses) == 10
    assert result.losses[-1] < result.losses[0]
    assert result.losses[-1] < np.log(32)
    assert result.tokens == 20 * 4 * 16
    assert result.flops == with_steps(experiment, 20).flops()
    assert result.parameters == experiment.parameters()
    assert result.elapsed_s > 0


def test_the_same_experiment_gives_the_same_losses(streams, experiment, tmp_path: Path) -> None:
    first, second = (
        TrainerBackend(streams[0], streams[1], tmp_path / name, first_context=31)
        .run(experiment)
        .losses
        for name in ("a", "b")
    )
    assert first == second


def test_a_finished_experiment_is_not_run_again(trainer, experiment, tmp_path: Path) -> None:
    result = trainer.run(experiment)
    (result_path,) = tmp_path.glob("*/result.json")
    assert result_path.parent.name.startswith(f"{experiment.identity()}-")
    assert load_config(ExperimentResult, result_path) == result
    written_at = (result_path.parent / "metrics.jsonl").stat().st_mtime_ns
    assert trainer.run(experiment) == result
    assert (result_path.parent / "metrics.jsonl").stat().st_mtime_ns == written_at


def test_a_run_killed_before_its_result_was_written_is_completed(
    trainer, experiment, tmp_path: Path
) -> None:
    result = trainer.run(experiment)
    (result_path,) = tmp_path.glob("*/result.json")
    result_path.unlink()
    assert trainer.run(experiment).losses == result.losses


@pytest.mark.parametrize("changed", ["train", "validation", "first_context"])
def test_results_belong_to_their_data(streams, experiment, tmp_path: Path, changed: str) -> None:
    train, validation = streams
    TrainerBackend(train, validation, tmp_path, first_context=31).run(experiment)
    first_context = 30 if changed == "first_context" else 31
    train = train[::-1] if changed == "train" else train
    validation = validation[:50] if changed == "validation" else validation
    beside, alone = (
        TrainerBackend(train, validation, folder, first_context=first_context).run(experiment)
        for folder in (tmp_path, tmp_path / "alone")
    )
    assert beside.losses == alone.losses
    assert len(list(tmp_path.glob("*/result.json"))) == 2


def test_too_little_data_is_refused(streams, experiment, tmp_path: Path) -> None:
    train, validation = streams
    backend = TrainerBackend(train[:10], validation, tmp_path, first_context=31)
    with pytest.raises(ValueError, match="10 tokens are too few"):
        backend.run(experiment)

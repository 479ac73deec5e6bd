from dataclasses import replace

import pytest

from lm_basics.model_config import TransformerConfig
from lm_basics.optim.config import AdamWConfig
from lm_basics.training.config import TrainingConfig
from lm_basics.transformer import TransformerLM
from lm_scaling.experiment import (
    ExperimentConfig,
    ExperimentResult,
    effective_parameters,
    flops_per_token,
)
from lm_shared.config import from_dict, to_dict


@pytest.fixture
def experiment(tiny_model: TransformerConfig) -> ExperimentConfig:
    return ExperimentConfig(model=tiny_model, training=TrainingConfig(steps=5, batch_size=3))


def test_equal_experiments_share_their_identity(experiment: ExperimentConfig) -> None:
    copy = from_dict(ExperimentConfig, to_dict(experiment))
    assert copy == experiment
    assert copy.identity() == experiment.identity()
    assert len(experiment.identity()) == 16


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 6},
        {"seed": 1},
        {"batch_size": 4},
        {"optimizer": AdamWConfig(lr=1e-3)},
    ],
)
def test_any_difference_changes_the_identity(experiment: ExperimentConfig, change) -> None:
    other = replace(experiment, training=replace(experiment.training, **change))
    assert other.identity() != experiment.identity()


def test_tokens_are_steps_times_batch_times_context(experiment: ExperimentConfig) -> None:
    assert experiment.train_tokens() == 5 * 3 * 16


@pytest.mark.parametrize("tie_embeddings", [False, True])
def test_parameters_are_those_of_the_model_without_a_lookup_table(
    tiny_model: TransformerConfig, tie_embeddings: bool
) -> None:
    config = replace(tiny_model, tie_embeddings=tie_embeddings)
    model = TransformerLM(config)
    total = sum(parameter.numel() for parameter in model.parameters())
    lookup = 0 if tie_embeddings else model.token_embeddings.weight.numel()
    assert effective_parameters(config) == total - lookup


def test_tying_changes_the_storage_but_not_the_size_that_counts(
    tiny_model: TransformerConfig,
) -> None:
    tied = replace(tiny_model, tie_embeddings=True)
    assert effective_parameters(tied) == effective_parameters(tiny_model)
    assert flops_per_token(tied) == flops_per_token(tiny_model)


def test_flops_approach_six_per_parameter_in_wide_models(tiny_model: TransformerConfig) -> None:
    wide = replace(tiny_model, d_model=2048, vocab_size=4096)
    assert flops_per_token(wide) == pytest.approx(6 * effective_parameters(wide), rel=0.01)


def test_flops_of_a_run_are_its_tokens_times_their_price(experiment: ExperimentConfig) -> None:
    expected = flops_per_token(experiment.model) * experiment.train_tokens()
    assert experiment.flops() == expected


def test_a_result_becomes_a_point_by_its_last_loss() -> None:
    result = ExperimentResult(losses=(5.0, 4.0), elapsed_s=1.0, flops=1e9, tokens=100, parameters=7)
    point = result.point()
    assert (point.loss, point.tokens, point.parameters, point.flops) == (4.0, 100, 7, 1e9)
    assert from_dict(ExperimentResult, to_dict(result)) == result


def test_a_result_needs_a_loss() -> None:
    with pytest.raises(ValueError, match="at least its final loss"):
        ExperimentResult(losses=(), elapsed_s=1.0, flops=1e9, tokens=100, parameters=7)

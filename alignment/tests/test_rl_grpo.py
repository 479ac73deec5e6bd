from dataclasses import replace

import pytest
import torch

from alignment.tests.reference import PlainGenerator
from lm_alignment.examples import Example
from lm_alignment.rl.grpo import GRPORunConfig, train_grpo
from lm_alignment.rl.grpo_config import GRPOConfig
from lm_alignment.rl.losses import ConstantSum, SequenceClipped
from lm_alignment.verifiers.reward import Reward
from lm_basics.optim.adamw import AdamWConfig
from lm_shared.config import from_dict, load_config, to_dict
from lm_shared.runs import read_metrics
from lm_systems.inference.engine import Engine

EXAMPLES = [Example(question=f"{a} {b}", answer="") for a in range(1, 7) for b in range(1, 7)]
CONFIG = GRPOConfig(
    steps=4,
    prompts_per_step=4,
    group_size=4,
    max_new_tokens=4,
    checkpoint_every=2,
    optimizer=AdamWConfig(lr=3e-3, weight_decay=0.0),
)


class KilledError(Exception):
    pass


def like_digits(prompt: str, completion: str, reference: str) -> Reward:
    """Reward the share of digits: a model without any training can learn it."""
    share = sum(character.isdigit() for character in completion) / max(1, len(completion))
    return Reward(value=share, parts={"format": float(bool(completion))}, reason="share of digits")


def train(model, tokenizer, config, folder, *, engine=Engine, **more):
    generator = engine(model, tokenizer)
    return train_grpo(
        model, tokenizer, generator, EXAMPLES, like_digits, config, folder=folder, **more
    )


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("engine", [Engine, PlainGenerator])
def test_reward_rises(make_model, tokenizer, tmp_path, engine):
    config = replace(
        CONFIG,
        steps=20,
        prompts_per_step=8,
        group_size=8,
        max_new_tokens=2,
        optimizer=AdamWConfig(lr=2e-2, weight_decay=0.0),
    )
    result = train(make_model(), tokenizer, config, tmp_path, engine=engine)
    assert sum(result.rewards[:3]) / 3 < 0.3
    assert sum(result.rewards[-3:]) / 3 > 0.7


@pytest.mark.parametrize(
    "relative",
    [
        CONFIG,
        replace(CONFIG, updates_per_step=2, micro_batch_size=3),
        replace(CONFIG, normalizer="none", aggregation=ConstantSum()),
        replace(CONFIG, updates_per_step=4, objective=SequenceClipped()),
    ],
)
def test_resumed_run_equals_uninterrupted(make_model, tokenizer, tmp_path, relative):
    def kill(step, _values):
        if step == 3:
            raise KilledError

    straight, resumed = make_model(), make_model()
    expected = train(straight, tokenizer, relative, tmp_path / "straight")
    with pytest.raises(KilledError):
        train(make_model(), tokenizer, relative, tmp_path / "killed", on_step=kill)
    result = train(resumed, tokenizer, relative, tmp_path / "killed")
    torch.testing.assert_close(weights(resumed), weights(straight), rtol=0, atol=0)
    assert result.rewards == expected.rewards
    lines = [
        [
            {name: value for name, value in line.items() if name != "elapsed_s"}
            for line in read_metrics(tmp_path / name / "metrics.jsonl")
        ]
        for name in ("straight", "killed")
    ]
    assert lines[0] == lines[1]


def test_seed_decides_the_rollouts(make_model, tokenizer, tmp_path):
    rewards = [
        train(
            make_model(), tokenizer, replace(CONFIG, steps=1, seed=seed), tmp_path / str(i)
        ).rewards
        for i, seed in enumerate((0, 0, 1))
    ]
    assert rewards[0] == rewards[1] != rewards[2]


def test_metrics_hold_every_gauge_and_the_validation(make_model, tokenizer, tmp_path):
    config = replace(CONFIG, validate_every=2)
    train(make_model(), tokenizer, config, tmp_path, validate=lambda _: {"reward": 0.5})
    lines = read_metrics(tmp_path / "metrics.jsonl")
    gauges = {"reward", "format", "entropy", "response_length", "grad_norm", "clip_fraction", "kl"}
    assert all(gauges <= line.keys() for line in lines)
    assert ["validation_reward" in line for line in lines] == [False, True, False, True]
    assert load_config(GRPORunConfig, tmp_path / "config.json").grpo == config


def test_several_updates_a_step_are_off_policy(make_model, tokenizer, tmp_path):
    for updates, folder in ((1, tmp_path / "on"), (4, tmp_path / "off")):
        config = replace(CONFIG, steps=2, updates_per_step=updates)
        train(make_model(), tokenizer, config, folder)
        kl = [line["kl"] for line in read_metrics(folder / "metrics.jsonl")]
        assert all(value == 0 for value in kl) is (updates == 1)


def test_config_survives_a_round_trip():
    config = replace(CONFIG, objective=SequenceClipped(), aggregation=ConstantSum())
    assert from_dict(GRPOConfig, to_dict(config)) == config


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps must be positive"),
        ({"group_size": 1}, "group_size must be at least 2"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"updates_per_step": 3}, "does not divide 16 rollouts"),
    ],
)
def test_config_is_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **wrong)

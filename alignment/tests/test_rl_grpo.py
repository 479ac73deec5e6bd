import signal
from dataclasses import replace

import pytest
import torch

from alignment.tests.reference import PlainGenerator
from lm_alignment.config import ConstantSum, GRPOConfig, SequenceClipped
from lm_alignment.examples import Example
from lm_alignment.masking import join_responses, response_log_probs
from lm_alignment.rl.grpo import GRPORunConfig, train_grpo
from lm_alignment.rl.grpo_step import learn_from_rollouts
from lm_alignment.rl.losses import estimate_kl
from lm_alignment.rl.rollouts import Rollout
from lm_alignment.templates import ChatTemplate
from lm_alignment.verifiers import Reward
from lm_basics.accounting import forward_flops_per_token
from lm_basics.optim import AdamW, AdamWConfig
from lm_basics.training import SerialStrategy
from lm_basics.training.updates import GradientSteps
from lm_shared.config import from_dict, load_config, to_dict
from lm_shared.runs import load_receipt, read_metrics
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


def like_nothing(prompt: str, completion: str, reference: str) -> Reward:
    return Reward(value=0.0, parts={}, reason="nothing pleases")


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
    assert [gauges <= line.keys() for line in lines] == [True, True, False, True, True, False]
    measured = [line["step"] for line in lines if "validation_reward" in line]
    assert measured == [2, 4]
    assert load_config(GRPORunConfig, tmp_path / "config.json").grpo == config


def test_several_updates_a_step_are_off_policy(make_model, tokenizer, tmp_path):
    for updates, folder in ((1, tmp_path / "on"), (4, tmp_path / "off")):
        config = replace(CONFIG, steps=2, updates_per_step=updates)
        train(make_model(), tokenizer, config, folder)
        kl = [line["kl"] for line in read_metrics(folder / "metrics.jsonl")]
        assert all(value == 0 for value in kl) is (updates == 1)


def test_flops_count_forward_passes_and_only_trained_tokens(make_model, tokenizer, tmp_path):
    model = make_model()
    # Equal verdicts on everything: all is drawn and scored, nothing is trained on.
    generator = Engine(model, tokenizer)
    config = replace(CONFIG, steps=1, updates_per_step=2)
    train_grpo(model, tokenizer, generator, EXAMPLES, like_nothing, config, folder=tmp_path)
    (line,) = read_metrics(tmp_path / "metrics.jsonl")
    assert line["trained_tokens"] == 0
    # Sixteen rows, each of fewer tokens than prompt and answer have, but of some.
    assert line["tokens"] / 2 < line["forward_tokens"] < 2 * line["tokens"] + 100
    per_token = forward_flops_per_token(model.config, 1)
    assert load_receipt(tmp_path).flops == line["forward_tokens"] * per_token
    train(make_model(), tokenizer, CONFIG, tmp_path / "trained")
    trained, forward = (
        sum(line[name] for line in read_metrics(tmp_path / "trained" / "metrics.jsonl"))
        for name in ("trained_tokens", "forward_tokens")
    )
    assert trained > 0
    assert load_receipt(tmp_path / "trained").flops == (3 * trained + forward) * per_token


def test_old_log_probs_are_computed_in_micro_batches(make_model, tokenizer, tmp_path):
    model, num_rows = make_model(), []
    config = replace(CONFIG, steps=1, updates_per_step=2, micro_batch_size=3)
    generator = PlainGenerator(make_model(), tokenizer)
    model.token_embeddings.register_forward_pre_hook(lambda _, ids: num_rows.append(len(ids[0])))
    train_grpo(model, tokenizer, generator, EXAMPLES, like_digits, config, folder=tmp_path)
    assert max(num_rows) == 3


def test_questions_longer_than_the_context_are_left_out_and_counted(
    make_model, tokenizer, tmp_path, caplog
):
    model = make_model()
    places = model.config.context_length - len(ChatTemplate().encode_prompt(tokenizer, ""))
    full, long = (Example(question=("zq" * 40)[:size], answer="") for size in (places, places + 1))
    examples = [long, full, *EXAMPLES[:3]]
    engine = Engine(model, tokenizer)
    result = train_grpo(model, tokenizer, engine, examples, like_digits, CONFIG, folder=tmp_path)
    assert (result.num_too_long, result.steps) == (1, CONFIG.steps)
    assert load_config(GRPORunConfig, tmp_path / "config.json").start.num_too_long == 1
    assert "1 of 5 examples are too long and left out" in caplog.text


def test_ctrl_c_ends_after_the_step_under_way_and_the_run_goes_on(make_model, tokenizer, tmp_path):
    def press(step, _values):
        if step == 3:
            signal.raise_signal(signal.SIGINT)

    straight, resumed = make_model(), make_model()
    train(straight, tokenizer, CONFIG, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt, match="step 3 of 4 is kept"):
        train(make_model(), tokenizer, CONFIG, tmp_path / "pressed", on_step=press)
    steps = []
    train(
        resumed, tokenizer, CONFIG, tmp_path / "pressed", on_step=lambda step, _: steps.append(step)
    )
    assert steps == [4]
    torch.testing.assert_close(weights(resumed), weights(straight), rtol=0, atol=0)


def test_another_verifier_is_refused_by_the_folder(make_model, tokenizer, tmp_path):
    train(make_model(), tokenizer, CONFIG, tmp_path)
    model = make_model()
    engine = Engine(model, tokenizer)
    with pytest.raises(ValueError, match=r"verifier is .* there and .* here"):
        train_grpo(model, tokenizer, engine, EXAMPLES, like_nothing, CONFIG, folder=tmp_path)


def test_a_diverged_run_raises(make_model, tokenizer, tmp_path):
    config = replace(CONFIG, optimizer=AdamWConfig(lr=1e30, weight_decay=0.0))
    with pytest.raises(FloatingPointError, match=r"at step \d: lower"):
        train(make_model(), tokenizer, config, tmp_path)


def test_a_broken_policy_without_any_reward_raises(make_model, tokenizer):
    model, example = make_model(), EXAMPLES[0]
    rollouts = [
        Rollout(
            example=example,
            prompt_ids=[1],
            token_ids=[2],
            log_probs=[float("nan")],
            text="",
            is_truncated=False,
            reward=like_nothing("", "", ""),
        )
    ] * 16
    strategy = SerialStrategy(model, AdamW(model.parameters()))
    steps = GradientSteps(strategy, CONFIG.schedule, steps=4, max_grad_norm=1.0)
    with pytest.raises(FloatingPointError, match="entropy of the rollouts is nan at step 3"):
        learn_from_rollouts(model, steps, rollouts, CONFIG, step=3, pad_token_id=0)


def test_the_gauges_of_unequal_updates_by_hand(make_model):
    # Three updates of three groups: answers of 2, 1 and 3 tokens; the second group is pruned.
    answers = [([1, 2], [3, 4]), ([1, 2], [5, 6]), ([7], [8]), ([7], [9]), ([1], [2, 3, 4]),
               ([1], [4, 3, 2])]  # fmt: skip
    rewards = [1.0, 0.0, 0.5, 0.5, 1.0, 0.0]
    rollouts = [
        Rollout(
            example=EXAMPLES[0],
            prompt_ids=prompt,
            token_ids=answer,
            log_probs=[-1.0] * len(answer),
            text="",
            is_truncated=False,
            reward=Reward(value=value, parts={}, reason=""),
        )
        for (prompt, answer), value in zip(answers, rewards, strict=True)
    ]
    model = make_model()
    config = replace(
        CONFIG, prompts_per_step=3, group_size=2, updates_per_step=3,
        optimizer=AdamWConfig(lr=0.1, weight_decay=0.0),
    )  # fmt: skip
    strategy = SerialStrategy(model, AdamW(model.parameters(), lr=0.1))
    steps = GradientSteps(strategy, config.schedule, steps=4, max_grad_norm=1.0)
    batches = []

    def responses(index):
        rows = answers[2 * index : 2 * index + 2]
        return join_responses(*map(list, zip(*rows, strict=True)), pad_token_id=0)

    with torch.no_grad():
        old = [response_log_probs(model, responses(index)).log_probs for index in range(3)]
    take, kls = steps.take, []

    def measured(step, loss):
        batch = responses(len(kls))
        with torch.no_grad():
            new = response_log_probs(model, batch).log_probs
        kls.append(estimate_kl(new, old[len(kls)], batch.response_mask).item())
        batches.append(batch)
        return take(step, loss)

    steps.take = measured
    values = learn_from_rollouts(model, steps, rollouts, config, step=1, pad_token_id=0)
    # Rows as wide as the widest of the whole batch: prompt and answer without the last token.
    assert values["trained_tokens"] == 2 * 3 + 0 + 2 * 3
    assert values["kl"] == pytest.approx((6 * kls[0] + 6 * kls[2]) / 12, rel=1e-4)
    assert kls[2] > 0
    assert values["informative"] == pytest.approx(2 / 3)
    assert values["tokens"] == 4 + 4 + 2 + 2 + 4 + 4
    # Three prompts read once, each answer but its last token, and all rows of 3 scored.
    assert values["forward_tokens"] == (2 + 1 + 1) + (1 + 1 + 0 + 0 + 2 + 2) + 6 * 3


def test_config_survives_a_round_trip():
    config = replace(CONFIG, objective=SequenceClipped(), aggregation=ConstantSum())
    assert from_dict(GRPOConfig, to_dict(config)) == config


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps must be positive"),
        ({"group_size": 1}, "group_size must be at least 2"),
        ({"temperature": 0.7}, "temperature must be 1"),
        ({"advantage_eps": 0.0}, "advantage_eps must be positive"),
        ({"advantage_eps": float("inf")}, "advantage_eps must be finite"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be positive"),
        ({"micro_batch_size": 0}, "micro_batch_size must be positive or None"),
        ({"validate_every": 0}, "validate_every must be positive or None"),
        ({"checkpoint_every": 0}, "checkpoint_every must be positive or None"),
        ({"keep_checkpoints": 0}, "keep_checkpoints must be positive"),
        ({"seed": -1}, "seed must not be negative"),
        ({"updates_per_step": 3}, "does not divide 16 rollouts"),
    ],
)
def test_config_is_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **wrong)

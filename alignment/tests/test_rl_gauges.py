import math
from dataclasses import replace

import torch

from lm_alignment.examples import Example
from lm_alignment.rl.losses import (
    estimate_kl,
    informative_fraction,
    summarize_rollouts,
)
from lm_alignment.rl.rollouts import Rollout
from lm_alignment.verifiers import Reward


def make_rollout(value: float, log_probs: list[float], *, is_truncated: bool = False) -> Rollout:
    return Rollout(
        example=Example(question="q", answer="a"),
        prompt_ids=[1],
        token_ids=[2] * len(log_probs),
        log_probs=log_probs,
        text="",
        is_truncated=is_truncated,
        reward=Reward(value=value, parts={"format": 1.0 - value}, reason=""),
    )


def test_kl_estimate_equals_the_divergence_on_average():
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.3, 0.2])
    # Tokens in the proportions of p: the estimate is then the exact expectation.
    tokens = torch.tensor([[0] * 7 + [1] * 2 + [2]])
    mask = torch.ones(tokens.shape, dtype=torch.bool)
    expected = (p * (p / q).log()).sum()
    torch.testing.assert_close(estimate_kl(q.log()[tokens], p.log()[tokens], mask), expected)
    assert estimate_kl(p.log()[tokens], p.log()[tokens], mask) == 0


def test_informative_groups_are_those_with_an_advantage():
    assert informative_fraction(torch.tensor([0.0, 0.0, 1.0, -1.0]), 2) == 0.5


def test_summary_by_hand():
    rollouts = [
        make_rollout(1.0, [-math.log(2)]),
        make_rollout(0.0, [-math.log(2), -math.log(4), -math.log(8)], is_truncated=True),
    ]
    summary = summarize_rollouts(rollouts)
    assert summary["reward"] == summary["format"] == summary["truncated"] == 0.5
    assert summary["response_length"] == 2.0
    assert math.isclose(summary["entropy"], 7 * math.log(2) / 4)


def test_a_verifier_without_a_form_finds_every_form_right():
    plain = replace(make_rollout(0.0, [-1.0]), reward=Reward(value=0.0, parts={}, reason=""))
    assert summarize_rollouts([plain, make_rollout(1.0, [-1.0])])["format"] == 0.5

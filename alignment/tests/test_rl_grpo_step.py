import math

import pytest
import torch

from lm_alignment.config import (
    ConstantSum,
    ImportanceWeighted,
    OnPolicy,
    SequenceClipped,
    SequenceMean,
    TokenClipped,
)
from lm_alignment.masking import join_responses, response_log_probs
from lm_alignment.rl.grpo_step import PolicyBatch, accumulate_policy_gradient
from lm_alignment.rl.losses import add_up, token_losses
from lm_basics.optim import AdamW, ConstantSchedule
from lm_basics.training import SerialStrategy
from lm_basics.training.updates import GradientSteps

OBJECTIVES = [OnPolicy(), ImportanceWeighted(), TokenClipped(), SequenceClipped(clip_range=0.1)]


@pytest.fixture
def batch():
    return PolicyBatch(
        responses=join_responses(
            [[1, 2, 3], [4, 5], [6], [7, 8]],
            [[9, 10], [11, 12, 13], [14], [15, 16]],
            pad_token_id=0,
        ),
        advantages=torch.tensor([1.0, 0.0, -0.5, 0.7]),
    )


def make_steps(model) -> GradientSteps:
    strategy = SerialStrategy(model, AdamW(model.parameters(), lr=1e-2))
    return GradientSteps(strategy, ConstantSchedule(), steps=1, max_grad_norm=1.0)


def with_old_log_probs(model, batch: PolicyBatch) -> PolicyBatch:
    with torch.no_grad():
        present = response_log_probs(model, batch.responses).log_probs
    noise = 0.3 * torch.randn_like(present) * batch.responses.response_mask
    return PolicyBatch(
        responses=batch.responses, advantages=batch.advantages, old_log_probs=present + noise
    )


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def plain_gradients(model, batch: PolicyBatch, objective, aggregation):
    """All rollouts in one pass, none left out."""
    mask = batch.responses.response_mask
    log_probs = response_log_probs(model, batch.responses).log_probs
    old = log_probs.detach() if batch.old_log_probs is None else batch.old_log_probs
    losses = token_losses(
        objective, log_probs, batch.advantages, old_log_probs=old, response_mask=mask
    ).losses
    loss = add_up(aggregation, losses, mask, max_new_tokens=5)
    loss.backward()
    return loss.item(), gradients(model)


@pytest.mark.parametrize("micro_batch_size", [None, 1, 2])
@pytest.mark.parametrize("aggregation", [SequenceMean(), ConstantSum(), ConstantSum(constant=7.0)])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_pruning_and_micro_batches_leave_the_gradient_alone(
    make_model, batch, objective, aggregation, micro_batch_size
):
    batch = with_old_log_probs(make_model(), batch)
    loss, expected = plain_gradients(make_model(), batch, objective, aggregation)
    model = make_model()
    result = accumulate_policy_gradient(
        model,
        batch,
        objective,
        aggregation,
        max_new_tokens=5,
        micro_batch_size=micro_batch_size,
    )
    torch.testing.assert_close(gradients(model), expected)
    assert result.loss == pytest.approx(loss, rel=1e-4)


def test_rollouts_without_advantage_do_not_enter_the_model(make_model, batch):
    result = accumulate_policy_gradient(
        make_model(), batch, OnPolicy(), SequenceMean(), max_new_tokens=5
    )
    assert result.num_tokens == 3 * batch.responses.input_ids.shape[1]


def test_tokens_of_the_pruned_rollout_get_no_gradient(make_model, batch):
    model = make_model()
    accumulate_policy_gradient(model, batch, OnPolicy(), SequenceMean(), max_new_tokens=5)
    embedding = model.token_embeddings.weight.grad
    assert embedding is not None
    touched = embedding.abs().sum(-1).nonzero().flatten().tolist()
    # Inputs of rollouts 0, 2 and 3; the last response token of each is only a label.
    assert touched == [1, 2, 3, 6, 7, 8, 9, 15]


def test_on_policy_gauges_are_zero(make_model, batch):
    result = accumulate_policy_gradient(
        make_model(), batch, TokenClipped(), SequenceMean(), max_new_tokens=5
    )
    assert result.kl == 0
    assert result.clip_fraction == 0


def test_clip_fraction_counts_stopped_tokens(make_model, batch):
    model = make_model()
    with torch.no_grad():
        present = response_log_probs(model, batch.responses).log_probs
    shifted = PolicyBatch(
        responses=batch.responses, advantages=batch.advantages, old_log_probs=present - 1.0
    )
    result = accumulate_policy_gradient(
        model, shifted, TokenClipped(), SequenceMean(), max_new_tokens=5
    )
    # All ratios are e: stopped where the advantage is positive, 4 of 8 response tokens.
    assert result.clip_fraction == 0.5
    assert result.kl > 0


def test_a_batch_without_advantages_changes_nothing(make_model, batch):
    model = make_model()
    steps = make_steps(model)
    nothing = PolicyBatch(responses=batch.responses, advantages=torch.zeros(4))
    accumulate_policy_gradient(model, nothing, OnPolicy(), SequenceMean(), max_new_tokens=5)
    assert steps.take(1, 0.0)["grad_norm"] == 0
    torch.testing.assert_close(model.state_dict(), make_model().state_dict(), rtol=0, atol=0)


def test_kl_is_a_mean_over_the_tokens_that_were_scored(make_model, batch):
    model = make_model()
    with torch.no_grad():
        present = response_log_probs(model, batch.responses).log_probs
    shifted = PolicyBatch(
        responses=batch.responses, advantages=batch.advantages, old_log_probs=present - 1.0
    )
    kl = accumulate_policy_gradient(
        model, shifted, TokenClipped(), SequenceMean(), max_new_tokens=5
    ).kl
    # log w is 1 for every token: (e - 1) - 1, however many rollouts are left out.
    assert kl == pytest.approx(math.e - 2, rel=1e-5)

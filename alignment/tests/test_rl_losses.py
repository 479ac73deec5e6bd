import pytest
import torch

from alignment.tests.reference import sequence_losses, sequence_mean, token_loss
from lm_alignment.config import (
    ConstantSum,
    ImportanceWeighted,
    OnPolicy,
    SequenceClipped,
    SequenceMean,
    TokenClipped,
)
from lm_alignment.rl.losses import (
    add_up,
    aggregate_by_constant,
    aggregate_by_sequence,
    token_losses,
)

MASK = torch.tensor([[False, True, True, True], [True, True, False, False]])
ADVANTAGES = torch.tensor([1.5, -0.5])


@pytest.fixture
def log_probs():
    return -torch.rand(2, 4) * 3, -torch.rand(2, 4) * 3


@pytest.mark.parametrize(
    ("objective", "kind", "clip_range"),
    [
        (OnPolicy(), "none", 0.0),
        (ImportanceWeighted(), "noclip", 0.0),
        (TokenClipped(), "grpo", 0.2),
        (TokenClipped(clip_range=0.05), "grpo", 0.05),
    ],
)
def test_token_losses_equal_the_formulas(log_probs, objective, kind, clip_range):
    new, old = log_probs
    losses = token_losses(objective, new, old, ADVANTAGES, MASK).losses
    expected = [
        [
            token_loss(
                kind, ADVANTAGES[row].item(), new[row, t].item(), old[row, t].item(), clip_range
            )
            for t in range(4)
        ]
        for row in range(2)
    ]
    torch.testing.assert_close(losses, torch.tensor(expected))


def test_sequence_losses_equal_the_formula_over_response_tokens_only(log_probs):
    new, old = log_probs
    losses = token_losses(SequenceClipped(), new, old, ADVANTAGES, MASK).losses
    expected = [
        sequence_losses(
            ADVANTAGES[row].item(), new[row].tolist(), old[row].tolist(), MASK[row].tolist(), 3e-4
        )
        for row in range(2)
    ]
    torch.testing.assert_close(losses, torch.tensor(expected))


def test_hand_computed_clipping():
    # Ratios 2 and 1/2 with clip 0.2: a rise is cut for good answers, a fall for bad ones.
    new = torch.log(torch.tensor([[2.0, 0.5], [2.0, 0.5]]))
    result = token_losses(
        TokenClipped(clip_range=0.2),
        new,
        torch.zeros(2, 2),
        torch.tensor([1.0, -1.0]),
        torch.ones(2, 2, dtype=torch.bool),
    )
    torch.testing.assert_close(result.losses, torch.tensor([[-1.2, -0.5], [2.0, 0.8]]))
    assert result.is_clipped.tolist() == [[True, False], [False, True]]
    # Inside of the range nothing is clipped, whatever the sign.
    inside = token_losses(
        TokenClipped(clip_range=0.2),
        torch.log(torch.tensor([[1.1, 0.9], [1.1, 0.9]])),
        torch.zeros(2, 2),
        torch.tensor([1.0, -1.0]),
        torch.ones(2, 2, dtype=torch.bool),
    )
    torch.testing.assert_close(inside.losses, torch.tensor([[-1.1, -0.9], [1.1, 0.9]]))
    assert not inside.is_clipped.any()


@pytest.mark.parametrize("objective", [TokenClipped(), SequenceClipped()])
def test_clipped_tokens_get_no_gradient(log_probs, objective):
    new, old = (one.clone() for one in log_probs)
    new.requires_grad_()
    result = token_losses(objective, new, old, ADVANTAGES, MASK)
    (result.losses * MASK).sum().backward()
    assert new.grad is not None
    assert result.is_clipped[MASK].any()
    assert (new.grad[result.is_clipped & MASK] == 0).all()


@pytest.mark.parametrize("objective", [ImportanceWeighted(), TokenClipped(), SequenceClipped()])
def test_all_objectives_have_the_same_gradient_on_policy(objective):
    def gradient(chosen):
        new = torch.full((2, 4), -1.0, requires_grad=True)
        losses = token_losses(chosen, new, new.detach(), ADVANTAGES, MASK).losses
        aggregate_by_sequence(losses, MASK).backward()
        return new.grad

    torch.testing.assert_close(gradient(objective), gradient(OnPolicy()))


def test_aggregation_by_sequence_equals_the_plain_version():
    losses = torch.randn(2, 4)
    torch.testing.assert_close(
        aggregate_by_sequence(losses, MASK),
        torch.tensor(sequence_mean(losses.tolist(), MASK.tolist())),
    )


def test_hand_computed_aggregation():
    losses = torch.tensor([[9.0, 1.0, 2.0, 3.0], [4.0, 6.0, 9.0, 9.0]])
    assert aggregate_by_sequence(losses, MASK) == (2 + 5) / 2
    assert aggregate_by_constant(losses, MASK, 32) == (6 + 10) / 32


@pytest.mark.parametrize("aggregation", [SequenceMean(), ConstantSum()])
def test_parts_of_a_batch_add_up_to_the_batch(aggregation):
    losses = torch.randn(2, 4)
    sizes = {"num_rollouts": 2, "max_new_tokens": 4}
    whole = add_up(aggregation, losses, MASK, **sizes)
    parts = [add_up(aggregation, losses[i : i + 1], MASK[i : i + 1], **sizes) for i in range(2)]
    torch.testing.assert_close(sum(parts), whole)


@pytest.mark.parametrize("clip_range", [0.0, 1.0])
def test_clip_range_is_checked(clip_range):
    with pytest.raises(ValueError, match="between 0 and 1"):
        TokenClipped(clip_range=clip_range)
    with pytest.raises(ValueError, match="between 0 and 1"):
        SequenceClipped(clip_range=clip_range)

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
from lm_alignment.rl.losses import add_up, token_losses

MASK = torch.tensor([[False, True, True, True], [True, True, False, False]])
ADVANTAGES = torch.tensor([1.5, -0.5])


def losses_of(objective, new, old):
    return token_losses(objective, new, ADVANTAGES, old_log_probs=old, response_mask=MASK)


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
    losses = losses_of(objective, new, old).losses
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
    losses = losses_of(SequenceClipped(), new, old).losses
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
        torch.tensor([1.0, -1.0]),
        old_log_probs=torch.zeros(2, 2),
    )
    torch.testing.assert_close(result.losses, torch.tensor([[-1.2, -0.5], [2.0, 0.8]]))
    assert result.is_clipped.tolist() == [[True, False], [False, True]]
    # Inside of the range nothing is clipped, whatever the sign.
    inside = token_losses(
        TokenClipped(clip_range=0.2),
        torch.log(torch.tensor([[1.1, 0.9], [1.1, 0.9]])),
        torch.tensor([1.0, -1.0]),
        old_log_probs=torch.zeros(2, 2),
    )
    torch.testing.assert_close(inside.losses, torch.tensor([[-1.1, -0.9], [1.1, 0.9]]))
    assert not inside.is_clipped.any()


@pytest.mark.parametrize("objective", [TokenClipped(), SequenceClipped()])
def test_clipped_tokens_get_no_gradient(log_probs, objective):
    new, old = (one.clone() for one in log_probs)
    new.requires_grad_()
    result = losses_of(objective, new, old)
    (result.losses * MASK).sum().backward()
    assert new.grad is not None
    assert result.is_clipped[MASK].any()
    assert (new.grad[result.is_clipped & MASK] == 0).all()


@pytest.mark.parametrize("objective", [ImportanceWeighted(), TokenClipped(), SequenceClipped()])
def test_all_objectives_have_the_same_gradient_on_policy(objective):
    def gradient(chosen):
        new = torch.full((2, 4), -1.0, requires_grad=True)
        losses = losses_of(chosen, new, new.detach()).losses
        add_up(SequenceMean(), losses, MASK).backward()
        return new.grad

    torch.testing.assert_close(gradient(objective), gradient(OnPolicy()))


def test_aggregation_by_sequence_equals_the_plain_version():
    losses = torch.randn(2, 4)
    torch.testing.assert_close(
        add_up(SequenceMean(), losses, MASK),
        torch.tensor(sequence_mean(losses.tolist(), MASK.tolist())),
    )


def test_hand_computed_aggregation():
    losses = torch.tensor([[9.0, 1.0, 2.0, 3.0], [4.0, 6.0, 9.0, 9.0]])
    assert add_up(SequenceMean(), losses, MASK) == (2 + 5) / 2
    assert add_up(ConstantSum(constant=32), losses, MASK) == (6 + 10) / 32


@pytest.mark.parametrize("aggregation", [SequenceMean(), ConstantSum(), ConstantSum(constant=0.3)])
def test_parts_of_a_batch_add_up_to_the_batch(aggregation):
    losses = torch.randn(2, 4)
    sizes = {"num_rollouts": 2, "max_new_tokens": 4}
    whole = add_up(aggregation, losses, MASK, **sizes)
    parts = [add_up(aggregation, losses[i : i + 1], MASK[i : i + 1], **sizes) for i in range(2)]
    torch.testing.assert_close(sum(parts), whole)


@pytest.mark.parametrize(
    ("objective", "needed"),
    [
        (OnPolicy(), ()),
        (ImportanceWeighted(), ("old_log_probs",)),
        (TokenClipped(clip_range=3.0), ("old_log_probs",)),
        (SequenceClipped(clip_range=3.0), ("old_log_probs", "response_mask")),
    ],
)
def test_objectives_ask_for_what_they_use_alone(log_probs, objective, needed):
    new, old = log_probs
    given = {"old_log_probs": old, "response_mask": MASK.long()}
    given = {name: given[name] for name in needed}
    result = token_losses(objective, new, ADVANTAGES[:, None], **given).losses
    torch.testing.assert_close(result, losses_of(objective, new, old).losses)
    for name in needed:
        rest = {other: value for other, value in given.items() if other != name}
        with pytest.raises(ValueError, match=f"give {name}"):
            token_losses(objective, new, ADVANTAGES, **rest)


def test_ratios_of_bfloat16_log_probs_are_taken_in_float32():
    new, old = (torch.full((1, 1), value, dtype=torch.bfloat16) for value in (-1.0, -1.0078125))
    losses = token_losses(ImportanceWeighted(), new, torch.ones(1), old_log_probs=old).losses
    torch.testing.assert_close(losses, -torch.exp(new.float() - old.float()))


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_settings_are_checked(wrong):
    for make in (TokenClipped, SequenceClipped):
        with pytest.raises(ValueError, match="clip_range must be positive"):
            make(clip_range=wrong)
    with pytest.raises(ValueError, match="constant must be positive"):
        ConstantSum(constant=wrong)

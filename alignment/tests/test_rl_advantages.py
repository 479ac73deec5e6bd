import itertools

import pytest
import torch

from alignment.tests.reference import normalize_group
from lm_alignment.rl.advantages import normalize_groups


@pytest.mark.parametrize(
    ("baseline", "normalizer"),
    list(itertools.product(["mean", "none"], ["std", "mean", "none"])),
)
def test_groups_equal_the_plain_version(baseline, normalizer):
    groups = [[0.0, 1.0, 1.0, 0.0], [0.5, 0.25, 0.0, 2.0], [1.0, 1.0, 1.0, 1.0]]
    expected = [x for g in groups for x in normalize_group(g, baseline, normalizer, 1e-6)]
    advantages = normalize_groups(
        torch.tensor(groups).flatten(), 4, baseline=baseline, normalizer=normalizer
    )
    torch.testing.assert_close(advantages, torch.tensor(expected))


def test_group_deviation_is_the_unbiased_one():
    # Mean 1/2; squares sum to 1/2; divided by n - 1 = 1 the deviation is sqrt(1/2).
    advantages = normalize_groups(torch.tensor([1.0, 0.0]), 2, eps=0.0)
    torch.testing.assert_close(advantages, torch.tensor([0.5**0.5, -(0.5**0.5)]))


def test_equal_rewards_teach_nothing():
    assert normalize_groups(torch.tensor([1.0, 1.0, 0.0, 0.0]), 2).tolist() == [0.0] * 4


def test_advantages_do_not_depend_on_other_groups():
    rewards = torch.tensor([1.0, 0.0, 0.0, 5.0, 6.0, 9.0])
    torch.testing.assert_close(normalize_groups(rewards, 3)[:3], normalize_groups(rewards[:3], 3))


def test_advantages_are_invariant_to_shift_and_scale_of_rewards():
    rewards = torch.tensor([1.0, 0.0, 0.0, 5.0])
    torch.testing.assert_close(
        normalize_groups(3 * rewards + 7, 4, eps=0.0), normalize_groups(rewards, 4, eps=0.0)
    )


def test_ragged_groups_are_refused():
    with pytest.raises(ValueError, match="5 rollouts do not divide into groups of 2"):
        normalize_groups(torch.zeros(5), 2)


@pytest.mark.parametrize("group_size", [0, -2])
def test_groups_have_a_positive_size(group_size):
    with pytest.raises(ValueError, match=f"4 rollouts do not divide into groups of {group_size}"):
        normalize_groups(torch.zeros(4), group_size)


def test_a_group_of_one_has_no_deviation():
    with pytest.raises(ValueError, match="at least 2"):
        normalize_groups(torch.zeros(5), 1)
    assert normalize_groups(torch.ones(2), 1, baseline="none", normalizer="none").tolist() == [1, 1]


@pytest.mark.parametrize("normalizer", ["std", "mean", "none"])
@pytest.mark.parametrize("eps", [1e-6, 0.0])
def test_equal_rewards_that_round_teach_nothing(normalizer, eps):
    # The float32 mean of eight times 100.1 is not 100.1.
    rewards = torch.full((8,), 100.1)
    assert normalize_groups(rewards, 8, normalizer=normalizer, eps=eps).tolist() == [0.0] * 8


def test_large_rewards_keep_their_small_differences():
    rewards = torch.tensor([4096.0, 4096.5, 4097.0, 4096.0])
    torch.testing.assert_close(
        normalize_groups(rewards, 4), normalize_groups(rewards - 4096, 4), rtol=0, atol=0
    )


def test_a_mean_of_signed_rewards_is_no_scale():
    with pytest.raises(ValueError, match="rewards of at least 0, got -1"):
        normalize_groups(torch.tensor([1.0, -1.0]), 2, normalizer="mean")
    assert normalize_groups(torch.zeros(2), 2, normalizer="mean").tolist() == [0.0, 0.0]


def test_the_mean_is_enlarged_by_eps():
    advantages = normalize_groups(torch.tensor([2.0, 0.0]), 2, normalizer="mean", eps=1.0)
    assert advantages.tolist() == [0.5, -0.5]

"""Experts against a loop over tokens, and the load-balancing loss by hand."""

import pytest
import torch

from lm_basics.model_config import MixtureOfExpertsConfig, MLPConfig, SwiGLUConfig
from lm_basics.nn import MixtureOfExperts, balance_loss


@pytest.mark.parametrize("expert", [SwiGLUConfig(d_ff=12), MLPConfig(d_ff=12)], ids=str)
@pytest.mark.parametrize("num_active", [1, 2, 5])
def test_each_token_goes_through_its_experts(
    expert: SwiGLUConfig | MLPConfig, num_active: int
) -> None:
    config = MixtureOfExpertsConfig(num_experts=5, num_active=num_active, expert=expert)
    layer, x = MixtureOfExperts(8, config), torch.randn(2, 3, 8)
    expected = torch.empty_like(x)
    for row in range(2):
        for place in range(3):
            token = x[row, place]
            scores = torch.softmax(layer.router.weight @ token, dim=0)
            best = scores.argsort(descending=True)[:num_active].tolist()
            total = sum(scores[e] for e in best)
            expected[row, place] = sum(scores[e] / total * layer.experts[e](token) for e in best)
    torch.testing.assert_close(layer(x), expected)


def test_one_expert_is_a_plain_layer() -> None:
    config = MixtureOfExpertsConfig(num_experts=1, num_active=1, expert=SwiGLUConfig(d_ff=12))
    layer, x = MixtureOfExperts(8, config), torch.randn(4, 8)
    torch.testing.assert_close(layer(x), layer.experts[0](x))


def test_the_balance_loss_is_one_for_even_use_and_the_experts_for_one_alone() -> None:
    even = torch.full((4, 4), 0.25)
    chosen = torch.tensor([[0, 1], [2, 3], [0, 2], [1, 3]])
    assert balance_loss(even, chosen).item() == pytest.approx(1.0)
    alone = torch.eye(4)[[2, 2, 2, 2]]
    assert balance_loss(alone, torch.full((4, 1), 2)).item() == pytest.approx(4.0)
    # Shares 3/4 and 1/4, mean probabilities 0.6 and 0.4: 2 (0.45 + 0.1).
    probabilities = torch.tensor([[0.7, 0.3], [0.7, 0.3], [0.7, 0.3], [0.3, 0.7]])
    chosen = torch.tensor([[0], [0], [0], [1]])
    assert balance_loss(probabilities, chosen).item() == pytest.approx(1.1)


def test_balancing_evens_out_a_router_that_prefers_one_expert() -> None:
    config = MixtureOfExpertsConfig(
        num_experts=4, num_active=1, expert=MLPConfig(d_ff=4), balance_weight=1.0
    )
    layer, x = MixtureOfExperts(8, config), torch.randn(256, 8) + 1
    with torch.no_grad():
        layer.router.weight[0] += 1
    optimizer = torch.optim.SGD(layer.router.parameters(), lr=0.1)
    losses = []
    for _ in range(200):
        objectives: list[torch.Tensor] = []
        layer(x, objectives)
        losses.append(objectives[0].item())
        optimizer.zero_grad()
        objectives[0].backward()
        optimizer.step()
    assert losses[0] > 2.5
    assert losses[-1] < 1.3

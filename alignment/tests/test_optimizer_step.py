import pytest
import torch
from torch import nn

from lm_alignment.optimizer_step import update_parameters
from lm_basics.optim.adamw import AdamW


@pytest.fixture
def model():
    model = nn.Linear(2, 1, bias=False)
    model.weight.grad = torch.tensor([[3.0, 4.0]])
    return model


def test_update_drops_the_gradients_and_returns_their_norm(model):
    before = model.weight.detach().clone()
    assert update_parameters(model, AdamW([model.weight]), loss=1.0, max_grad_norm=1e-3) == 5.0
    assert model.weight.grad is None
    assert not torch.equal(model.weight, before)


@pytest.mark.parametrize(("loss", "gradient"), [(float("nan"), 1.0), (1.0, float("inf"))])
def test_numbers_that_are_not_finite_change_nothing(model, loss, gradient):
    before = model.weight.detach().clone()
    model.weight.grad = torch.tensor([[gradient, 0.0]])
    with pytest.raises(FloatingPointError, match=r"the loss is .* lower the learning rate"):
        update_parameters(model, AdamW([model.weight]), loss=loss, max_grad_norm=1.0)
    torch.testing.assert_close(model.weight.detach(), before, rtol=0, atol=0)

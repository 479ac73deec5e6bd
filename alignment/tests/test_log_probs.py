import math

import pytest
import torch

from lm_alignment.masking import (
    compute_entropy,
    gather_log_probs,
    join_responses,
    response_log_probs,
)


@pytest.fixture
def batch():
    return join_responses([[1, 2, 3], [4, 5]], [[6, 7], [8, 9, 10, 11]], pad_token_id=0)


def test_log_probs_equal_log_softmax():
    logits, labels = torch.randn(2, 5, 11), torch.randint(11, (2, 5))
    expected = torch.log_softmax(logits, -1).gather(-1, labels[..., None]).squeeze(-1)
    torch.testing.assert_close(gather_log_probs(logits, labels), expected)


def test_log_probs_survive_large_logits():
    logits = torch.tensor([[1e4, 0.0]])
    torch.testing.assert_close(gather_log_probs(logits, torch.tensor([0])), torch.tensor([0.0]))


def test_entropy_limits():
    uniform, certain = torch.zeros(1, 8), torch.tensor([[1e4] + [0.0] * 7])
    torch.testing.assert_close(compute_entropy(uniform), torch.tensor([math.log(8)]))
    torch.testing.assert_close(compute_entropy(certain), torch.tensor([0.0]))


def test_entropy_equals_torch_categorical():
    logits = torch.randn(3, 4, 9)
    expected = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(compute_entropy(logits), expected)


def test_responses_score_as_in_a_pass_over_all_logits(make_model, batch):
    model = make_model()
    result = response_log_probs(model, batch, with_entropy=True)
    logits = model(batch.input_ids)
    expected = gather_log_probs(logits, batch.labels) * batch.response_mask
    torch.testing.assert_close(result.log_probs, expected)
    assert result.entropy is not None
    torch.testing.assert_close(result.entropy, compute_entropy(logits) * batch.response_mask)


def test_prompt_labels_and_padding_get_no_gradient(make_model, batch):
    model = make_model()
    response_log_probs(model, batch).log_probs.sum().backward()
    head = model.output_weight.grad
    assert head is not None
    # The logits' gradient is one_hot(label) - p: were a prompt label a target, its row would rise.
    logits_gradient = []
    logits = model(batch.input_ids).detach().requires_grad_()
    (gather_log_probs(logits, batch.labels) * batch.response_mask).sum().backward()
    logits_gradient = logits.grad
    assert logits_gradient is not None
    assert (logits_gradient[~batch.response_mask] == 0).all()
    hidden = model.hidden(batch.input_ids)
    expected = torch.einsum("bsv,bsd->vd", logits_gradient, hidden)
    torch.testing.assert_close(head, expected)


def test_entropy_carries_no_gradient(make_model, batch):
    entropy = response_log_probs(make_model(), batch, with_entropy=True).entropy
    assert entropy is not None
    assert not entropy.requires_grad

"""Optimizers against torch's, schedules and clipping against the formulas."""

import math

import pytest
import torch

from lm_basics.model_config import uniform_transformer
from lm_basics.optim import (
    AdamW,
    AdamWConfig,
    ConstantSchedule,
    CosineSchedule,
    Muon,
    MuonConfig,
    build_optimizer,
    clip_gradients,
    get_lr_cosine_schedule,
)
from lm_basics.optim.muon import orthogonalize
from lm_basics.transformer import TransformerLM


def _descend(optimizer_class: type[torch.optim.Optimizer], **settings: object) -> torch.Tensor:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(4, 3))
    target = torch.randn(4, 3)
    optimizer = optimizer_class([weight], **settings)  # pyright: ignore[reportCallIssue]
    for _ in range(50):
        optimizer.zero_grad()
        (weight - target).square().sum().backward()
        optimizer.step()
    return weight.detach()


def test_adamw_matches_torch() -> None:
    settings = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-10, "weight_decay": 0.1}
    ours, theirs = _descend(AdamW, **settings), _descend(torch.optim.AdamW, **settings)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_adamw_decays_before_the_step_by_hand() -> None:
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    weight.grad = torch.tensor([4.0])
    AdamW([weight], lr=0.1, betas=(0.5, 0.5), eps=1.0, weight_decay=0.5).step()
    # m = 2, v = 8; the rate of step 1 is 0.1 * sqrt(0.5) / 0.5.
    expected = 2.0 * 0.95 - 0.1 * math.sqrt(0.5) / 0.5 * 2 / (math.sqrt(8) + 1)
    torch.testing.assert_close(weight.item(), expected)


def test_orthogonalize_brings_singular_values_near_one_and_keeps_the_directions() -> None:
    for shape in [(16, 48), (48, 16), (3, 20, 20)]:
        matrix = torch.randn(*shape)
        result = orthogonalize(matrix)
        values = torch.linalg.svdvals(result)
        # A square Gaussian matrix has singular values near zero, which five iterations do not lift.
        assert values.max() < 1.3
        assert values.median() > 0.6
        u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
        inner = (result * (u @ vh)).sum((-2, -1)) / min(shape[-2:])
        assert inner.min() > 0.7


def test_muon_step_ignores_the_scale_of_the_gradient() -> None:
    updates = []
    for scale in (1.0, 1000.0):
        torch.manual_seed(1)
        weight = torch.nn.Parameter(torch.zeros(8, 8))
        weight.grad = torch.randn(8, 8) * scale
        Muon([weight], [], MuonConfig(lr=0.1)).step()
        updates.append(weight.detach())
    torch.testing.assert_close(updates[0], updates[1], rtol=1e-3, atol=1e-4)


def test_every_parameter_gets_exactly_one_rule() -> None:
    model = TransformerLM(
        uniform_transformer(
            vocab_size=20, context_length=8, d_model=8, num_layers=2, num_heads=2, qk_norm=True
        )
    )
    for config in (AdamWConfig(), MuonConfig()):
        groups = build_optimizer(model, config).param_groups
        listed = [id(p) for group in groups for p in group["params"]]
        assert sorted(listed) == sorted(id(p) for p in model.parameters())
        for group in groups:
            for parameter in group["params"]:
                assert parameter.ndim == 2 or group["weight_decay"] == 0
    groups = build_optimizer(model, MuonConfig()).param_groups
    muon = {id(p) for group in groups if group["rule"] == "muon" for p in group["params"]}
    assert id(model.token_embeddings.weight) not in muon
    assert id(model.output_weight) not in muon
    assert len(muon) == 2 * 7


def test_cosine_schedule_follows_the_formula() -> None:
    rates = [get_lr_cosine_schedule(t, 1.0, 0.1, 7, 21) for t in range(25)]
    assert rates[0] == 0
    assert rates[7] == 1
    assert rates[14] == pytest.approx(0.55)
    assert rates[21:] == [pytest.approx(0.1)] * 4
    assert rates[3] == pytest.approx(3 / 7)


def test_schedules_learn_on_the_first_and_on_the_last_step() -> None:
    cosine = CosineSchedule(warmup_fraction=0.1, final_fraction=0.0)
    scales = [cosine.scale(step, 100) for step in range(100)]
    assert 0 < scales[0] <= 0.1
    assert max(scales) == pytest.approx(1.0)
    assert 0 < scales[-1] < 0.01
    constant = ConstantSchedule(warmup_fraction=0.1)
    assert constant.scale(0, 100) == pytest.approx(0.1)
    assert constant.scale(99, 100) == 1


def test_clipping_uses_the_global_norm_and_skips_absent_gradients() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(3)) for _ in range(3)]
    parameters[0].grad, parameters[1].grad = torch.full((3,), 3.0), torch.full((3,), 4.0)
    norm = clip_gradients(parameters, 1.0)
    torch.testing.assert_close(norm.item(), math.sqrt(3 * 25))
    torch.testing.assert_close(parameters[0].grad, torch.full((3,), 3.0 / math.sqrt(75)))
    assert parameters[2].grad is None
    clip_gradients(parameters, 100.0)
    torch.testing.assert_close(parameters[1].grad, torch.full((3,), 4.0 / math.sqrt(75)))


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="lr must not be negative"):
        AdamWConfig(lr=-1.0)
    with pytest.raises(ValueError, match="betas"):
        AdamW([torch.nn.Parameter(torch.zeros(1))], betas=(1.0, 0.9))
    with pytest.raises(ValueError, match="momentum"):
        MuonConfig(momentum=1.0)
    with pytest.raises(ValueError, match="max_norm must be positive"):
        clip_gradients([], 0.0)
    with pytest.raises(ValueError, match="warmup_fraction"):
        CosineSchedule(warmup_fraction=2.0)

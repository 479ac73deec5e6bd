"""Optimizers against torch's, clipping against the formula."""

import copy
import dataclasses
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from basics.tests.reference import muon_by_hand
from lm_basics.model_config import MixtureOfExpertsConfig, SwiGLUConfig, uniform_transformer
from lm_basics.optim import (
    SGD,
    SOAP,
    AdamW,
    AdamWConfig,
    Implementation,
    InverseSqrtSchedule,
    Muon,
    MuonConfig,
    OptimizerConfig,
    SGDConfig,
    SOAPConfig,
    WarmupStableDecaySchedule,
    build_optimizer,
    clip_gradients,
)
from lm_basics.optim.muon import orthogonalize
from lm_basics.training import TrainingConfig, load_checkpoint, save_checkpoint
from lm_basics.transformer import TransformerLM
from lm_shared.config import from_dict, to_dict


def _descend(
    optimizer_class: Callable[..., torch.optim.Optimizer], **settings: Any
) -> torch.Tensor:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(4, 3))
    target = torch.randn(4, 3)
    optimizer = optimizer_class([weight], **settings)
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


@pytest.mark.parametrize("shape", [(6, 3), (3, 6), (4, 4), (9, 2)])
def test_muon_equals_the_plain_version(shape: tuple[int, int]) -> None:
    settings: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.3}
    start, gradients = torch.randn(shape), [torch.randn(shape) for _ in range(4)]
    # Of the same shape and beside it: both go through the iteration in one stack.
    weight, neighbour = torch.nn.Parameter(start.clone()), torch.nn.Parameter(torch.ones(shape))
    optimizer = Muon([weight, neighbour], [], MuonConfig(**settings))
    for gradient in gradients:
        weight.grad, neighbour.grad = gradient, -gradient
        optimizer.step()
    expected = muon_by_hand(start, gradients, **settings)
    torch.testing.assert_close(weight.detach().double(), expected, rtol=1e-4, atol=1e-5)
    opposite = muon_by_hand(torch.ones(shape), [-one for one in gradients], **settings)
    torch.testing.assert_close(neighbour.detach().double(), opposite, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["muon", "soap", "sgd"])
def test_every_rule_goes_downhill(name: str) -> None:
    torch.manual_seed(0)
    weight, target = torch.nn.Parameter(torch.randn(4, 3)), torch.randn(4, 3)
    optimizer = {
        "muon": lambda: Muon([weight], [], MuonConfig(lr=0.05)),
        "soap": lambda: SOAP([weight], [], SOAPConfig(lr=0.05)),
        "sgd": lambda: SGD([weight], lr=0.05),
    }[name]()
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (weight - target).square().sum()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


def test_muon_step_ignores_the_scale_of_the_gradient() -> None:
    updates = []
    for scale in (1.0, 1000.0):
        torch.manual_seed(1)
        weight = torch.nn.Parameter(torch.zeros(8, 8))
        weight.grad = torch.randn(8, 8) * scale
        Muon([weight], [], MuonConfig(lr=0.1)).step()
        updates.append(weight.detach())
    torch.testing.assert_close(updates[0], updates[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_matches_torch(momentum: float) -> None:
    ours, theirs = (_descend(kind, lr=0.01, momentum=momentum) for kind in (SGD, torch.optim.SGD))
    torch.testing.assert_close(ours, theirs)


def test_sgd_decays_as_torch_does_without_momentum() -> None:
    ours, theirs = (_descend(kind, lr=0.01, weight_decay=0.5) for kind in (SGD, torch.optim.SGD))
    torch.testing.assert_close(ours, theirs)


def test_the_decay_of_sgd_is_no_part_of_its_momentum() -> None:
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = SGD([weight], lr=0.1, momentum=0.5, weight_decay=1.0)
    for _ in range(2):
        weight.grad = torch.tensor([4.0])
        optimizer.step()
    # 2 -> 2 * 0.9 - 0.1 * 4 = 1.4 -> 1.4 * 0.9 - 0.1 * (0.5 * 4 + 4)
    torch.testing.assert_close(weight.item(), 1.4 * 0.9 - 0.6)


def test_learning_rate_tuning_of_the_course() -> None:
    """SGD on the mean square of 100 weights; the rate of step ``t`` is ``lr / sqrt(t + 1)``."""

    def losses(lr: float) -> list[float]:
        torch.manual_seed(0)
        weights = torch.nn.Parameter(5 * torch.randn(10, 10))
        optimizer, values = SGD([weights], lr), []
        for step in range(10):
            optimizer.param_groups[0]["lr"] = lr * InverseSqrtSchedule().scale(step, 10)
            optimizer.zero_grad()
            loss = weights.square().mean()
            values.append(loss.item())
            loss.backward()
            optimizer.step()
        return values

    for lr in (1.0, 1e1, 1e2, 1e3):
        first, *_, last = losses(lr)
        # The gradient is 2 w / 100, so every step scales all weights.
        scale = math.prod(1 - 0.02 * lr / math.sqrt(t + 1) for t in range(9))
        assert last == pytest.approx(first * scale**2, rel=1e-3, abs=1e-9)
    slow, fast, very_fast, diverging = (losses(lr) for lr in (1.0, 1e1, 1e2, 1e3))
    assert fast[-1] < slow[-1] / 2
    assert very_fast[4] < 1e-9
    assert diverging[-1] > 1e9 * diverging[0]


def test_a_closure_is_evaluated_with_gradients_and_its_loss_returned() -> None:
    for optimizer_class, arguments in [
        (AdamW, ()),
        (SGD, ()),
        (Muon, ([], MuonConfig())),
        (SOAP, ([], SOAPConfig())),
    ]:
        weight = torch.nn.Parameter(torch.eye(2))
        optimizer = optimizer_class([weight], *arguments)

        def closure(weight: torch.nn.Parameter = weight) -> torch.Tensor:
            weight.grad = None
            loss = (weight * torch.arange(4.0).view(2, 2)).sum()
            loss.backward()
            return loss

        assert optimizer.step(closure).item() == 3.0
        optimizer.step(closure)
        assert not torch.equal(weight, torch.eye(2))


CONFIGS: list[OptimizerConfig] = [
    AdamWConfig(),
    MuonConfig(),
    SOAPConfig(precondition_frequency=2),
    SOAPConfig(precondition_frequency=2, max_precond_dim=16),
    SGDConfig(),
    SGDConfig(momentum=0.0),
]
CONFIG_NAMES = ["adamw", "muon", "soap", "soap_one_sided", "sgd", "sgd_plain"]


def _mixture_model() -> TransformerLM:
    dense = uniform_transformer(
        vocab_size=20, context_length=8, d_model=16, num_layers=2, num_heads=2, qk_norm=True
    )
    (block,) = dense.pattern
    experts = MixtureOfExpertsConfig(num_experts=4, num_active=2, expert=SwiGLUConfig(d_ff=24))
    mixture = dataclasses.replace(block, feedforward=experts)
    torch.manual_seed(0)
    return TransformerLM(dataclasses.replace(dense, pattern=(block, mixture)))


@pytest.mark.parametrize("config", CONFIGS, ids=CONFIG_NAMES)
def test_every_parameter_gets_exactly_one_rule_and_only_matrices_decay(
    config: OptimizerConfig,
) -> None:
    model = _mixture_model()
    model.get_parameter("layers.0.ln1.weight").requires_grad_(False)
    groups = build_optimizer(model, config).param_groups
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    for group in groups:
        for parameter in group["params"]:
            assert parameter.ndim == 2 or group["weight_decay"] == 0


@pytest.mark.parametrize("config", [MuonConfig(), SOAPConfig()])
def test_tables_and_routers_are_no_hidden_matrices(config: MuonConfig | SOAPConfig) -> None:
    model = _mixture_model()
    names = {id(p): name for name, p in model.named_parameters()}
    rules: dict[str, set[str]] = {}
    for group in build_optimizer(model, config).param_groups:
        rules.setdefault(group["rule"], set()).update(names[id(p)] for p in group["params"])
    matrices = {name for name, p in model.named_parameters() if p.ndim == 2}
    assert rules["adamw"] & matrices == {
        "token_embeddings.weight",
        "lm_head.weight",
        "layers.1.ffn.router.weight",
    }
    # Four of attention in both blocks, three of the dense layer and of each of four experts.
    assert len(rules.keys() - {"adamw"}) == 1
    assert sum(len(of) for rule, of in rules.items() if rule != "adamw") == 8 + 3 + 4 * 3


@pytest.mark.parametrize("implementation", ["auto", "reference"])
@pytest.mark.parametrize("config", CONFIGS, ids=CONFIG_NAMES)
def test_saved_in_the_middle_it_goes_on_bit_for_bit(
    config: OptimizerConfig, implementation: Implementation, tmp_path: Path
) -> None:
    batches = torch.randint(20, (6, 2, 9), generator=torch.Generator().manual_seed(1))

    def run(steps: range, *, load: bool, save: bool) -> tuple[TransformerLM, dict[str, Any]]:
        model = _mixture_model()
        optimizer = build_optimizer(model, config, implementation=implementation)
        if load:
            assert load_checkpoint(tmp_path / "a.safetensors", model, optimizer) == steps.start
        for step in steps:
            optimizer.zero_grad()
            model.loss(batches[step, :, :-1], batches[step, :, 1:]).backward()
            optimizer.step()
        if save:
            save_checkpoint(model, optimizer, steps.stop, tmp_path / "a.safetensors")
        return model, optimizer.state_dict()

    straight, straight_state = run(range(6), load=False, save=False)
    run(range(3), load=False, save=True)
    resumed, resumed_state = run(range(3, 6), load=True, save=False)
    initial = _mixture_model()
    for (name, a), b in zip(straight.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b), name
        assert not torch.equal(a, initial.get_parameter(name)), name
    for index, values in straight_state["state"].items():
        for name, value in values.items():
            other = resumed_state["state"][index][name]
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other)), (index, name)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
@pytest.mark.parametrize("implementation", ["auto", "reference"])
@pytest.mark.parametrize("config", CONFIGS, ids=CONFIG_NAMES)
def test_a_copy_computes_as_the_original(
    config: OptimizerConfig,
    implementation: Implementation,
    copied: Callable[[torch.optim.Optimizer], torch.optim.Optimizer],
) -> None:
    original = build_optimizer(_mixture_model(), config, implementation=implementation)
    other = copied(original)
    for _ in range(3):
        for one in (original, other):
            for number, weight in enumerate(_weights(one)):
                weight.grad = weight.detach().cos() * number
            one.step()
    assert getattr(other, "implementation") == getattr(original, "implementation")  # noqa: B009
    for a, b in zip(_weights(original), _weights(other), strict=True):
        assert a is not b
        assert torch.equal(a, b)


def _weights(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


TORCH_S = {
    "AdamW": torch.optim.AdamW,
    "Adam": torch.optim.Adam,
    "SGD": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
    "RMSprop": torch.optim.RMSprop,
    "Muon": torch.optim.Muon,
}
OURS = {
    "AdamW": AdamW,
    "SGD": lambda params: SGD(params, momentum=0.9),
    "Muon": lambda params: Muon(params, [], MuonConfig()),
    "SOAP": lambda params: SOAP(params, [], SOAPConfig()),
}


@pytest.mark.parametrize("num_steps", [0, 1])
@pytest.mark.parametrize("name", OURS)
def test_the_state_of_another_optimizer_is_refused(name: str, num_steps: int) -> None:
    def stepped(make: Callable[..., torch.optim.Optimizer]) -> torch.optim.Optimizer:
        weight = torch.nn.Parameter(torch.ones(2, 3))
        optimizer = make([weight])
        for _ in range(num_steps):
            weight.grad = torch.ones(2, 3)
            optimizer.step()
        return optimizer

    mine = stepped(OURS[name])
    before = copy.deepcopy(mine.state_dict())
    foreign = {other: make for other, make in OURS.items() if other != name}
    for make in (*TORCH_S.values(), *foreign.values()):
        with pytest.raises(ValueError, match="the state is of another optimizer than lm_basics"):
            mine.load_state_dict(stepped(make).state_dict())
    # What torch's schedulers note down beside the settings does not count.
    scheduled = stepped(OURS[name])
    torch.optim.lr_scheduler.StepLR(scheduled, 1)
    mine.load_state_dict(scheduled.state_dict())
    assert mine.state_dict()["state"].keys() == before["state"].keys()


@pytest.mark.parametrize("labels", [("a", None), (None, "a"), ("a", "b")])
@pytest.mark.parametrize("name", OURS)
def test_a_label_of_a_group_is_no_setting(name: str, labels: tuple[str | None, str | None]) -> None:
    saved, other = (OURS[name]([torch.nn.Parameter(torch.ones(2, 3))]) for _ in labels)
    for optimizer, label in zip((saved, other), labels, strict=True):
        if label is not None:
            optimizer.param_groups[0]["name"] = label
    saved.param_groups[0]["lr"] = 0.125
    other.load_state_dict(saved.state_dict())
    assert other.state_dict() == saved.state_dict()


def test_moments_of_other_names_are_refused() -> None:
    optimizer = AdamW([torch.nn.Parameter(torch.ones(2))])
    state = optimizer.state_dict()
    state["state"] = {0: {"step": 1, "exp_avg": torch.ones(2), "exp_avg_sq": torch.ones(2)}}
    with pytest.raises(ValueError, match=r"has \['exp_avg', 'exp_avg_sq', 'step'\] instead of"):
        optimizer.load_state_dict(state)


@pytest.mark.parametrize("config", CONFIGS, ids=CONFIG_NAMES)
def test_the_configuration_of_every_optimizer_survives_its_json(config: OptimizerConfig) -> None:
    training = TrainingConfig(steps=1, optimizer=config, schedule=WarmupStableDecaySchedule())
    assert from_dict(TrainingConfig, json.loads(json.dumps(to_dict(training)))) == training


def test_clipping_uses_the_global_norm_and_skips_absent_gradients() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(3)) for _ in range(3)]
    parameters[0].grad, parameters[1].grad = torch.full((3,), 3.0), torch.full((3,), 4.0)
    norm = clip_gradients(parameters, 1.0)
    torch.testing.assert_close(norm.item(), math.sqrt(3 * 25))
    torch.testing.assert_close(parameters[0].grad, torch.full((3,), 3.0 / math.sqrt(75)))
    assert parameters[2].grad is None
    clip_gradients(parameters, 100.0)
    torch.testing.assert_close(parameters[1].grad, torch.full((3,), 4.0 / math.sqrt(75)))


def test_the_norm_of_gradients_in_half_precision_is_taken_in_float32() -> None:
    # Their squares lie outside of float16's range, above and below.
    for value in (300.0, 1e-4):
        weight = torch.nn.Parameter(torch.zeros(4096, dtype=torch.float16))
        weight.grad = torch.full((4096,), value, dtype=torch.float16)
        norm = clip_gradients([weight], 1e6)
        assert norm.dtype == torch.float32
        assert norm.item() == pytest.approx(64 * value, rel=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"eps": -1e-8}, {"weight_decay": -0.1}, {"betas": (0.9, 1.0)}, {"betas": (-0.1, 0.9)}]
)
def test_each_wrong_setting_of_adamw_alone_is_refused(wrong: dict[str, Any]) -> None:
    for make in (AdamWConfig, SOAPConfig):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(**wrong)
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AdamW([torch.nn.Parameter(torch.zeros(1))], **wrong)


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (MuonConfig, {"lr": -1.0}),
        (MuonConfig, {"weight_decay": -1.0}),
        (MuonConfig, {"iterations": 0}),
        (MuonConfig, {"momentum": -0.1}),
        (SGDConfig, {"weight_decay": -1.0}),
        (SOAPConfig, {"precondition_frequency": 0}),
        (SOAPConfig, {"max_precond_dim": -1}),
    ],
)
def test_each_wrong_setting_alone_is_refused(
    make: Callable[..., object], wrong: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make(**wrong)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="lr must not be negative"):
        AdamWConfig(lr=-1.0)
    with pytest.raises(ValueError, match="betas"):
        AdamW([torch.nn.Parameter(torch.zeros(1))], betas=(1.0, 0.9))
    with pytest.raises(ValueError, match="momentum"):
        MuonConfig(momentum=1.0)
    with pytest.raises(ValueError, match="max_norm must be positive"):
        clip_gradients([], 0.0)
    with pytest.raises(ValueError, match="momentum must lie in"):
        SGDConfig(momentum=1.0)
    with pytest.raises(ValueError, match=r"lr=-1.0 and weight_decay=0.0 must not be negative"):
        SGD([torch.nn.Parameter(torch.zeros(1))], lr=-1.0)

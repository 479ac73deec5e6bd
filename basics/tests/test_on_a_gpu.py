"""On a GPU: the CPU's results, the same bits every time, and the memory that was foretold."""

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from basics.tests.accounting_models import MODELS
from lm_basics.accounting import StepConfig, activation_bytes
from lm_basics.decoding import generate
from lm_basics.model_config import TransformerConfig, uniform_transformer
from lm_basics.nn.ops import COMPILED_OPS
from lm_basics.optim import (
    AdamWConfig,
    MuonConfig,
    OptimizerConfig,
    SGDConfig,
    SOAPConfig,
    build_optimizer,
)
from lm_basics.optim.muon import orthogonalize
from lm_basics.optim.soap import SOAP
from lm_basics.sampling_config import SamplingConfig
from lm_basics.training import SerialStrategy, TrainingConfig, train
from lm_basics.transformer import TransformerLM
from lm_shared.files import read_json
from lm_shared.tensors import require_determinism, seed_everything
from lm_shared.testing.processes import run_python

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda")
MEDIUM = uniform_transformer(
    vocab_size=8_192, context_length=512, d_model=512, num_layers=4, num_heads=8
)


@pytest.fixture
def _deterministic() -> Iterator[None]:
    """Require determinism, and take an operation without a deterministic form for an error."""
    require_determinism()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*deterministic")
        yield
    torch.set_deterministic_debug_mode("default")


def _models(config: TransformerConfig) -> tuple[TransformerLM, TransformerLM]:
    """Return one model on the CPU and on the GPU."""
    seed_everything(0)
    model = TransformerLM(config)
    return model, copy.deepcopy(model).to(CUDA)


def _gradients(model: TransformerLM) -> list[torch.Tensor]:
    return [p.grad.cpu() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", MODELS)
def test_losses_and_gradients_are_those_of_the_cpu(name: str) -> None:
    models = _models(MODELS[name])
    ids = torch.randint(0, MODELS[name].vocab_size, (3, 24))
    documents = (torch.arange(24) // 9).expand(3, -1)
    losses = []
    for model in models:
        loss = model.objective(*(x.to(model.output_weight.device) for x in (ids, ids, documents)))
        loss.backward()
        losses.append(loss.detach().cpu())
    assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-5)
    for ours, expected in zip(_gradients(models[1]), _gradients(models[0]), strict=True):
        assert_close(ours, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_come_close(dtype: torch.dtype) -> None:
    _, model = _models(MEDIUM)
    ids = torch.randint(0, MEDIUM.vocab_size, (4, 513), device=CUDA)
    losses, norms = [], []
    for products in (torch.float32, dtype):
        strategy = SerialStrategy(model, build_optimizer(model, AdamWConfig()), dtype=products)
        losses.append(strategy.forward_backward(ids[:, :-1], ids[:, 1:]))
        norms.append(strategy.clip(1e9))
        strategy.skip()
    assert_close(losses[1], losses[0], rtol=2e-3, atol=0.0)
    assert_close(norms[1], norms[0], rtol=2e-2, atol=0.0)


@pytest.mark.parametrize(
    ("config", "tolerance"),
    [
        (SGDConfig(), 1e-5),
        (AdamWConfig(weight_decay=0.1), 1e-5),
        # Products in bfloat16; a step moves a number by about the learning rate, 0.02 here.
        (MuonConfig(), 2e-3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_optimizers_step_as_on_the_cpu(config: OptimizerConfig, tolerance: float) -> None:
    models = _models(MODELS["qwen, tied"])
    for model in models:
        optimizer = build_optimizer(model, config)
        generator = torch.Generator().manual_seed(1)
        for _ in range(3):
            for p in model.parameters():
                p.grad = torch.randn(p.shape, generator=generator).to(p.device)
            optimizer.step()
    for ours, expected in zip(models[1].parameters(), models[0].parameters(), strict=True):
        assert_close(ours.cpu(), expected, rtol=1e-4, atol=tolerance)


def test_soap_steps_as_on_the_cpu() -> None:
    seed_everything(0)
    # Singular values apart from each other: else the bases are not unique, nor are the steps.
    left, right = (torch.linalg.qr(torch.randn(24, 24)).Q for _ in range(2))
    mean = left * torch.logspace(0, -1, 24) @ right.T
    gradients = [mean + 1e-2 * torch.randn(24, 24) for _ in range(12)]
    matrices = []
    for device in ("cpu", "cuda"):
        matrix = torch.nn.Parameter(torch.zeros(24, 24, device=device))
        optimizer = SOAP([matrix], [], SOAPConfig())
        for gradient in gradients:
            matrix.grad = gradient.to(device)
            optimizer.step()
        matrices.append(matrix.detach().cpu())
    # Each of eleven steps moves a number by up to 0.003.
    assert matrices[0].abs().max() > 5e-3
    assert_close(matrices[1], matrices[0], rtol=0.0, atol=1e-4)


def test_directions_of_muon_are_orthogonal_enough_in_bfloat16() -> None:
    matrices = torch.randn(4, 256, 640, device=CUDA)
    values = torch.linalg.svdvals(orthogonalize(matrices))
    assert values.min().item() > 0.5
    assert values.max().item() < 1.3


@pytest.mark.usefixtures("_deterministic")
@pytest.mark.compiled
@pytest.mark.parametrize("is_compiled", [False, True])
def test_a_run_that_is_stopped_ends_with_the_same_bits(is_compiled: bool, tmp_path: Path) -> None:
    shape = uniform_transformer(
        vocab_size=1_000, context_length=128, d_model=256, num_layers=2, num_heads=4, qk_norm=True
    )
    tokens = np.random.default_rng(0).integers(0, 1_000, 50_000)
    config = TrainingConfig(
        steps=12, batch_size=8, optimizer=MuonConfig(), dtype="bfloat16", checkpoint_every=5
    )

    def run(folder: Path, last_step: int) -> TransformerLM:
        def stop(report: Any) -> None:
            if report.step == last_step:
                raise KeyboardInterrupt

        seed_everything(0)
        options: dict[str, Any] = {"ops": COMPILED_OPS} if is_compiled else {}
        model = TransformerLM(shape, **options).to(CUDA)
        train(model, tokens, config, folder=folder, on_step=stop)
        return model

    straight = run(tmp_path / "straight", 0)
    for step in (7, 11):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped", step)
    resumed = run(tmp_path / "stopped", 0)
    for ours, expected in zip(resumed.parameters(), straight.parameters(), strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_activations_take_the_memory_that_is_foretold(dtype: Any) -> None:
    _, model = _models(MEDIUM)
    ids = torch.randint(0, MEDIUM.vocab_size, (8, 512), device=CUDA)

    def forward() -> torch.Tensor:
        with torch.autocast("cuda", torch.bfloat16, enabled=dtype == "bfloat16"):
            return model.objective(ids, ids)

    # Once before: cuBLAS takes its workspace.
    forward().backward()
    before = torch.cuda.memory_allocated()
    loss = forward()
    measured = torch.cuda.memory_allocated() - before
    expected = activation_bytes(MEDIUM, 8, 512, StepConfig(dtype=dtype, autocast_device="cuda"))
    assert measured == pytest.approx(expected.total, rel=0.1)
    loss.backward()


def test_a_text_goes_on_as_on_the_cpu() -> None:
    texts = [
        generate(model, [1, 2, 3], SamplingConfig(max_new_tokens=20, temperature=0.0))
        for model in _models(MODELS["window"])
    ]
    assert texts[0] == texts[1]


def test_the_command_trains_on_the_gpu(tmp_path: Path) -> None:
    pytest.importorskip("tyro", reason="needs the package tyro, as every command does")
    program = "import sys; from lm_basics.commands.main import main; main(sys.argv[1:])"
    # Other people's packages may warn.
    command = ["-W", "default", "-c", program, "train", "tiny", "--default-corpus", "--output"]
    first = run_python([*command, tmp_path / "run"], timeout_s=300)
    assert first.returncode == 0, first.stderr
    assert "deterministic" not in first.stderr
    assert read_json(tmp_path / "run" / "setting.json")["device"] == "cuda"
    again = run_python([*command, tmp_path / "run"], timeout_s=300)
    assert "already finished" in again.stdout, again.stderr

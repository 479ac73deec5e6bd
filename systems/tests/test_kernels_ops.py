"""Whole models: every record of operations gives the reference's losses and gradients."""

import jaxtyping
import pytest
import torch
from torch.testing import assert_close

from lm_basics.nn.ops import IGNORED_TARGET, REFERENCE_OPS, TensorFunction
from lm_basics.transformer import TransformerLM
from lm_shared.testing.tolerances import assert_error_within_twice
from lm_systems.kernels import OpsName
from lm_systems.kernels.ops import get_ops


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    token_ids, targets = torch.randint(0, 61, (2, 3, 20))
    targets[0, :5] = IGNORED_TARGET
    return token_ids, targets


def _loss_and_gradients(
    model: TransformerLM,
    step: TensorFunction | None = None,
    *,
    autocast: bool = False,
    seed: int = 1,
) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = (step or model.loss)(*_batch())
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **gradients}


@pytest.mark.parametrize("tie_embeddings", [True, False])
def test_fused_model_equals_the_reference(make_model, tie_embeddings) -> None:
    ours = _loss_and_gradients(make_model(get_ops("fused"), tie_embeddings=tie_embeddings))
    assert_close(ours, _loss_and_gradients(make_model(tie_embeddings=tie_embeddings)))


def test_fused_model_under_autocast_is_within_twice_the_reference(make_model) -> None:
    def results(model: TransformerLM, *, autocast: bool) -> dict[str, torch.Tensor]:
        # Of several batches: the rounding of one scalar or one short vector is a matter of luck.
        every = [_loss_and_gradients(model, autocast=autocast, seed=seed) for seed in range(8)]
        return {name: torch.stack([one[name] for one in every]) for name in every[0]}

    exact = results(make_model(), autocast=False)
    low = results(make_model(), autocast=True)
    ours = results(make_model(get_ops("fused")), autocast=True)
    for name, value in ours.items():
        assert_error_within_twice(value, low[name], exact[name])


@pytest.mark.compiled
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_compiled_model_equals_the_reference_and_compiles_once(make_model) -> None:
    model = make_model(get_ops("compiled"))
    step = model.ops.compile_step(model.loss)
    assert_close(_loss_and_gradients(model, step), _loss_and_gradients(make_model()))
    with torch.compiler.set_stance("fail_on_recompile"):
        step(*_batch()).backward()
        # An evaluation, in another gradient mode and with another number of rows.
        token_ids, targets = _batch()
        with torch.no_grad():
            assert_close(step(token_ids[:2], targets[:2]), model.loss(token_ids[:2], targets[:2]))


def test_records_carry_their_names() -> None:
    assert get_ops("reference") is REFERENCE_OPS
    names: tuple[OpsName, ...] = ("fused", "compiled", "triton", "tiled")
    assert tuple(get_ops(name).name for name in names) == names


def test_an_unknown_name_is_refused() -> None:
    # The run-time type checker would refuse the name before our own check sees it.
    jaxtyping.config.update("jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"one of \['compiled', 'fused', .*'triton'\], got 'cuda'"):
        get_ops("cuda")  # pyright: ignore[reportArgumentType]

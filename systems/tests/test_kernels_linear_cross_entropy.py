"""The chunked loss against the reference, with chunks that do and do not divide the rows."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lm_basics.nn.ops import IGNORED_TARGET, linear_cross_entropy as reference
from lm_shared.testing.tolerances import assert_error_within_twice
from lm_systems.kernels import linear_cross_entropy as module
from lm_systems.kernels.linear_cross_entropy import chunk_rows, linear_cross_entropy
from systems.tests.reference import value_and_gradients

TOKENS, D_MODEL, VOCAB = 23, 16, 50


@pytest.fixture(params=[1, 5, 23, 100], ids=lambda rows: f"{rows} rows a chunk")
def chunked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.CHUNK_BYTES, "cpu", request.param * VOCAB * 4)


def _inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    targets = torch.randint(0, VOCAB, (TOKENS,))
    targets[::4] = IGNORED_TARGET
    return torch.randn(TOKENS, D_MODEL).to(dtype), torch.randn(VOCAB, D_MODEL).to(dtype), targets


def _run(function, inputs: tuple[Tensor, Tensor, Tensor], upstream: float = 1.0) -> list[Tensor]:
    hidden, weight, targets = inputs
    return value_and_gradients(
        partial(function, targets=targets), (hidden, weight), torch.tensor(upstream)
    )


@pytest.mark.usefixtures("chunked")
@pytest.mark.parametrize("upstream", [1.0, -0.37])
def test_loss_and_gradients_equal_the_reference(upstream) -> None:
    inputs = _inputs()
    assert_close(_run(linear_cross_entropy, inputs, upstream), _run(reference, inputs, upstream))


@pytest.mark.usefixtures("chunked")
def test_ignored_rows_get_no_gradient() -> None:
    hidden, weight, targets = _inputs()
    _, d_hidden, _ = _run(linear_cross_entropy, (hidden, weight, targets))
    assert d_hidden[targets == IGNORED_TARGET].abs().max() == 0
    assert d_hidden[targets != IGNORED_TARGET].abs().sum(-1).min() > 0


def test_a_batch_without_targets_has_no_mean_in_both() -> None:
    hidden, weight, targets = _inputs()
    targets.fill_(IGNORED_TARGET)
    ours, expected = (_run(f, (hidden, weight, targets)) for f in (linear_cross_entropy, reference))
    assert ours[0].isnan()
    assert expected[0].isnan()


def test_no_tokens_at_all_are_like_no_targets() -> None:
    _, weight, _ = _inputs()
    nothing = torch.zeros(0, D_MODEL), weight, torch.zeros(0, dtype=torch.int64)
    ours, expected = (_run(loss, nothing) for loss in (linear_cross_entropy, reference))
    assert_close(ours[:2], expected[:2], equal_nan=True)
    assert ours[2].shape == expected[2].shape


def test_equal_logits_cost_the_logarithm_of_the_vocabulary() -> None:
    hidden, _, targets = _inputs()
    loss = linear_cross_entropy(hidden, torch.zeros(VOCAB, D_MODEL), targets)
    assert_close(loss, torch.tensor(float(VOCAB)).log())


def test_logits_in_the_thousands_do_not_overflow() -> None:
    hidden, weight, targets = _inputs()
    inputs = hidden * 100, weight * 10, targets
    assert_close(_run(linear_cross_entropy, inputs), _run(reference, inputs))


@pytest.mark.usefixtures("chunked")
def test_bfloat16_errors_stay_within_twice_the_reference() -> None:
    hidden, weight, targets = _inputs(torch.bfloat16)
    exact = _run(reference, (hidden.float(), weight.float(), targets))
    low = _run(reference, (hidden, weight, targets))
    ours = _run(linear_cross_entropy, (hidden, weight, targets))
    for one, plain, truth in zip(ours, low, exact, strict=True):
        assert one.dtype == plain.dtype
        assert_error_within_twice(one, plain, truth)


@pytest.mark.usefixtures("chunked")
def test_autocast_multiplies_in_its_dtype_and_returns_float32_gradients() -> None:
    inputs = _inputs()
    exact = _run(reference, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        ours, low = _run(linear_cross_entropy, inputs), _run(reference, inputs)
    assert not torch.equal(ours[1], exact[1])
    for one, plain, truth in zip(ours, low, exact, strict=True):
        assert one.dtype == torch.float32
        assert_error_within_twice(one, plain, truth)


def test_scaled_float16_keeps_the_small_gradients() -> None:
    # Divided by this many targets, most of a row's gradients would vanish before they are scaled.
    hidden, weight = torch.randn(4_096, D_MODEL), torch.randn(1_000, D_MODEL) / 4
    targets = torch.randint(0, 1_000, (4_096,))
    scale = 2.0**16
    exact = _run(reference, (hidden, weight, targets), scale)
    with torch.autocast("cpu", torch.float16):
        ours = _run(linear_cross_entropy, (hidden, weight, targets), scale)
    for one, truth in zip(ours, exact, strict=True):
        assert (one - truth).norm() < 2e-3 * truth.norm()


def test_no_gradients_are_computed_where_none_are_wanted() -> None:
    hidden, weight, targets = _inputs()
    hidden.requires_grad_()
    with torch.no_grad(), torch.profiler.profile() as profile:
        loss = linear_cross_entropy(hidden, weight, targets)
    assert_close(loss, reference(hidden, weight, targets).detach())
    assert not loss.requires_grad
    assert sum(event.count for event in profile.key_averages() if event.key == "aten::mm") == 1


def test_a_chunk_holds_at_least_one_row() -> None:
    assert chunk_rows(10**9, torch.device("cpu"), torch.float32) == 1
    assert chunk_rows(4096, torch.device("cpu"), torch.bfloat16) == 256
    assert chunk_rows(32_768, torch.device("cuda"), torch.bfloat16) == 16_384
    assert chunk_rows(2**40, torch.device("cpu"), torch.float32) == 1


@pytest.mark.parametrize("loss", [reference, linear_cross_entropy], ids=["reference", "fused"])
def test_a_negative_target_other_than_the_ignored_one_is_an_error(
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> None:
    with pytest.raises((IndexError, RuntimeError), match="out of"):
        loss(torch.randn(3, 4), torch.randn(5, 4), torch.tensor([1, -1, 2]))


@pytest.mark.usefixtures("chunked")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_types_are_those_of_the_reference(dtype) -> None:
    inputs = _inputs(dtype)
    ours, expected = _run(linear_cross_entropy, inputs), _run(reference, inputs)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert [one.dtype for one in ours] == [one.dtype for one in expected] == [wide, dtype, dtype]
    assert_close(ours[0], expected[0], rtol=1e-2 if dtype.itemsize == 2 else 1e-5, atol=0)
    for one, other in zip(ours[1:], expected[1:], strict=True):
        assert_close(one, other, rtol=0.05, atol=0.02)

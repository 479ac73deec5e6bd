"""Both functions of FlashAttention against the plain formula; without a GPU, Triton interprets."""

import random
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from lm_basics.model_config import SlidingWindowAttention, uniform_transformer
from lm_basics.nn.ops import attention as reference, scaled_dot_product_attention
from lm_basics.transformer import TransformerLM
from lm_shared.testing.tolerances import assert_error_within_twice
from lm_systems.kernels import OpsName, attention_backward, attention_forward, attention_tiled
from lm_systems.kernels.attention_forward import Tiles
from lm_systems.kernels.flash_attention import FlashAttention, TiledAttention
from lm_systems.kernels.ops import get_ops, make_causal
from systems.tests.hopper import SHARED_BYTES, run_on_compiler
from systems.tests.reference import value_and_gradients

NUM_CASES, NUM_QUICK_CASES = 112, 16


class Kind(NamedTuple):
    """What a kernel is compiled for."""

    dtype: torch.dtype
    d_head: int
    is_causal: bool = True
    has_window: bool = False
    has_documents: bool = False


KINDS = [
    Kind(torch.bfloat16, 64),
    Kind(torch.float32, 20, is_causal=False),
    Kind(torch.float16, 128, has_window=True),
    Kind(torch.bfloat16, 40, has_window=True, has_documents=True),
    Kind(torch.float32, 64, has_window=True),
    Kind(torch.float16, 5, is_causal=False),
    Kind(torch.bfloat16, 16, is_causal=False, has_documents=True),
]


@pytest.fixture(
    params=["tiled", "triton on cpu", pytest.param("triton on cuda", marks=pytest.mark.gpu)]
)
def implementation(request: pytest.FixtureRequest) -> tuple[Any, str]:
    """Return one of the two functions, and the device on which it runs."""
    if request.param == "tiled":
        return TiledAttention, "cpu"
    if request.param == "triton on cpu" and torch.cuda.is_available():
        pytest.skip("Triton interprets kernels only where there is no GPU")
    return FlashAttention, request.param.rsplit(maxsplit=1)[-1]


@pytest.fixture(autouse=True)
def _small_tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let short sequences have many tiles, other ones in each test; a GPU keeps its own."""
    monkeypatch.setattr(attention_tiled, "TILE_SIZE", 16)
    if torch.cuda.is_available():
        return
    choose = random.Random(request.node.name)
    for module, name in (
        (attention_forward, "FORWARD_TILES"),
        (attention_backward, "QUERY_TILES"),
        (attention_backward, "KEY_TILES"),
    ):
        queries, keys = choose.choice([(16, 16), (16, 32), (32, 16)])
        small = dict.fromkeys([(2, 256), (4, 256)], Tiles(queries, keys, 4, 1))
        monkeypatch.setattr(module, name, small)


def plain(*inputs: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return attention by the formula, with a copy of its keys and values for each query head."""
    q, k, v = inputs
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    return scaled_dot_product_attention(q, k, v, mask)


def make_mask(
    queries: int, keys: int, is_causal: bool, window: int | None, documents: Tensor | None
) -> Tensor:
    distance = torch.arange(queries)[:, None] - torch.arange(keys)
    mask = torch.ones(1, queries, keys, dtype=torch.bool)
    if is_causal:
        mask = mask & (distance >= 0) & (distance < (window or queries))
    if documents is not None:
        mask = mask & (documents[:, :, None] == documents[:, None, :])
    return mask[:, None]


def _lay_out(x: Tensor, layout: str) -> Tensor:
    """Return the same numbers with heads that were split from rows, or with gaps between them."""
    if layout == "split":
        return x.transpose(1, 2).contiguous().transpose(1, 2)
    return torch.stack((x, x), -1)[..., 0] if layout == "with gaps" else x


@pytest.mark.parametrize(
    "seed",
    [
        *range(NUM_QUICK_CASES),
        *(pytest.param(i, marks=pytest.mark.slow) for i in range(NUM_QUICK_CASES, NUM_CASES)),
    ],
)
def test_errors_stay_within_twice_those_of_the_formula(implementation, seed) -> None:
    function, device = implementation
    torch.manual_seed(seed)
    choose, kind = random.Random(seed), KINDS[seed % len(KINDS)]
    batch, kv_heads, group = (choose.randint(1, 2) for _ in range(3))
    queries, keys = (choose.randint(4, 300 if device == "cuda" else 48) for _ in range(2))
    if kind.has_window or kind.has_documents:
        # Otherwise some would see no key, and the formula would give NaN.
        keys = queries
    window = choose.randint(4, queries) if kind.has_window else None
    documents = torch.randint(0, 3, (batch, keys)) if kind.has_documents else None
    layouts = [choose.choice(["split", "split", "with gaps", "whole"]) for _ in range(3)]
    num_heads = kv_heads * group
    shapes = [(num_heads, queries), (kv_heads, keys), (kv_heads, keys), (num_heads, queries)]
    low = [torch.randn(batch, *shape, kind.d_head).to(kind.dtype) for shape in shapes]
    formula = partial(plain, mask=make_mask(queries, keys, kind.is_causal, window, documents))
    exact = [x.double() for x in low]
    truths = value_and_gradients(formula, exact[:3], exact[3])
    plains = value_and_gradients(formula, low[:3], low[3])
    documents = None if documents is None else documents.to(device)

    def run(*inputs: Tensor) -> Tensor:
        laid_out = map(_lay_out, inputs, layouts)
        return function.apply(*laid_out, kind.is_causal, window, documents)

    low = [x.to(device) for x in low]
    ours = value_and_gradients(run, low[:3], low[3])
    # Interpreted, numbers are cut to bfloat16 and not rounded, which doubles the error.
    is_cut = function is FlashAttention and device == "cpu" and kind.dtype == torch.bfloat16
    for one, same, truth in zip(ours, plains, truths, strict=True):
        assert one.dtype == kind.dtype
        # The rounding of the result itself, and a few of float32 on the way.
        floor = torch.finfo(kind.dtype).eps / 2 * truth.abs().max().item() + 2e-6
        assert_error_within_twice(one.cpu(), same, truth, factor=4 if is_cut else 2, floor=floor)


@pytest.mark.parametrize("is_causal", [False, True])
def test_the_call_of_the_course(implementation, is_causal) -> None:
    function, device = implementation
    inputs = [torch.randn(4, 128, 64) for _ in range(4)]

    def formula(*inputs: Tensor) -> Tensor:
        q, k, v = inputs
        return _scores(q, k, is_causal).softmax(-1) @ v

    expected = value_and_gradients(formula, inputs[:3], inputs[3])
    q, k, v, upstream = (x.to(device) for x in inputs)
    leaves = [x.requires_grad_() for x in (q, k, v)]
    o = function.apply(*leaves, True) if is_causal else function.apply(*leaves)
    shaped = [x for x in o.grad_fn.saved_tensors if x.shape == q.shape[:2]]
    assert len(shaped) == 1
    assert_close(shaped[0].cpu(), _scores(inputs[0], inputs[1], is_causal).logsumexp(-1))
    # Besides, the inputs as they are and the output.
    kept = {x.data_ptr() for x in o.grad_fn.saved_tensors} - {shaped[0].data_ptr()}
    assert kept == {x.data_ptr() for x in (q, k, v, o)}
    found = [o.detach(), *torch.autograd.grad(o, leaves, upstream)]
    assert_close([x.cpu() for x in found], expected, rtol=1e-4, atol=1e-5)


def _scores(q: Tensor, k: Tensor, is_causal: bool) -> Tensor:
    s = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    hidden = make_mask(q.shape[-2], k.shape[-2], is_causal, None, None)[0].logical_not()
    return s.masked_fill(hidden, -1e6)


def test_a_query_without_keys_gets_zeros_and_gives_no_gradients(implementation) -> None:
    function, device = implementation
    q = torch.randn(1, 40, 8, device=device, requires_grad=True)
    k, v = (torch.randn(1, 9, 8, device=device, requires_grad=True) for _ in range(2))
    o = function.apply(q, k, v, True, 3)
    saved = o.grad_fn.saved_tensors[4]
    gradients = torch.autograd.grad(o.square().sum(), (q, k, v))
    assert all(x.isfinite().all() for x in (o, *gradients))
    assert o[0, :11].abs().amin() > 0 == o[0, 11:].abs().amax() == gradients[0][0, 11:].abs().amax()
    assert (saved[0, 11:] == float("-inf")).all()
    assert function.apply(q, k[:, :0], v[:, :0]).abs().amax() == 0
    # What is no number stays none.
    assert function.apply(q, k * float("nan"), v).isnan().all()


def test_scores_in_the_thousands_do_not_overflow(implementation) -> None:
    function, device = implementation
    q, k, v, upstream = (torch.randn(1, 2, 37, 16) for _ in range(4))
    inputs = [100 * q, 30 * k, v]
    mask = make_mask(37, 37, True, None, None)
    expected = value_and_gradients(partial(plain, mask=mask), inputs, upstream)
    found = value_and_gradients(
        lambda *x: function.apply(*x, True),
        [x.to(device) for x in inputs],
        upstream.to(device),
    )
    assert_close([x.cpu() for x in found], expected, rtol=1e-3, atol=1e-3)


def test_the_same_inputs_give_the_same_bits(implementation) -> None:
    function, device = implementation
    q = torch.randn(1, 4, 40, 16, device=device)
    k, v = (torch.randn(1, 1, 40, 16, device=device) for _ in range(2))
    first, second = (
        value_and_gradients(lambda *x: function.apply(*x, True), (q, k, v), torch.ones_like(q))
        for _ in range(2)
    )
    assert all(map(torch.equal, first, second))


def test_autocast_computes_in_its_type_and_gradients_keep_theirs(implementation) -> None:
    function, device = implementation
    q, k, v = (torch.randn(1, 20, 16, device=device, requires_grad=True) for _ in range(3))
    with torch.autocast(device, torch.bfloat16):
        o = function.apply(q, k, v, True)
        gradients = torch.autograd.grad(o.float().sum(), (q, k, v))
    narrow = [x.detach().bfloat16() for x in (q, k, v)]
    assert torch.equal(o, function.apply(*narrow, True))
    assert [x.dtype for x in gradients] == 3 * [torch.float32]
    with torch.no_grad():
        assert torch.equal(function.apply(*narrow, True), o)


def test_a_second_derivative_is_refused(implementation) -> None:
    function, device = implementation
    q, k, v = (torch.randn(1, 4, 16, device=device, requires_grad=True) for _ in range(3))
    (d_q,) = torch.autograd.grad(function.apply(q, k, v).square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        d_q.sum().backward()


def test_gradients_of_tiles_equal_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_tiled, "TILE_SIZE", 2)
    q = torch.randn(1, 4, 5, 2, dtype=torch.float64, requires_grad=True)
    k, v = (torch.randn(1, 2, 5, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    options = True, 3, torch.tensor([[7, 7, 7, 7, 2]])
    assert torch.autograd.gradcheck(lambda *x: TiledAttention.apply(*x, *options), (q, k, v))


def test_no_tensor_of_tiles_grows_with_the_square_of_the_length() -> None:
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                largest = max(largest, result.numel())
            return result

    q, k, v = (torch.randn(1, 200, 4, requires_grad=True) for _ in range(3))
    with Watch():
        TiledAttention.apply(q, k, v, True).sum().backward()
    assert largest == 200 * 4


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((1, 4, 8), (1, 4, 7)), (), r"dividing those of q; got \(1, 4, 8\), \(1, 4, 7\)"),
        (((1, 3, 4, 8), (1, 2, 4, 8)), (), "dividing those of q"),
        (((4, 8), (4, 8)), (), "expected q of shape"),
        (((1, 4, 8), (1, 4, 8)), (False, 2), "a window of at least 1 with is_causal=True, got 2"),
        (((1, 4, 8), (1, 4, 8)), (True, 0), "a window of at least 1"),
        (((1, 4, 8), (1, 5, 8)), (True, None, torch.zeros(1, 5)), "as many queries as keys"),
        (((1, 4, 8), (1, 4, 8)), (True, None, torch.zeros(4)), r"documents of shape \(1, 4\)"),
    ],
)
@pytest.mark.parametrize("function", [TiledAttention, FlashAttention])
def test_what_does_not_fit_is_refused(function, shapes, options, message) -> None:
    q, k, v = torch.randn(shapes[0]), torch.randn(shapes[1]), torch.randn(shapes[1])
    with pytest.raises(ValueError, match=message):
        function.apply(q, k, v, *options)


def test_what_has_no_kernel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    q = torch.randn(1, 4, 300)
    with pytest.raises(ValueError, match="width 256 at most, got 300: TiledAttention takes any"):
        FlashAttention.apply(q, q, q)
    with pytest.raises(ValueError, match="TiledAttention takes float64"):
        FlashAttention.apply(q.double(), q.double(), q.double())
    with pytest.raises(ValueError, match="expected one floating-point type"):
        FlashAttention.apply(q, q.half(), q)
    monkeypatch.setattr(attention_forward, "_IS_INTERPRETED", False)
    with pytest.raises(ValueError, match="need a GPU, got tensors on cpu"):
        FlashAttention.apply(*3 * [q[..., :8]])
    assert_close(TiledAttention.apply(q, q, q), plain(*3 * [q[:, None]])[:, 0])


def test_queries_at_given_positions_equal_the_reference(implementation) -> None:
    function, device = implementation
    q, k, v = (torch.randn(2, 4, seq, 8, device=device) for seq in (2, 9, 9))
    positions = torch.tensor([[0, 3], [5, 8]], device=device)
    found = make_causal(function)(q, k, v, positions, window=4)
    assert_close(found, reference(q, k, v, positions, window=4))


@pytest.mark.parametrize("name", ["tiled", "triton"])
def test_a_model_with_windows_and_documents_equals_the_reference(
    name: OpsName, kernel_device: str
) -> None:
    config = uniform_transformer(
        vocab_size=61, context_length=40, d_model=32, num_layers=2, num_heads=4, num_kv_heads=2
    )
    (block,) = config.pattern
    near = SlidingWindowAttention(num_heads=4, num_kv_heads=2, window=11)
    config = replace(config, pattern=(block, replace(block, attention=near)))
    tokens = torch.randint(0, 61, (2, 41))
    documents = torch.tensor([[0] * 25 + [1] * 15, [7] * 3 + [3] * 30 + [4] * 7])

    def run(ops: OpsName, device: str) -> dict[str, Tensor]:
        torch.manual_seed(0)
        model = TransformerLM(config, ops=get_ops(ops)).to(device)
        inputs, targets = tokens[:, :-1].to(device), tokens[:, 1:].to(device)
        loss = model.loss(inputs, targets, documents=documents.to(device))
        loss.backward()
        gradients = {key: p.grad.cpu() for key, p in model.named_parameters() if p.grad is not None}
        return {"loss": loss.detach().cpu(), **gradients}

    assert_close(run(name, kernel_device), run("reference", "cpu"), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["_attend", "_differentiate_queries", "_differentiate_keys"])
def test_every_configuration_fits_a_hopper_gpu(kernel) -> None:
    output = run_on_compiler(_COMPILER.replace("KERNEL", kernel))
    lines = [line.split() for line in output.splitlines()]
    assert len(lines) == 9 + 3
    for number, width, shared_bytes, stack_bytes, is_fast in lines:
        assert int(shared_bytes) <= SHARED_BYTES
        if number != "fp32" and int(width) == 64:
            # Tensor cores of this generation, copies behind the work, next to nothing spilled.
            assert int(is_fast)
            assert int(stack_bytes) <= 128


_COMPILER = """
from itertools import product
from lm_systems.kernels import attention_backward, attention_forward
from systems.tests.hopper import compile_for_hopper

tables = {
    "_attend": attention_forward.FORWARD_TILES,
    "_differentiate_queries": attention_backward.QUERY_TILES,
    "_differentiate_keys": attention_backward.KEY_TILES,
}
kernel = getattr(attention_backward, "KERNEL", attention_forward._attend)
# Causal; with all keys; in a window, with columns of padding; in documents.
every = [(True, False, False, False)]
more = [(False, False, False, False), (True, True, False, True), (True, True, True, False)]
for (size, width), number in product(tables["KERNEL"], ("fp16", "bf16", "fp32")):
    tiles = tables["KERNEL"][size, width]
    if size != {"fp16": 2, "bf16": 2, "fp32": 4}[number]:
        continue
    types = {name: "*" + number + "!" for name in kernel.arg_names if name.endswith("_ptr")}
    types |= {name: "i32" for name in attention_forward.LENGTHS}
    types |= {name: "i32!" for name in kernel.arg_names if name.startswith("stride")}
    types |= {"documents_ptr": "*i64!", "lse_ptr": "*fp32!", "d_head": "i32!", "scale": "fp32"}
    types |= {"sums_ptr": "*fp32!"}
    for rule in every + more * (number == "bf16" and width == 64):
        names = ("IS_CAUSAL", "HAS_WINDOW", "HAS_DOCUMENTS", "IS_PADDED")
        constants = dict(zip(names, rule))
        constants |= {"BLOCK_D": width, "BLOCK_Q": tiles.queries, "BLOCK_K": tiles.keys}
        code = compile_for_hopper(
            kernel, types, constants, num_warps=tiles.num_warps, num_stages=tiles.num_stages
        )
        is_fast = "wgmma" in code.ptx and "cp.async" in code.ptx
        print(number, width, code.shared_bytes, code.stack_bytes, int(is_fast))
"""

"""Formulas against rings that are played through, and against the borders that follow from them."""

import math
from collections.abc import Callable

import pytest

from lm_shared.testing.processes import run_python
from lm_systems.parallel.arithmetic import (
    Collective,
    Layer,
    LayerCost,
    LayerStack,
    Link,
    best_bucket_bytes,
    best_num_fsdp,
    bucket_overhead_s,
    collective_bytes,
    data_parallel_cost,
    fsdp_cost,
    fsdp_tensor_parallel_seconds,
    least_tokens,
    most_data_parallel,
    most_fsdp_tensor_parallel,
    most_tensor_parallel,
    tensor_parallel_cost,
    whole_ring_bytes,
)

# 1 + B W / C is 33, and 1 + 1.5 F W / C is 7.
LINK = Link(flops_per_s=1e12, bytes_per_s=4e9)
LAYER = Layer(num_tokens=8000, d_model=256, d_ff=1000)


def _play_ring(kind: Collective, values: list[list[int]]) -> int:
    """Do the collective over one piece per process, in place; return what a process sends."""
    size, sent = len(values), 0
    if kind != "all_gather":
        for step in range(size - 1):
            moving = [values[i][(i - step) % size] for i in range(size)]
            for i, piece in enumerate(moving):
                values[(i + 1) % size][(i - step) % size] += piece
            sent += 1
    # After a reduction process i owns piece i + 1, otherwise piece i.
    first = 0 if kind == "all_gather" else 1
    if kind != "reduce_scatter":
        for step in range(size - 1):
            moving = [values[i][(i + first - step) % size] for i in range(size)]
            for i, piece in enumerate(moving):
                values[(i + 1) % size][(i + first - step) % size] = piece
            sent += 1
    return sent


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("kind", ["all_reduce", "all_gather", "reduce_scatter"])
def test_a_ring_that_is_played_through_sends_so_many_pieces(kind: Collective, size: int) -> None:
    values = [[10**i * (piece + 1) for piece in range(size)] for i in range(size)]
    totals = [sum(column) for column in zip(*values, strict=True)]
    owned = [values[piece][piece] for piece in range(size)]
    sent = _play_ring(kind, values)
    if kind == "reduce_scatter":
        assert [values[i][(i + 1) % size] for i in range(size)] == totals[1:] + totals[:1]
    else:
        assert values == [totals if kind == "all_reduce" else owned] * size
    piece_bytes = 12
    assert collective_bytes(kind, piece_bytes * size, size) == pytest.approx(sent * piece_bytes)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_whole_tensors_that_go_around_add_up_in_one_step_less_than_processes(size: int) -> None:
    moving, totals, sent = [10**i for i in range(size)], [10**i for i in range(size)], 0
    while len({*totals, int("1" * size)}) > 1:
        moving = moving[-1:] + moving[:-1]
        totals = [total + one for total, one in zip(totals, moving, strict=True)]
        sent += 12
    assert whole_ring_bytes(12, size) == sent


def test_products_and_bytes_are_those_of_the_course() -> None:
    b, d, f, n = 8000, 256, 1000, 8
    rows = {
        data_parallel_cost: (0, 2 * (n - 1) / n * 6 * d * f),
        fsdp_cost: ((n - 1) / n * 6 * d * f, 2 * (n - 1) / n * 6 * d * f),
        tensor_parallel_cost: (4 * b * d * (n - 1) / n, 4 * b * d * (n - 1) / n),
    }
    for function, (forward, backward) in rows.items():
        cost = function(LAYER, n)
        assert (cost.forward.flops, cost.backward.flops) == (6 * b * d * f / n, 12 * b * d * f / n)
        assert (cost.forward.bytes_sent, cost.backward.bytes_sent) == pytest.approx(
            (forward, backward)
        )


@pytest.mark.parametrize("num_matrices", [2, 3])
@pytest.mark.parametrize(
    ("function", "most"),
    [
        (data_parallel_cost, lambda layer: (math.inf, most_data_parallel(layer, LINK))),
        (fsdp_cost, lambda layer: (most_data_parallel(layer, LINK),) * 2),
        (tensor_parallel_cost, lambda layer: most_tensor_parallel(layer, LINK)),
    ],
)
def test_passes_become_bound_by_communication_right_behind_the_border(
    function: Callable[[Layer, int], LayerCost],
    most: Callable[[Layer], tuple[float, float]],
    num_matrices: int,
) -> None:
    layer = Layer(num_tokens=8010, d_model=256, d_ff=1010, num_matrices=num_matrices)
    for is_backward, border in enumerate(most(layer)):
        for n in range(2, 60):
            cost = function(layer, n)
            one = cost.backward if is_backward else cost.forward
            assert one.is_compute_bound(LINK) == (n <= border), (n, border)


@pytest.mark.parametrize("overlapped", [True, False])
def test_no_split_of_more_devices_keeps_them_busy(overlapped: bool) -> None:
    combine = max if overlapped else sum
    most = most_fsdp_tensor_parallel(LAYER, LINK, overlapped=overlapped)
    assert most == pytest.approx((1.5 if overlapped else 0.375) * 8000 * 1000 * 0.004**2)

    def is_busy(num_devices: float, num_fsdp: float) -> bool:
        products_s, *sending_s = fsdp_tensor_parallel_seconds(
            LAYER, LINK, num_fsdp=num_fsdp, num_tensor=num_devices / num_fsdp
        )
        return combine(sending_s) <= products_s

    assert is_busy(0.999 * most, best_num_fsdp(LAYER, 0.999 * most))
    splits = [1.01**k for k in range(600)]
    assert not any(is_busy(1.001 * most, one) for one in splits)


def test_a_large_batch_hides_what_is_gathered_and_no_batch_too_fine_a_split() -> None:
    link = Link(flops_per_s=4.6e14, bytes_per_s=1.8e11)
    layer = Layer(num_tokens=0, d_model=16_384, d_ff=53_248, num_matrices=2)
    tokens = least_tokens(layer, link, num_fsdp=16, num_tensor=4, fsdp_axes=2)
    # 2,556 / 8 tokens of a device, as there are four devices for each sixteenth of the batch.
    assert tokens / 64 == pytest.approx(4.6e14 / 1.8e11 / 8)
    border = Layer(num_tokens=round(tokens), d_model=16_384, d_ff=53_248, num_matrices=2)
    twice = Link(flops_per_s=4.6e14, bytes_per_s=3.6e11)
    products_s, weights_s, _ = fsdp_tensor_parallel_seconds(
        border, twice, num_fsdp=16, num_tensor=4
    )
    assert weights_s == pytest.approx(products_s, rel=1e-4)
    with pytest.raises(ValueError, match=r"num_tensor=21 .* at most 20\.8"):
        least_tokens(layer, link, num_fsdp=16, num_tensor=21)


def test_a_model_of_126_layers_is_spread_over_as_few_devices_as_hold_it() -> None:
    layer = Layer(num_tokens=1024, d_model=16_384, d_ff=53_248, num_matrices=2)
    stack = LayerStack(layer=layer, num_layers=126)
    parameters = 126 * 2 * 16_384 * 53_248
    assert stack.state_bytes == 16 * parameters
    assert stack.state_bytes / 80e9 == pytest.approx(43.97, abs=0.01)
    assert stack.activation_bytes == 126 * 1024 * 2 * (16_384 + 53_248)
    fewest = stack.least_devices(95e9)
    assert stack.bytes_per_device(fewest) <= 95e9 < stack.bytes_per_device(fewest - 1)
    with pytest.raises(ValueError, match=r"do not fit 8e"):
        stack.least_devices(8e9)


def test_buckets_end_as_late_as_when_they_are_sent_one_by_one() -> None:
    num_bytes, speed, call_s = 1e9, 1e10, 1e-3

    def late_s(num_buckets: int) -> float:
        sent_at = 0.0
        for k in range(num_buckets):
            computed_at = (k + 1) / num_buckets * num_bytes / speed
            sent_at = max(sent_at, computed_at) + num_bytes / num_buckets / speed + call_s
        return sent_at - num_bytes / speed

    for num_buckets in (1, 2, 7, 30):
        foretold = bucket_overhead_s(
            num_bytes, num_buckets=num_buckets, bytes_per_s=speed, call_s=call_s
        )
        assert foretold == pytest.approx(late_s(num_buckets))
    best = num_bytes / best_bucket_bytes(num_bytes, bytes_per_s=speed, call_s=call_s)
    assert best == min(range(1, 100), key=late_s)


def test_the_arithmetic_needs_no_torch() -> None:
    code = "import sys, lm_systems.parallel.arithmetic; sys.exit('torch' in sys.modules)"
    assert run_python(["-c", code]).returncode == 0

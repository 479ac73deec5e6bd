"""What parallel training sends and computes, worked out on paper: no torch, no processes.

A ring moves ``S`` bytes through ``N`` processes in pieces of ``S / N``, each to the next neighbour.
Gathering all pieces, or reducing each piece on its way to its owner, takes ``N - 1`` such steps; an
all-reduce is the second, then the first (Patarasu & Yuan, 2009).

The layer is that of the course and of "How to Scale Your Model" (Austin et al., 2025), with ``B``
tokens, ``D = d_model``, ``F = d_ff`` and ``m`` matrices, two or, with a gate, three. Products of
matrices count and nothing else: ``2 B D F`` each in the forward pass, and twice as many in the
backward pass, for the inputs' gradients and the weights'. A device does ``C`` FLOP/s and sends
``W`` bytes a second.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Collective = Literal["all_reduce", "all_gather", "reduce_scatter"]

RING_ROUNDS: Mapping[Collective, int] = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1}
"""How often a piece of the tensor goes around."""

_VALUE_BYTES = 2
"""Of weights, activations and gradients on their way, in float16 or bfloat16."""
_STATE_BYTES = 4 + 4 + 8
"""Of a parameter in float32: itself, its gradient, and two moments of AdamW."""


def ring_bytes(num_bytes: int, num_processes: int) -> float:
    """Return what a process sends in one round of the ring: all-gather or reduce-scatter."""
    return (num_processes - 1) / num_processes * num_bytes


def collective_bytes(kind: Collective, num_bytes: int, num_processes: int) -> float:
    """Return what a process sends; ``num_bytes`` is the size of the whole tensor."""
    return RING_ROUNDS[kind] * ring_bytes(num_bytes, num_processes)


def whole_ring_bytes(num_bytes: int, num_processes: int) -> int:
    """Return what a process sends in an all-reduce that passes whole tensors around.

    In each of ``N - 1`` steps it sends on what it received last and adds it to its sum:
    ``(N - 1) S``, which is ``N / 2`` times what the ring of pieces sends.
    """
    return (num_processes - 1) * num_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A device among others."""

    flops_per_s: float
    """``C``: rate of matrix products."""
    bytes_per_s: float
    """``W``: rate at which it sends."""

    @property
    def bytes_per_flop(self) -> float:
        """What it sends while it does one operation: ``W / C``."""
        return self.bytes_per_s / self.flops_per_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A feed-forward layer and the tokens of one step, before anything is split."""

    num_tokens: int
    """``B``, over all devices."""
    d_model: int
    """``D``."""
    d_ff: int
    """``F``."""
    num_matrices: int = 3
    """``m``: 3 for ``(f(x W1) * x W2) W3``, 2 without the gate."""

    @property
    def flops(self) -> int:
        """Of the forward pass: ``2 m B D F``."""
        return 2 * self.num_matrices * self.num_tokens * self.d_model * self.d_ff

    @property
    def weight_bytes(self) -> int:
        """Of all matrices: ``2 m D F``, and their gradients are as large."""
        return _VALUE_BYTES * self.num_matrices * self.d_model * self.d_ff

    @property
    def activation_bytes(self) -> int:
        """Of the layer's input or its output: ``2 B D``."""
        return _VALUE_BYTES * self.num_tokens * self.d_model


@dataclass(frozen=True, kw_only=True, slots=True)
class PassCost:
    """What one device does in a forward or a backward pass of a layer."""

    flops: float
    """Of its products."""
    bytes_sent: float
    """By the ring."""

    def is_compute_bound(self, link: Link) -> bool:
        """Tell whether sending, hidden behind the products, is done no later than they are."""
        return self.bytes_sent / link.bytes_per_s <= self.flops / link.flops_per_s


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCost:
    """Both passes."""

    forward: PassCost
    """From input to output."""
    backward: PassCost
    """From the output's gradient to those of weights and input."""


def data_parallel_cost(layer: Layer, num_devices: int) -> LayerCost:
    """Return the cost where each device has all weights and ``B / N`` tokens.

    The weights' gradients are all-reduced: ``2 (N - 1) / N * 2 m D F`` bytes.
    """
    sent = collective_bytes("all_reduce", layer.weight_bytes, num_devices)
    return _cost(layer, num_devices, forward_bytes=0, backward_bytes=sent)


def fsdp_cost(layer: Layer, num_devices: int) -> LayerCost:
    """Return the cost where each device has ``B / N`` tokens and an ``N``-th of the weights.

    Weights are gathered in both passes; gradients are reduced and scattered.
    """
    gathered = collective_bytes("all_gather", layer.weight_bytes, num_devices)
    scattered = collective_bytes("reduce_scatter", layer.weight_bytes, num_devices)
    return _cost(layer, num_devices, forward_bytes=gathered, backward_bytes=gathered + scattered)


def tensor_parallel_cost(layer: Layer, num_devices: int) -> LayerCost:
    """Return the cost where each device has all tokens and ``F / N`` of the inner width.

    With the columns ``i`` of ``W1`` and ``W2`` and the rows ``i`` of ``W3``, device ``i`` has::

        z(i) = f(x W1(i)) * x W2(i)      y  = sum over i of z(i) W3(i)
        dz(i) = dy W3(i)^T               dx = sum over i of dx1(i) W1(i)^T + dx2(i) W2(i)^T

    where ``dx1(i)`` and ``dx2(i)`` are the gradients of the two products. Each sum is an all-reduce
    of ``2 B D`` bytes; the weights' gradients stay where they are.
    """
    sent = collective_bytes("all_reduce", layer.activation_bytes, num_devices)
    return _cost(layer, num_devices, forward_bytes=sent, backward_bytes=sent)


def most_data_parallel(layer: Layer, link: Link) -> float:
    """Return the most devices that data parallelism, with sharded weights or not, keeps busy.

    ``4 m B D F / (N C) >= 2 (N - 1) / N * 2 m D F / W`` gives ``N - 1 <= B W / C``; both passes of
    FSDP give the same, the forward pass with half of either side.
    """
    return 1 + layer.num_tokens * link.bytes_per_flop


def most_tensor_parallel(layer: Layer, link: Link) -> tuple[float, float]:
    """Return the most devices that tensor parallelism keeps busy, forward and backward.

    ``2 m B D F / (N C) >= 4 B D (N - 1) / (N W)`` gives ``N - 1 <= m / 2 * F W / C``; in the
    backward pass, with twice the products, ``m F W / C``.
    """
    forward = layer.num_matrices / 2 * layer.d_ff * link.bytes_per_flop
    return 1 + forward, 1 + 2 * forward


def fsdp_tensor_parallel_seconds(
    layer: Layer, link: Link, *, num_fsdp: float, num_tensor: float
) -> tuple[float, float, float]:
    """Return seconds of products, of gathering weights and of reducing activations, forward.

    A device has ``B / N_F`` tokens and ``F / N_T`` of the inner width. For large rings, whose
    ``(N - 1) / N`` is left out, it sends ``2 m D F / N_T`` bytes of weights along one axis and
    twice ``2 B D / N_F`` of activations along the other.
    """
    products_s = layer.flops / (num_fsdp * num_tensor) / link.flops_per_s
    weights_s = layer.weight_bytes / num_tensor / link.bytes_per_s
    activations_s = 2 * layer.activation_bytes / num_fsdp / link.bytes_per_s
    return products_s, weights_s, activations_s


def best_num_fsdp(layer: Layer, num_devices: float) -> float:
    """Return how many of the devices FSDP takes at best; the others split the inner width.

    With ``N_F N_T = N`` the two times of sending have a fixed product, so their maximum and their
    sum are both least where they are equal: ``N_F / N_T = 2 B / (m F)``.
    """
    ratio = 2 * layer.num_tokens / (layer.num_matrices * layer.d_ff)
    return math.sqrt(num_devices * ratio)


def most_fsdp_tensor_parallel(layer: Layer, link: Link, *, overlapped: bool) -> float:
    """Return the most devices that both together keep busy in the forward pass.

    At ``best_num_fsdp`` both times of sending are ``2 D sqrt(2 m B F / N) / W``. If they overlap,
    products of ``2 m B D F / (N C)`` hide them up to ``N = m / 2 * B F (W / C)^2``; if one follows
    the other they take twice as long, up to a quarter of it.
    """
    devices = layer.num_matrices / 2 * layer.num_tokens * layer.d_ff * link.bytes_per_flop**2
    return devices if overlapped else devices / 4


def least_tokens(
    layer: Layer,
    link: Link,
    *,
    num_fsdp: int,
    num_tensor: int,
    fsdp_axes: int = 1,
    tensor_axes: int = 1,
) -> float:
    """Return the least tokens of a step, over all devices, whose forward pass is compute bound.

    Axes of the mesh add up their rates, ``M_X`` and ``M_Y``. Weights arrive in time from
    ``B = N_F C / (M_X W)`` on; activations do so for any ``B`` as long as
    ``N_T <= m / 2 * F M_Y W / C``. The layer's own tokens do not count.

    Raises:
        ValueError: The inner width is split among so many that no batch is large enough.
    """
    most = layer.num_matrices / 2 * layer.d_ff * tensor_axes * link.bytes_per_flop
    if num_tensor > most:
        raise ValueError(
            f"num_tensor={num_tensor} is bound by communication at any batch: at most {most:.1f}"
        )
    return num_fsdp / (fsdp_axes * link.bytes_per_flop)


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerStack:
    """Feed-forward layers one after the other, of which products count and nothing else."""

    layer: Layer
    """One of them, with its tokens."""
    num_layers: int
    """How many there are."""

    @property
    def state_bytes(self) -> int:
        """Parameters, accumulated gradients and AdamW's moments in float32: 16 a parameter."""
        matrix = self.layer.d_model * self.layer.d_ff
        return _STATE_BYTES * self.layer.num_matrices * matrix * self.num_layers

    @property
    def activation_bytes(self) -> int:
        """The inputs of all products, kept in bfloat16 for the backward pass: ``D + F`` a token."""
        width = self.layer.d_model + self.layer.d_ff
        return _VALUE_BYTES * self.layer.num_tokens * width * self.num_layers

    def bytes_per_device(self, num_devices: int) -> float:
        """Return a device's memory where the state and half of the activations are sharded.

        ``(state + activations / 2) / N + activations / 2``, for the tokens of the layer.
        """
        half = self.activation_bytes / 2
        return (self.state_bytes + half) / num_devices + half

    def least_devices(self, memory_bytes: float) -> int:
        """Return the fewest devices that hold this.

        Raises:
            ValueError: The activations that are not sharded leave no room.
        """
        half = self.activation_bytes / 2
        if half >= memory_bytes:
            raise ValueError(
                f"{half:.3g} bytes of activations are not sharded and do not fit {memory_bytes:.3g}"
            )
        return math.ceil((self.state_bytes + half) / (memory_bytes - half))


def bucket_overhead_s(
    num_bytes: float, *, num_buckets: float, bytes_per_s: float, call_s: float
) -> float:
    """Return how long after the backward pass the last of equal buckets of gradients has arrived.

    While one bucket is sent the next is computed, in the same time. What is left at the end is the
    last bucket, ``s / (w n)``, and the fixed time of all calls, ``n o``.
    """
    return num_bytes / (bytes_per_s * num_buckets) + num_buckets * call_s


def best_bucket_bytes(num_bytes: float, *, bytes_per_s: float, call_s: float) -> float:
    """Return the size of buckets that makes the overhead least: ``sqrt(s w o)``.

    The derivative of ``bucket_overhead_s`` by the number of buckets, ``o - s / (w n^2)``, is zero
    at ``n = sqrt(s / (w o))``.
    """
    return math.sqrt(num_bytes * bytes_per_s * call_s)


def _cost(
    layer: Layer, num_devices: int, *, forward_bytes: float, backward_bytes: float
) -> LayerCost:
    flops = layer.flops / num_devices
    return LayerCost(
        forward=PassCost(flops=flops, bytes_sent=forward_bytes),
        backward=PassCost(flops=2 * flops, bytes_sent=backward_bytes),
    )

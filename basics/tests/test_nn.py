"""Layers against torch's own, and the properties that make them what they are."""

import math
from collections.abc import Callable

import pytest
import torch
from jaxtyping import TypeCheckError
from torch.nn import functional

from lm_basics.model_config import Activation
from lm_basics.nn import (
    MLP,
    REFERENCE_OPS,
    Embedding,
    Linear,
    MultiHeadSelfAttention,
    RMSNorm,
    RotaryPositionalEmbedding,
    SinusoidalPositionalEmbedding,
    SwiGLU,
    cross_entropy,
    log_softmax,
    scaled_dot_product_attention,
    silu,
    softmax,
)
from lm_basics.nn.ops import IGNORED_TARGET


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax_matches_torch_and_survives_large_inputs(dim: int) -> None:
    x = torch.randn(3, 4, 5) * 100 + 10_000
    torch.testing.assert_close(softmax(x, dim), functional.softmax(x, dim))
    torch.testing.assert_close(log_softmax(x, dim), functional.log_softmax(x, dim))


def test_sums_over_a_large_vocabulary_stay_in_the_range_of_float16() -> None:
    x = torch.zeros(1, 70_000, dtype=torch.float16)
    assert cross_entropy(x, torch.tensor([5])).item() == pytest.approx(math.log(70_000), rel=1e-3)
    assert softmax(x, -1).float().sum().item() == pytest.approx(1, rel=0.02)
    assert log_softmax(x, -1)[0, 0].item() == pytest.approx(-math.log(70_000), rel=1e-3)
    assert softmax(x, -1).dtype == log_softmax(x, -1).dtype == torch.float16


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("silu", functional.silu),
        ("gelu", functional.gelu),
        ("relu_squared", lambda x: functional.relu(x) ** 2),
    ],
)
def test_ungated_layers_match_torch(
    activation: Activation, expected: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    x, layer = torch.randn(2, 3, 8), MLP(8, 16, activation)
    inner = expected(functional.linear(x, layer.w1.weight))
    torch.testing.assert_close(layer(x), functional.linear(inner, layer.w2.weight))


def test_sinusoids_are_those_of_the_paper() -> None:
    x = SinusoidalPositionalEmbedding(10_000.0, 6, 20)(torch.zeros(1, 20, 6))
    for position, i in ((0, 0), (7, 1), (19, 2)):
        angle = position / 10_000 ** (2 * i / 6)
        assert x[0, position, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
        assert x[0, position, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_silu_and_swiglu_match_torch() -> None:
    x = torch.randn(2, 3, 8)
    torch.testing.assert_close(silu(x), functional.silu(x))
    layer = SwiGLU(8, 16)
    gate, up = functional.linear(x, layer.w1.weight), functional.linear(x, layer.w3.weight)
    expected = functional.linear(functional.silu(gate) * up, layer.w2.weight)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_rms_norm_matches_torch(dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, 16, dtype=dtype)
    layer = RMSNorm(16)
    torch.nn.init.uniform_(layer.weight)
    expected = functional.rms_norm(x.float(), (16,), layer.weight, eps=1e-5).to(dtype)
    torch.testing.assert_close(layer(x), expected)


def test_linear_starts_as_the_course_asks() -> None:
    weight = Linear(300, 500).weight
    std = (2 / 800) ** 0.5
    assert weight.shape == (500, 300)
    assert weight.abs().max() <= 3 * std
    # A normal cut at three deviations keeps 0.9866 of its standard deviation.
    torch.testing.assert_close(weight.std().item(), 0.9866 * std, rtol=0.01, atol=0)


def test_embedding_looks_up_rows() -> None:
    layer = Embedding(10, 4)
    ids = torch.tensor([[1, 9], [0, 1]])
    torch.testing.assert_close(layer(ids), functional.embedding(ids, layer.weight))
    for shape in ((), (0,), (3, 0), (2, 1, 2)):
        assert layer(torch.ones(shape, dtype=torch.int32)).shape == (*shape, 4)


@pytest.mark.parametrize("wrong", [-1, 10])
def test_embedding_refuses_ids_outside_the_table(wrong: int) -> None:
    with pytest.raises(IndexError, match="out of range"):
        Embedding(10, 4)(torch.tensor([[1, wrong]]))


@pytest.mark.parametrize("shape", [(2,), (2, 3)])
def test_attention_matches_torch_with_a_mask(shape: tuple[int, ...]) -> None:
    q, k, v = (torch.randn(*shape, n, d) for n, d in ((5, 8), (7, 8), (7, 6)))
    mask = torch.rand(*shape, 5, 7) > 0.3
    mask[..., 0] = True
    expected = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(scaled_dot_product_attention(q, k, v, mask), expected)


def test_attention_rejects_heads_that_do_not_match() -> None:
    with pytest.raises(TypeCheckError, match="d_k"):
        scaled_dot_product_attention(torch.randn(4, 8), torch.randn(4, 6), torch.randn(4, 6))


def test_grouped_attention_equals_repeated_heads() -> None:
    q, k, v = torch.randn(2, 6, 5, 4), torch.randn(2, 2, 5, 4), torch.randn(2, 2, 5, 4)
    expected = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(REFERENCE_OPS.attention(q, k, v), expected)


def test_cross_entropy_matches_torch() -> None:
    logits, targets = torch.randn(2, 3, 7) * 50, torch.randint(7, (2, 3))
    expected = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    torch.testing.assert_close(cross_entropy(logits, targets), expected)


def test_linear_cross_entropy_skips_ignored_targets() -> None:
    hidden = torch.randn(6, 4, requires_grad=True)
    weight, targets = torch.randn(9, 4), torch.randint(9, (6,))
    targets[::2] = IGNORED_TARGET
    loss = REFERENCE_OPS.linear_cross_entropy(hidden, weight, targets)
    expected = functional.cross_entropy(hidden @ weight.T, targets, ignore_index=IGNORED_TARGET)
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss, hidden)
    assert not gradient[::2].any()


def test_rope_depends_on_distance_only() -> None:
    rope = RotaryPositionalEmbedding(10_000.0, 16, 200)
    q, k = torch.randn(1, 16), torch.randn(1, 16)

    def product(query_position: int, key_position: int) -> torch.Tensor:
        rotated = rope(q, torch.tensor([query_position])), rope(k, torch.tensor([key_position]))
        return (rotated[0] * rotated[1]).sum()

    torch.testing.assert_close(product(17, 5), product(112, 100), rtol=1e-4, atol=1e-4)
    assert not torch.isclose(product(17, 5), product(17, 6))


def test_rope_rotates_neighbours_by_hand() -> None:
    rope = RotaryPositionalEmbedding(100.0, 4, 8)
    x = torch.tensor([[1.0, 0.0, 0.0, 2.0]])
    position = torch.tensor([3])
    angles = torch.tensor([3.0, 3.0 / 100**0.5])
    c, s = angles.cos(), angles.sin()
    expected = torch.stack([c[0], s[0], -2 * s[1], 2 * c[1]])[None]
    torch.testing.assert_close(rope(x, position), expected)


def test_rope_keeps_its_angles_in_a_model_of_low_precision() -> None:
    rope = RotaryPositionalEmbedding(10_000.0, 16, 200)
    cos = rope.cos.clone()
    rope.to(torch.bfloat16)
    assert torch.equal(rope.cos, cos)
    assert rope(torch.randn(3, 16, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_rope_computes_nothing_while_it_stays_on_meta() -> None:
    rope = RotaryPositionalEmbedding(10_000.0, 16, 200)
    cos = rope.cos.clone()
    assert rope.to("meta").to(torch.bfloat16).cos.is_meta
    assert torch.equal(rope.to_empty(device="cpu").cos, cos)


def test_rope_refuses_an_odd_width() -> None:
    with pytest.raises(ValueError, match="d_k=5 must be even"):
        RotaryPositionalEmbedding(10_000.0, 5, 8)


def test_cache_needs_positions() -> None:
    class NoCache:
        def update(
            self, k: torch.Tensor, v: torch.Tensor, positions: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            return k, v

    layer = MultiHeadSelfAttention(8, 2)
    with pytest.raises(ValueError, match="needs the positions"):
        layer(torch.randn(1, 2, 8), None, NoCache())

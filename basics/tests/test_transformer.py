"""The whole model: causality, shapes, initialization, bad configurations."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from lm_basics.model_config import (
    BlockConfig,
    FullAttention,
    MixtureOfExpertsConfig,
    MLPConfig,
    NoPosition,
    SinusoidalConfig,
    SlidingWindowAttention,
    SwiGLUConfig,
    TransformerConfig,
    uniform_transformer,
)
from lm_basics.transformer import TransformerLM


def _config(**overrides: object) -> TransformerConfig:
    values: dict[str, object] = {
        "vocab_size": 50,
        "context_length": 12,
        "d_model": 16,
        "num_layers": 2,
        "num_heads": 4,
    }
    return uniform_transformer(**{**values, **overrides})  # pyright: ignore[reportArgumentType]


def _blocks(*blocks: BlockConfig, **overrides: Any) -> TransformerConfig:
    return replace(_config(), pattern=blocks, **overrides)


ATTENTION, SWIGLU = FullAttention(num_heads=4), SwiGLUConfig(d_ff=24)
BLOCK = BlockConfig(attention=ATTENTION, feedforward=SWIGLU)
NO_POSITION = FullAttention(num_heads=4, position=NoPosition())
EXPERTS = MixtureOfExpertsConfig(num_experts=4, num_active=2, expert=SwiGLUConfig(d_ff=8))
VARIANTS: dict[str, TransformerConfig] = {
    "uniform": _config(),
    "grouped": _config(num_kv_heads=2),
    "qk_norm": _config(qk_norm=True),
    "tied": _config(tie_embeddings=True, num_kv_heads=1, qk_norm=True),
    "wide_heads": _config(d_head=6, num_kv_heads=2),
    "post_norm": _blocks(replace(BLOCK, norm="post")),
    "no_norm": _blocks(replace(BLOCK, norm="none"), final_norm=False),
    "nope": _blocks(replace(BLOCK, attention=NO_POSITION)),
    "sinusoidal": _blocks(
        replace(BLOCK, attention=NO_POSITION), position_embedding=SinusoidalConfig()
    ),
    "silu": _blocks(replace(BLOCK, feedforward=MLPConfig(d_ff=32, activation="silu"))),
    "gelu": _blocks(replace(BLOCK, feedforward=MLPConfig(d_ff=32, activation="gelu"))),
    "relu_squared": _blocks(
        replace(BLOCK, feedforward=MLPConfig(d_ff=32, activation="relu_squared"))
    ),
    "experts": _blocks(replace(BLOCK, feedforward=EXPERTS)),
    # The window of the first layer and the second's whole context let token 4 see all before it.
    "window": _blocks(
        replace(BLOCK, attention=SlidingWindowAttention(num_heads=4, window=3)), BLOCK
    ),
}
all_variants = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)


@all_variants
def test_no_gradient_flows_from_later_tokens(config: TransformerConfig) -> None:
    model = TransformerLM(config)
    embedded = torch.randn(1, 8, 16, requires_grad=True)
    embeddings: Any = model.token_embeddings
    embeddings.forward = lambda _: embedded
    hidden = model.hidden(torch.zeros(1, 8, dtype=torch.long))
    (gradient,) = torch.autograd.grad(hidden[0, 4].sum(), embedded)
    assert gradient[0, :5].abs().sum(-1).min() > 0
    assert not gradient[0, 5:].any()


@all_variants
def test_a_prefix_has_the_logits_of_the_whole(config: TransformerConfig) -> None:
    model, ids = TransformerLM(config), torch.randint(50, (2, 12))
    torch.testing.assert_close(model(ids[:, :7]), model(ids)[:, :7], rtol=1e-4, atol=1e-5)


class GrowingCache:
    """The plainest cache there is: every token is appended."""

    def __init__(self) -> None:
        self.k: list[torch.Tensor] = []
        self.v: list[torch.Tensor] = []

    def update(
        self, k: torch.Tensor, v: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.k.append(k)
        self.v.append(v)
        return torch.cat(self.k, dim=2), torch.cat(self.v, dim=2)


@all_variants
def test_cached_steps_equal_the_full_pass(config: TransformerConfig) -> None:
    model, ids = TransformerLM(config), torch.randint(50, (2, 9))
    cache = [GrowingCache() for _ in range(2)]
    steps = [
        model(ids[:, i : i + 1], positions=torch.full((2, 1), i), cache=cache) for i in range(9)
    ]
    torch.testing.assert_close(torch.cat(steps, dim=1), model(ids), rtol=1e-4, atol=1e-5)


@all_variants
def test_packed_documents_have_the_logits_of_each_alone(config: TransformerConfig) -> None:
    if config.position_embedding is not None:
        pytest.skip("absolute positions differ in a packed row")
    model, ids = TransformerLM(config), torch.randint(50, (2, 12))
    documents = torch.tensor([[0] * 5 + [1] * 7, [4] * 7 + [3] * 5])
    packed = model(ids, documents=documents)
    for row, length in ((0, 5), (1, 7)):
        for part in (slice(0, length), slice(length, 12)):
            alone = model(ids[row : row + 1, part])
            torch.testing.assert_close(packed[row : row + 1, part], alone, rtol=1e-4, atol=1e-5)


def test_a_window_hides_what_lies_further_back() -> None:
    attention = SlidingWindowAttention(num_heads=4, window=3)
    model = TransformerLM(_blocks(replace(BLOCK, attention=attention), num_layers=1))
    embedded = torch.randn(1, 8, 16, requires_grad=True)
    embeddings: Any = model.token_embeddings
    embeddings.forward = lambda _: embedded
    hidden = model.hidden(torch.zeros(1, 8, dtype=torch.long))
    (gradient,) = torch.autograd.grad(hidden[0, 6].sum(), embedded)
    assert gradient[0].abs().sum(-1).bool().tolist() == [False] * 4 + [True] * 3 + [False]


def test_attention_without_positions_does_not_see_the_order() -> None:
    model = TransformerLM(VARIANTS["nope"])
    ids = torch.tensor([[1, 2, 3, 4], [3, 1, 2, 4]])
    # In one layer only: in the second one, tokens know how many stand before them.
    logits = TransformerLM(replace(VARIANTS["nope"], num_layers=1))(ids)
    torch.testing.assert_close(logits[0, -1], logits[1, -1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model(ids)[0, -1], model(ids)[1, -1], atol=1e-3)
    rotated = TransformerLM(replace(_config(), num_layers=1))(ids)
    assert not torch.allclose(rotated[0, -1], rotated[1, -1], atol=1e-3)


def test_a_post_norm_block_is_the_equation_of_the_course() -> None:
    model = TransformerLM(replace(VARIANTS["post_norm"], num_layers=1))
    block: Any = model.layers[0]
    ids = torch.randint(50, (2, 12))
    x = model.token_embeddings(ids)
    z = block.ln1(x + block.attn(x))
    y = block.ln2(z + block.ffn(z))
    torch.testing.assert_close(model(ids), model.ln_final(y) @ model.output_weight.T)


def test_a_model_without_norms_has_no_gains() -> None:
    model = TransformerLM(VARIANTS["no_norm"])
    assert all(parameter.ndim == 2 for parameter in model.parameters())


def test_only_the_objective_holds_what_experts_add() -> None:
    model, ids = TransformerLM(VARIANTS["experts"]), torch.randint(50, (2, 12))
    inputs, targets = ids[:, :-1], ids[:, 1:]
    added = (model.objective(inputs, targets) - model.loss(inputs, targets)).item()
    # Two layers, each between 1 (even use) and 4 (one expert alone), times the weight of 0.01.
    assert 0.02 - 1e-4 <= added <= 0.08
    dense = TransformerLM(_config())
    torch.testing.assert_close(dense.objective(inputs, targets), dense.loss(inputs, targets))


def test_loss_starts_near_the_uniform_one() -> None:
    model = TransformerLM(_config(tie_embeddings=True, vocab_size=500))
    ids = torch.randint(500, (8, 12))
    loss = model.loss(ids, torch.randint(500, (8, 12))).item()
    assert abs(loss - math.log(500)) < 0.6


@pytest.mark.parametrize("tie_embeddings", [False, True])
def test_the_embedding_starts_as_wide_as_asked(tie_embeddings: bool) -> None:
    wide = _config(tie_embeddings=tie_embeddings, vocab_size=500)
    std = TransformerLM(wide).token_embeddings.weight.std().item()
    assert std == pytest.approx(wide.d_model**-0.5 if tie_embeddings else 1.0, rel=0.03)
    narrow = TransformerLM(replace(wide, embedding_std=0.3))
    assert narrow.token_embeddings.weight.std().item() == pytest.approx(0.3, rel=0.03)
    for std in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="embedding_std must be positive and finite or None"):
            replace(wide, embedding_std=std)


def test_loss_is_the_mean_cross_entropy_of_the_logits() -> None:
    model, ids = TransformerLM(_config()), torch.randint(50, (2, 9))
    expected = torch.nn.functional.cross_entropy(
        model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()
    )
    torch.testing.assert_close(model.loss(ids[:, :-1], ids[:, 1:]), expected)


def test_state_dict_has_the_names_of_the_course() -> None:
    names = set(TransformerLM(_config(num_layers=1)).state_dict())
    inner = ["attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.output_proj"]
    inner += ["ln1", "ln2", "ffn.w1", "ffn.w2", "ffn.w3"]
    outer = {"token_embeddings.weight", "ln_final.weight", "lm_head.weight"}
    assert names == outer | {f"layers.0.{name}.weight" for name in inner}


def test_a_pattern_repeats_over_the_layers() -> None:
    one, two = (_config(num_heads=n).pattern[0] for n in (2, 4))
    config = TransformerConfig(
        vocab_size=9, context_length=8, d_model=16, num_layers=5, pattern=(one, two)
    )
    assert [config.block(i) for i in range(5)] == [one, two, one, two, one]
    layer: Any = TransformerLM(config).layers[2]
    assert layer.attn.d_head == 8


def test_too_many_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="13 tokens in a row, but context_length is 12"):
        TransformerLM(_config())(torch.zeros(1, 13, dtype=torch.long))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"num_heads": 3}, "d_model=16 is not divisible by num_heads=3"),
        ({"num_heads": 16}, "d_head=1 must be even"),
        ({"num_kv_heads": 3}, "num_kv_heads=3 does not divide num_heads=4"),
        ({"num_layers": 0}, "num_layers must be positive, got 0"),
        ({"d_ff": -1}, "d_ff must be positive, got -1"),
        ({"rope_theta": 0.0}, "theta must be positive"),
        ({"d_head": 5}, "d_head=5 must be even"),
        ({"d_head": 0}, "d_head must be positive, got 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _config(**overrides)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SlidingWindowAttention(num_heads=2, window=0), "window must be positive, got 0"),
        (lambda: MLPConfig(d_ff=0), "d_ff must be positive, got 0"),
        (lambda: SinusoidalConfig(theta=-1), "sinusoidal theta must be positive, got -1"),
        (
            lambda: MixtureOfExpertsConfig(num_experts=2, num_active=3, expert=SWIGLU),
            "num_active=3 must lie between 1 and num_experts=2",
        ),
        (
            lambda: MixtureOfExpertsConfig(
                num_experts=2, num_active=1, expert=SWIGLU, balance_weight=-1.0
            ),
            "balance_weight must not be negative",
        ),
        (
            lambda: _blocks(
                BlockConfig(
                    attention=FullAttention(num_heads=3, position=NoPosition()), feedforward=SWIGLU
                ),
                d_model=15,
                position_embedding=SinusoidalConfig(),
            ),
            "d_model=15 is odd",
        ),
    ],
)
def test_impossible_alternatives_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("tied", [False, True])
def test_rows_are_copied_only_where_some_are_dropped(tied: bool) -> None:
    model = TransformerLM(
        uniform_transformer(
            vocab_size=12,
            context_length=4,
            d_model=8,
            num_layers=1,
            num_heads=2,
            tie_embeddings=tied,
        )
    )
    before = list(model.parameters())
    # There is none to drop from a number beyond the vocabulary on either.
    for vocab_size in (12, 20):
        model.drop_tokens_from(vocab_size)
        assert all(a is b for a, b in zip(model.parameters(), before, strict=True))
        assert model.config.vocab_size == 12
    model.drop_tokens_from(9)
    assert model.config.vocab_size == len(model.output_weight) == 9
    assert torch.equal(model.token_embeddings.weight, before[0][:9])

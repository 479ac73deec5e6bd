"""Modules as the handout builds and calls them: plain arguments, any leading axes, any type."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

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
from lm_basics.nn import (
    MLP,
    REFERENCE_OPS,
    Embedding,
    Linear,
    MixtureOfExperts,
    MultiHeadSelfAttention,
    RMSNorm,
    RotaryPositionalEmbedding,
    SinusoidalPositionalEmbedding,
    SwiGLU,
    cross_entropy,
)
from lm_basics.nn.rope import fitting
from lm_basics.transformer import TransformerBlock, TransformerLM

SEQ, D_MODEL = 4, 8
EXPERTS = MixtureOfExpertsConfig(num_experts=3, num_active=2, expert=MLPConfig(d_ff=8))
HYBRID = TransformerConfig(
    vocab_size=9,
    context_length=16,
    d_model=D_MODEL,
    num_layers=2,
    pattern=(
        BlockConfig(
            attention=FullAttention(num_heads=4, num_kv_heads=2, qk_norm=True),
            feedforward=SwiGLUConfig(d_ff=16),
        ),
        BlockConfig(
            attention=SlidingWindowAttention(num_heads=2, window=2, position=NoPosition()),
            feedforward=EXPERTS,
            norm="post",
        ),
    ),
    position_embedding=SinusoidalConfig(),
)

# As many heads as tokens and as rows: a position taken for a head's or a row's shows nowhere else.
MODULES: dict[str, Callable[[], nn.Module]] = {
    "attention": lambda: MultiHeadSelfAttention(D_MODEL, 4, 16, 10_000.0),
    "block": lambda: TransformerBlock(D_MODEL, 4, 16, 16, 10_000.0),
    "rope": lambda: RotaryPositionalEmbedding(10_000.0, D_MODEL, 16),
    "sinusoids": lambda: SinusoidalPositionalEmbedding(10_000.0, D_MODEL, 16),
}
LEADING = [(), (1,), (3,), (4,), (2, 4), (4, 4), (2, 1, 3), (0,), (2, 0)]


def _broadcastable(leading: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield every shape that broadcasts to ``leading``."""
    for start in range(len(leading) + 1):
        rest = leading[start:]
        for mask in range(2 ** len(rest)):
            yield tuple(1 if mask >> i & 1 else size for i, size in enumerate(rest))


@pytest.mark.parametrize("leading", LEADING, ids=str)
@pytest.mark.parametrize("name", MODULES)
def test_positions_of_every_shape_mean_those_of_each_row(
    name: str, leading: tuple[int, ...]
) -> None:
    module = MODULES[name]()
    x = torch.randn(*leading, SEQ, D_MODEL)
    for shape in {*_broadcastable(leading), (1,) * len(leading)}:
        positions = torch.randint(0, 16, (*shape, SEQ))
        every = positions.expand(*leading, SEQ).reshape(-1, SEQ)
        rows = x.reshape(-1, SEQ, D_MODEL)
        alone = [module(row, place) for row, place in zip(rows, every, strict=True)]
        expected = torch.stack(alone).view_as(x) if alone else x
        if name == "rope" and len(shape) < len(leading) and set(shape) - {1}:
            with pytest.raises(ValueError, match="leave open which axes"):
                module(x, positions)
        else:
            assert_close(module(x, positions), expected, rtol=1e-4, atol=1e-5)
    counted = torch.arange(SEQ)
    assert_close(module(x), module(x, counted), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODULES)
def test_one_row_of_positions_may_have_an_axis_of_its_own(name: str) -> None:
    module, x, positions = MODULES[name](), torch.randn(SEQ, D_MODEL), torch.tensor([5, 0, 2, 9])
    result = module(x, positions[None])
    assert result.shape == x.shape
    assert_close(result, module(x, positions), rtol=0, atol=0)


def test_attention_rotates_every_head_by_the_token() -> None:
    layer = MultiHeadSelfAttention(D_MODEL, 4, 16, 100.0)
    x, positions = torch.randn(SEQ, D_MODEL), torch.tensor([5, 0, 2, 9])
    rope = RotaryPositionalEmbedding(100.0, 2, 16)
    heads = []
    for head in range(4):
        part = slice(2 * head, 2 * head + 2)
        q, k, v = (p(x)[:, part] for p in (layer.q_proj, layer.k_proj, layer.v_proj))
        q, k = rope(q, positions), rope(k, positions)
        heads.append(functional.scaled_dot_product_attention(q, k, v, is_causal=True))
    expected = layer.output_proj(torch.cat(heads, -1))
    assert_close(layer(x, positions), expected)


def test_positions_move_no_token_in_the_mask_without_a_cache() -> None:
    # Without a cache the order of the row decides who sees whom, for the second document too.
    layer = MultiHeadSelfAttention(D_MODEL, 2)
    x, documents = torch.randn(2, SEQ, D_MODEL), torch.tensor([0, 0, 1, 1])
    positions = torch.tensor([0, 1, 0, 1])
    assert_close(layer(x, positions, None, documents), layer(x, None, None, documents))
    assert_close(layer(x, positions + 7), layer(x))


@pytest.mark.parametrize("leading", LEADING, ids=str)
def test_a_model_takes_any_leading_axes(leading: tuple[int, ...]) -> None:
    model = TransformerLM(HYBRID)
    ids = torch.randint(0, 9, (*leading, SEQ))
    for shape in _broadcastable(leading):
        places = torch.randint(0, 16, (*shape, SEQ))
        documents = torch.randint(0, 2, (*shape, SEQ)).sort(-1).values
        rows = zip(
            *(y.expand(*leading, SEQ).reshape(-1, SEQ) for y in (ids, places, documents)),
            strict=True,
        )
        alone = [
            model(row[None], positions=place[None], documents=document[None])[0]
            for row, place, document in rows
        ]
        logits = model(ids, positions=places, documents=documents)
        assert logits.shape == (*leading, SEQ, 9)
        if alone:
            assert_close(logits, torch.stack(alone).view_as(logits), rtol=1e-4, atol=1e-5)
    if ids.numel():
        flat = ids.reshape(-1, SEQ)
        assert_close(model.loss(ids, ids), model.loss(flat, flat))


@pytest.mark.parametrize(
    ("shape", "places"),
    [((5,), (4,)), ((3, 4), (2, 4)), ((2, 4), (4,)), ((), (4,)), ((2, 3, 4), (3, 4)), ((4,), ())],
)
def test_positions_that_fit_no_token_are_refused_by_name(
    shape: tuple[int, ...], places: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"token_positions of shape .* do not fit tokens of shape"):
        fitting("token_positions", torch.zeros(shape, dtype=torch.long), places)


@pytest.mark.parametrize("name", MODULES)
def test_modules_refuse_what_does_not_fit(name: str) -> None:
    module, x = MODULES[name](), torch.randn(2, SEQ, D_MODEL)
    for shape in ((3, SEQ), (5, 2, SEQ)):
        with pytest.raises(ValueError, match="token_positions of shape"):
            module(x, torch.zeros(shape, dtype=torch.long))
    # Where no annotations are checked, the same error as above.
    with pytest.raises(TypeCheckError, match="token_positions"):
        module(x, torch.zeros(SEQ - 1, dtype=torch.long))
    for position in (-1, 16):
        with pytest.raises(IndexError):
            module(x, torch.full((SEQ,), position))
    with pytest.raises(ValueError, match="17 vectors in a row, but max_seq_len is 16"):
        module(torch.randn(17, D_MODEL))


def test_one_position_is_not_spread_over_a_longer_row() -> None:
    with pytest.raises(ValueError, match="2 vectors in a row, but max_seq_len is 1"):
        RotaryPositionalEmbedding(100.0, 4, 1)(torch.randn(2, 4))


def test_attention_equals_that_of_torch() -> None:
    ours, theirs = MultiHeadSelfAttention(D_MODEL, 2), nn.MultiheadAttention(D_MODEL, 2, bias=False)
    projections = (ours.q_proj, ours.k_proj, ours.v_proj)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        theirs.out_proj.weight.copy_(ours.output_proj.weight)
    x = torch.randn(SEQ, D_MODEL)
    mask = torch.ones(SEQ, SEQ, dtype=torch.bool).triu(1)
    assert_close(ours(x), theirs(x, x, x, attn_mask=mask)[0])


def test_plain_arguments_make_what_a_configuration_describes() -> None:
    config = uniform_transformer(
        vocab_size=9, context_length=16, d_model=D_MODEL, num_layers=1, num_heads=4, d_ff=24
    )
    torch.manual_seed(0)
    model = TransformerLM(config)
    torch.manual_seed(0)
    Embedding(9, D_MODEL)
    block = TransformerBlock(D_MODEL, num_heads=4, d_ff=24, max_seq_len=16, theta=10_000.0)
    x = torch.randn(2, SEQ, D_MODEL)
    assert_close(block(x), model.layers[0](x), rtol=0, atol=0)
    attention = MultiHeadSelfAttention(D_MODEL, 4, 16, 10_000.0)
    attention.load_state_dict(block.attn.state_dict())
    assert_close(attention(x), block.attn(x), rtol=0, atol=0)
    y = x + attention(block.ln1(x))
    assert_close(block(x), y + block.ffn(block.ln2(y)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": 3}, "d_model=8 is not divisible by num_heads=3"),
        ({"num_heads": 0}, "num_heads must be positive, got 0"),
        ({"num_heads": 4, "num_kv_heads": 3}, "num_kv_heads=3 does not divide num_heads=4"),
        ({"num_heads": 8, "theta": 1e4, "max_seq_len": 4}, "d_head=1 must be even"),
        ({"num_heads": 2, "theta": 1e4}, r"theta=10000\.0 needs max_seq_len"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiHeadSelfAttention(D_MODEL, **arguments)
    if "num_kv_heads" not in arguments:
        with pytest.raises(ValueError, match=message):
            TransformerBlock(D_MODEL, d_ff=16, **arguments)


CONSTRUCTORS: dict[str, Callable[..., nn.Module]] = {
    "linear": lambda **where: Linear(4, 8, **where),
    "embedding": lambda **where: Embedding(4, 8, **where),
    "norm": lambda **where: RMSNorm(8, **where),
    "swiglu": lambda **where: SwiGLU(8, 16, **where),
    "mlp": lambda **where: MLP(8, 16, **where),
    "sinusoids": lambda **where: SinusoidalPositionalEmbedding(1e4, 8, 4, **where),
    "attention": lambda **where: MultiHeadSelfAttention(8, 2, 4, 1e4, qk_norm=True, **where),
    "block": lambda **where: TransformerBlock(8, 2, 16, **where),
    "experts": lambda **where: MixtureOfExperts(8, EXPERTS, **where),
    "model": lambda **where: TransformerLM(HYBRID, **where),
}


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_every_module_is_made_where_and_in_the_type_that_is_asked_for(name: str) -> None:
    module = CONSTRUCTORS[name](device=torch.device("meta"), dtype=torch.bfloat16)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    assert tensors
    assert {one.device.type for one in tensors.values()} == {"meta"}
    # The angles of a rotation stay in float32.
    types = {key: one.dtype for key, one in tensors.items() if not key.endswith((".cos", ".sin"))}
    assert set(types.values()) == {torch.bfloat16}
    plain = CONSTRUCTORS[name]()
    assert {one.dtype for one in plain.parameters()} <= {torch.float32}
    rope = RotaryPositionalEmbedding(1e4, 8, 4, torch.device("meta"))
    assert rope.cos.device.type == "meta"


TABLED = ("sinusoids", "attention", "block", "model")


def _tables(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_buffers())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("way", ["device", "context"])
@pytest.mark.parametrize("name", [*TABLED, "rope"])
def test_tables_survive_the_meta_device(name: str, way: str, dtype: torch.dtype) -> None:
    make = CONSTRUCTORS.get(name, lambda **where: RotaryPositionalEmbedding(1e4, 8, 4, **where))
    plain = make(max_seq_len=4, theta=1e4) if name == "block" else make()
    where = {"max_seq_len": 4, "theta": 1e4} if name == "block" else {}
    if way == "context":
        with torch.device("meta"):
            module = make(**where)
    else:
        module = make(**where, device=torch.device("meta"))
    assert {one.device.type for one in _tables(module).values()} == {"meta"}
    # A second time, from memory that holds something else: to_empty moves no values.
    for _ in range(2):
        module = module.to_empty(device="cpu").to(dtype)
        assert_close(_tables(module), _tables(plain.to(dtype)), rtol=0, atol=0)
        assert not module.state_dict().keys() & _tables(module).keys()
    assert {one.device.type for one in _tables(module.to("meta")).values()} == {"meta"}


@pytest.mark.parametrize("name", ["attention", "model"])
def test_weights_may_be_put_in_the_places_of_those_on_meta(name: str) -> None:
    plain, module = CONSTRUCTORS[name](), CONSTRUCTORS[name](device=torch.device("meta"))
    x = torch.randint(0, 9, (2, SEQ)) if name == "model" else torch.randn(2, SEQ, D_MODEL)
    if name == "attention":
        # Experts are chosen by values, which there are none of.
        assert module(x.to("meta")).is_meta
    module.load_state_dict(plain.state_dict(), assign=True)
    assert_close(module(x), plain(x), rtol=0, atol=0)
    emptied = CONSTRUCTORS[name](device=torch.device("meta")).to_empty(device="cpu")
    emptied.load_state_dict(plain.state_dict())
    assert_close(emptied(x), plain(x), rtol=0, atol=0)


def test_a_model_of_low_precision_runs() -> None:
    model = TransformerLM(HYBRID, dtype=torch.bfloat16)
    logits = model(torch.randint(0, 9, (2, SEQ)))
    assert logits.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_both_losses_have_one_rule_for_types(dtype: torch.dtype) -> None:
    hidden, weight = torch.randn(6, 4).to(dtype) * 4, torch.randn(9, 4).to(dtype)
    targets = torch.randint(0, 9, (6,))
    logits = hidden @ weight.T
    losses = (
        cross_entropy(logits, targets),
        REFERENCE_OPS.linear_cross_entropy(hidden, weight, targets),
    )
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    expected: Tensor = functional.cross_entropy(logits.to(wide), targets)
    for loss in losses:
        assert loss.dtype == wide
        assert_close(loss, expected)

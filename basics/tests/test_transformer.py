"""The whole model: causality, shapes, initialization, bad configurations."""

import math

import pytest
import torch

from lm_basics.model_config import TransformerConfig, uniform_transformer
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


VARIANTS = [
    {},
    {"num_kv_heads": 2},
    {"qk_norm": True},
    {"tie_embeddings": True, "num_kv_heads": 1, "qk_norm": True},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_no_gradient_flows_from_later_tokens(variant: dict[str, object]) -> None:
    model = TransformerLM(_config(**variant))
    embedded = torch.randn(1, 8, 16, requires_grad=True)
    model.token_embeddings.forward = lambda _: embedded
    hidden = model.hidden(torch.zeros(1, 8, dtype=torch.long))
    (gradient,) = torch.autograd.grad(hidden[0, 4].sum(), embedded)
    assert gradient[0, :5].abs().sum(-1).min() > 0
    assert not gradient[0, 5:].any()


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_prefix_has_the_logits_of_the_whole(variant: dict[str, object]) -> None:
    model, ids = TransformerLM(_config(**variant)), torch.randint(50, (2, 12))
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


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_cached_steps_equal_the_full_pass(variant: dict[str, object]) -> None:
    model, ids = TransformerLM(_config(**variant)), torch.randint(50, (2, 9))
    cache = [GrowingCache() for _ in range(2)]
    steps = [
        model(ids[:, i : i + 1], positions=torch.full((2, 1), i), cache=cache) for i in range(9)
    ]
    torch.testing.assert_close(torch.cat(steps, dim=1), model(ids), rtol=1e-4, atol=1e-5)


def test_loss_starts_near_the_uniform_one() -> None:
    model = TransformerLM(_config(tie_embeddings=True, vocab_size=500))
    ids = torch.randint(500, (8, 12))
    loss = model.loss(ids, torch.randint(500, (8, 12))).item()
    assert abs(loss - math.log(500)) < 0.6


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
    assert TransformerLM(config).layers[2].attn.d_head == 8


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
    ],
)
def test_sizes_that_do_not_fit_are_refused(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _config(**overrides)

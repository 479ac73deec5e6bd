"""The course's two accounting questions, answered.

Its models have the shapes of GPT-2, but a SwiGLU layer, RMSNorm, rotations and a head of its own.
``transformer_accounting`` asks for parameters and FLOPs, ``adamw_accounting`` for memory and time
in float32.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lm_basics.accounting.account import in_bytes, in_flops
from lm_basics.accounting.cost import TrainingBudget, training_cost
from lm_basics.accounting.counts import ForwardFlops, count_parameters, forward_flops
from lm_basics.accounting.memory import StepConfig, largest_batch, training_memory
from lm_basics.model_config import SwiGLUConfig, TransformerConfig, uniform_transformer
from lm_shared.devices import DEVICES
from lm_shared.report import Report

LONG_CONTEXT = 16_384
MEMORY_BYTES = 80e9
ADAMW_FLOPS_PER_PARAMETER = 13
"""What ``update_adamw`` does for each number: decay 1, first moment 3, second moment 4, root 1,
epsilon 1, quotient, scaling and difference 3. The course's formula writes the decay as a product
and a difference, which makes 14."""

_STEPS, _BATCH_SIZE, _MFU = 400_000, 1024, 0.5


def _gpt2_shape(
    num_layers: int, d_model: int, num_heads: int, d_ff: int | None = None
) -> TransformerConfig:
    return uniform_transformer(
        vocab_size=50_257,
        context_length=1024,
        d_model=d_model,
        num_layers=num_layers,
        num_heads=num_heads,
        d_ff=d_ff,
    )


COURSE_MODELS: Mapping[str, TransformerConfig] = {
    "small": _gpt2_shape(12, 768, 12),
    "medium": _gpt2_shape(24, 1024, 16),
    "large": _gpt2_shape(36, 1280, 20),
    "XL (2026)": _gpt2_shape(48, 1600, 25),
    "XL (2025)": _gpt2_shape(48, 1600, 25, d_ff=6400),
}
"""By name; ``d_ff`` is the multiple of 64 nearest to 8/3 ``d_model``, but 4 ``d_model`` in 2025."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerAnswer:
    """Parameters and FLOPs of one model at one context length."""

    name: str
    """What the course calls it."""
    context_length: int
    """Tokens of the forward pass."""
    d_ff: int
    """Width of the SwiGLU layer."""
    parameters: int
    """Number of parameters."""
    flops: ForwardFlops
    """FLOPs of one forward pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MatrixProduct:
    """One product of matrices of a forward pass."""

    name: str
    """What it computes."""
    shape: str
    """Sizes of its factors."""
    count: int
    """How many there are."""
    flops: int
    """FLOPs of all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamWAnswer:
    """Memory and time of one model in float32."""

    name: str
    """What the course calls it."""
    state_bytes: int
    """Parameters, gradients and both moments."""
    listed_bytes: int
    """Activations of one sequence, counted by the list in the handout."""
    listed_batch: int
    """Sequences that fit into 80 GB by that list."""
    kept_bytes: int
    """Activations of one sequence that the reference operations keep."""
    kept_batch: int
    """Sequences that fit into 80 GB with these."""
    fused_batch: int
    """Sequences that fit with fused attention and bfloat16 products."""
    adamw_flops: int
    """FLOPs of one step of the optimizer."""
    hours: float
    """Hours of 400,000 steps of 1,024 sequences on one H100 in TF32 at half of its peak."""


def transformer_accounting() -> list[TransformerAnswer]:
    """Return all models at their context length, and XL at a long one."""
    cases = [(name, config, config.context_length) for name, config in COURSE_MODELS.items()]
    cases += [
        (name, config, LONG_CONTEXT)
        for name, config in COURSE_MODELS.items()
        if name.startswith("XL")
    ]
    return [
        TransformerAnswer(
            name=name,
            context_length=length,
            d_ff=_swiglu_width(config),
            parameters=count_parameters(config),
            flops=forward_flops(config, length),
        )
        for name, config, length in cases
    ]


def matrix_products(config: TransformerConfig, sequence_length: int) -> list[MatrixProduct]:
    """Return the products of one forward pass of a course's model."""
    n, d, layers = sequence_length, config.d_model, config.num_layers
    heads, d_ff = config.block(0).attention.num_heads, _swiglu_width(config)
    d_head = config.block(0).attention.head_width(d)
    products = [
        ("queries, keys, values", 3 * layers, (n, d, d)),
        ("scores", heads * layers, (n, d_head, n)),
        ("weighted sums of values", heads * layers, (n, n, d_head)),
        ("output projection", layers, (n, d, d)),
        ("W1 and W3", 2 * layers, (n, d, d_ff)),
        ("W2", layers, (n, d_ff, d)),
        ("output head", 1, (n, d, config.vocab_size)),
    ]
    return [
        MatrixProduct(
            name=name,
            shape=f"({rows:,} × {inner:,}) · ({inner:,} × {columns:,})",  # noqa: RUF001 - a times sign
            count=count,
            flops=2 * count * rows * inner * columns,
        )
        for name, count, (rows, inner, columns) in products
    ]


def adamw_accounting() -> list[AdamWAnswer]:
    """Return memory and time of all models at their context length."""
    return [_answer_adamw(name, config) for name, config in COURSE_MODELS.items()]


def listed_activation_bytes(config: TransformerConfig, sequence_length: int) -> int:
    """Return the float32 activations of one sequence by the list in the handout.

    Per block both RMSNorms, queries, keys and values, scores, softmax, weighted sum, output
    projection, W1, SiLU, W3 (and its product with the gate) and W2; then the final RMSNorm, the
    output head and the cross-entropy::

        4 (L (T (8 d + 4 d_ff) + 2 h T^2) + T d + 2 T V)
    """
    t, d, vocab = sequence_length, config.d_model, config.vocab_size
    heads, d_ff = config.block(0).attention.num_heads, _swiglu_width(config)
    block = t * (8 * d + 4 * d_ff) + 2 * heads * t**2
    return 4 * (config.num_layers * block + t * d + 2 * t * vocab)


def _answer_adamw(name: str, config: TransformerConfig) -> AdamWAnswer:
    length, parameters = config.context_length, count_parameters(config)
    plain = StepConfig(dtype="float32")
    fused = StepConfig(dtype="bfloat16", attention="fused", autocast_device="cuda")
    memory = training_memory(config, 1, length, step=plain)
    state = memory.total - memory.activations.total
    listed = listed_activation_bytes(config, length)
    budget = TrainingBudget(
        tokens=_STEPS * _BATCH_SIZE * length,
        batch_size=_BATCH_SIZE,
        sequence_length=length,
        mfu=_MFU,
        dtype="tfloat32",
    )
    return AdamWAnswer(
        name=name,
        state_bytes=state,
        listed_bytes=listed,
        listed_batch=max(0, int((MEMORY_BYTES - state) // listed)),
        kept_bytes=memory.activations.total,
        kept_batch=largest_batch(config, length, MEMORY_BYTES, step=plain),
        fused_batch=largest_batch(config, length, MEMORY_BYTES, step=fused),
        adamw_flops=ADAMW_FLOPS_PER_PARAMETER * parameters,
        hours=training_cost(config, budget, DEVICES["h100"]).device_hours,
    )


def _swiglu_width(config: TransformerConfig) -> int:
    """Return ``d_ff`` of a model whose blocks are all alike.

    Raises:
        ValueError: Its feed-forward layers are no SwiGLU.
    """
    layer = config.block(0).feedforward
    if not isinstance(layer, SwiGLUConfig):
        raise ValueError(f"expected SwiGLU layers, got {type(layer).__name__}")
    return layer.d_ff


_XL = "XL (2026)"


def add_coursework(page: Report) -> None:
    """Add the answers to ``transformer_accounting`` and ``adamw_accounting``."""
    _add_transformer_answers(page)
    _add_products(page)
    _add_adamw_answers(page)


def _add_transformer_answers(page: Report) -> None:
    answers = transformer_accounting()
    rows = []
    for answer in answers:
        shares = [100 * share for share in answer.flops.shares().values()]
        size = in_bytes(4 * answer.parameters)
        flops = in_flops(answer.flops.total)
        names = [answer.name, answer.context_length, answer.d_ff, answer.parameters]
        rows.append([*names, size, flops, *(f"{share:.1f}" for share in shares)])
    columns = ["model", "context", "d_ff", "parameters", "float32", "forward FLOPs"]
    columns += [f"{part}, %" for part in ("QKV", "attention", "output", "MLP", "head")]
    page.section(
        "The course: transformer_accounting",
        "Models of GPT-2's shapes with SwiGLU layers and a head of their own.",
    ).table(columns, rows)
    totals = {(one.name, one.context_length): one.flops for one in answers}
    short, long = totals[_XL, 1024], totals[_XL, LONG_CONTEXT]
    page.paragraph(
        "The MLP dominates, the more so the larger the model: it and the projections grow with the "
        "square of the width, scores with the width alone, and the head's share vanishes. At "
        f"{LONG_CONTEXT:,} tokens a forward pass of {_XL} takes {long.total / short.total:.1f} "
        f"times the FLOPs for 16 times the tokens, and scores and weighted sums rise from "
        f"{short.shares()['attention']:.1%} to {long.shares()['attention']:.1%} of them."
    )


def _add_products(page: Report) -> None:
    page.section(f"The course: matrix products of {_XL}", "One sequence of 1,024 tokens.").table(
        ["product", "sizes", "how many", "FLOPs"],
        [
            [one.name, one.shape, one.count, in_flops(one.flops)]
            for one in matrix_products(COURSE_MODELS[_XL], 1024)
        ],
    )


def _add_adamw_answers(page: Report) -> None:
    answers = adamw_accounting()
    columns = ["model", "parameters to moments", "listed, a sequence", "batch in 80 GB"]
    columns += ["kept, a sequence", "batch in 80 GB", "batch, fused", "AdamW FLOPs"]
    columns += ["hours", "days"]
    rows = [
        [
            answer.name,
            in_bytes(answer.state_bytes),
            in_bytes(answer.listed_bytes),
            answer.listed_batch,
            in_bytes(answer.kept_bytes),
            answer.kept_batch,
            answer.fused_batch,
            in_flops(answer.adamw_flops),
            f"{answer.hours:,.0f}",
            f"{answer.hours / 24:,.0f}",
        ]
        for answer in answers
    ]
    page.section("The course: adamw_accounting", "Float32, sequences of 1,024 tokens.").table(
        columns, rows
    )
    page.text_block(
        "P = 2 V d + L (4 d^2 + 3 d d_ff + 2 d) + d\n"
        "parameters 4 P    gradients 4 P    moments 8 P    together 16 P bytes\n"
        "listed activations  4 B (L (T (8 d + 4 d_ff) + 2 h T^2) + T d + 2 T V)\n"
        "kept activations    4 B (L (T (10 d + 5 d_ff + 2 h + 2) + (3 h + 1/4) T^2)"
        " + T (3 d + V)) + 25 B T + 8",
        "V vocabulary, d width, L layers, h heads, T tokens, B sequences.",
    )
    page.paragraph(
        "Listed are the activations that the handout names, each once. Kept is what the reference "
        "operations of this code leave for the backward pass, as measured with torch's hooks for "
        "saved tensors: a softmax keeps its input and its exponentials beside the weights, SwiGLU "
        "a sigmoid as well. The last batch is that of fused attention with bfloat16 products."
    )
    page.paragraph(
        f"AdamW does {ADAMW_FLOPS_PER_PARAMETER} operations a parameter: decay 1, first moment 3, "
        "second 4, root 1, epsilon 1, quotient, scaling and difference 3. Written as in the "
        "handout, the decay is a product and a difference, which makes 14. Hours and days are "
        "those of 400,000 steps of 1,024 sequences on one H100 in TF32 at half of its peak, where "
        "the backward pass costs two forward passes."
    )

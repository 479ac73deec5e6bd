"""The course's accounting questions as sections of a page."""

from lm_basics.accounting.coursework import (
    ADAMW_FLOPS_PER_PARAMETER,
    COURSE_MODELS,
    LONG_CONTEXT,
    adamw_accounting,
    matrix_products,
    transformer_accounting,
)
from lm_basics.accounting.quantities import in_bytes, in_flops
from lm_shared.report import Report

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

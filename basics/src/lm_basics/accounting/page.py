"""The HTML page of an account, and the figures of where the FLOPs of a forward pass go."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from matplotlib.figure import Figure

from lm_basics.accounting.account import Account, in_bytes, in_count, in_flops, in_time
from lm_basics.accounting.counts import ForwardFlops, count_parameters, forward_flops
from lm_basics.accounting.coursework import add_coursework
from lm_basics.accounting.published import PUBLISHED
from lm_basics.model_config import TransformerConfig, uniform_transformer
from lm_shared.figures import figure_svg, line_figure
from lm_shared.report import Report
from lm_shared.wording import counted

_NAMES = {
    "qkv": "projections to queries, keys, values",
    "attention": "attention",
    "output": "projection from the heads",
    "feedforward": "feed-forward layers",
    "head": "output head",
    "embedding": "embedding",
    "norms": "norms",
    "block_inputs": "inputs of checkpointed blocks",
    "weight_copies": "bfloat16 copies of matrices",
}


def account_page(account: Account) -> Report:
    """Lay an account out on a self-contained page, with the course's questions at the end."""
    options = account.options
    page = Report(
        f"What {account.name} costs",
        f"{options.batch_size:,} × {account.sequence_length:,} tokens on {account.device_name}.",  # noqa: RUF001 - a times sign
    )
    _add_overview(page, account)
    _add_parameters_and_flops(page, account)
    _add_memory(page, account)
    _add_training(page, account)
    _add_inference(page, account)
    _add_figures(page, account)
    _add_published(page)
    add_coursework(page)
    return page


def _add_overview(page: Report, account: Account) -> None:
    memory, training = account.memory, account.training
    page.section("At a glance").key_numbers(
        [
            ("Parameters", in_count(account.parameters.total), f"{account.parameters.total:,}"),
            ("Forward FLOPs", in_flops(account.forward.total), "of one sequence"),
            ("Memory of a step", in_bytes(memory.total), "weights to activations"),
            ("Largest batch", account.largest_batch, "sequences on one device"),
            (
                "Training",
                in_time(training.elapsed_s),
                f"{in_count(account.options.num_tokens)} tokens",
            ),
            (
                "Decoding",
                f"{account.inference.decode_tokens_per_s:,.0f} tokens/s",
                "upper bound of one device",
            ),
        ]
    )


def _add_parameters_and_flops(page: Report, account: Account) -> None:
    total, flops = account.parameters.total, account.forward
    page.section("Parameters").table(
        ["component", "parameters", "share, %"],
        [
            [_NAMES[name], number, 100 * number / total]
            for name, number in _values(account.parameters)
        ],
    )
    if account.active_parameters < total:
        page.paragraph(f"A token goes through {account.active_parameters:,} of them.")
    page.section(
        "FLOPs of a forward pass",
        f"Matrix products of one sequence of {account.sequence_length:,} tokens; the backward pass "
        "costs exactly twice as much.",
    ).table(
        ["component", "FLOPs", "share, %"],
        [
            [_NAMES[name], in_flops(number), 100 * number / flops.total]
            for name, number in _values(flops)
        ],
    )


def _add_memory(page: Report, account: Account) -> None:
    memory = account.memory
    rows: list[list[Any]] = [
        ["weights", in_bytes(memory.weights)],
        ["gradients", in_bytes(memory.gradients)],
        [f"state of {account.options.optimizer}", in_bytes(memory.optimizer_state)],
        *(
            [f"activations: {_NAMES[name]}", in_bytes(number)]
            for name, number in _values(memory.activations)
            if number
        ),
        ["all", in_bytes(memory.total)],
    ]
    lead = f"A step; sequences in it: {account.options.batch_size:,}. 1 GB is 1e9 bytes."
    if account.options.checkpoint_blocks:
        lead += " Activations are those of the largest block; head and block do not meet."
    page.section("Memory of training", lead).table(["what", "bytes"], rows)
    batch = counted(account.largest_batch, "sequence")
    fits = f"{in_bytes(account.device_memory_bytes)} hold {batch}"
    if account.least_devices > 1:
        fits = f"weights, gradients and state must be spread over {account.least_devices:,} devices"
    page.paragraph(f"{account.device_name}: {fits}. Working memory comes on top.")


def _add_training(page: Report, account: Account) -> None:
    training, options = account.training, account.options
    rows: list[list[Any]] = [
        ["FLOPs in all", in_flops(training.flops)],
        ["time of a step", in_time(training.step_s)],
        ["tokens per second", f"{training.tokens_per_s:,.0f}"],
        ["steps", f"{training.steps:,.0f}"],
        ["time in all", in_time(training.elapsed_s)],
        ["device hours", f"{training.device_hours:,.0f}"],
        ["dollars", None if training.dollars is None else f"{training.dollars:,.0f}"],
    ]
    page.section(
        "Time and money",
        f"{in_count(options.num_tokens)} tokens on {options.num_devices:,} × {account.device_name} "  # noqa: RUF001 - a times sign
        f"at {options.mfu:.0%} of the {account.dtype} peak.",
    ).table(["what", "value"], rows)


def _add_inference(page: Report, account: Account) -> None:
    inference = account.inference
    bound = "memory" if inference.is_memory_bound else "arithmetic"
    page.section(
        "Inference",
        f"Weights and cache in {account.inference_dtype}. Reading a prompt is bound by arithmetic; "
        f"each step of writing reads all weights and the cache, and waits for {bound} here.",
    ).table(
        ["what", "value"],
        [
            ["prompt tokens per second", f"{inference.prefill_tokens_per_s:,.0f}"],
            ["time of a step", in_time(inference.decode_step_s)],
            ["written tokens per second", f"{inference.decode_tokens_per_s:,.0f}"],
            ["weights", in_bytes(inference.weight_bytes)],
            ["cache of one sequence", in_bytes(inference.cache_bytes_per_sequence)],
            ["sequences that fit", f"{inference.largest_batch:,}"],
        ],
    )


def _add_figures(page: Report, account: Account) -> None:
    page.section("Where the FLOPs go")
    page.figure(
        figure_svg(share_by_size_figure()),
        "Against size, at 2,048 tokens: models of one shape, 128 wide for each of their layers.",
    )
    page.figure(
        figure_svg(share_by_context_figure(account.model)),
        f"Against the length of the sequence: {account.name}.",
    )


def _add_published(page: Report) -> None:
    page.section("Published models", "As near as this code's configuration comes.").table(
        ["model", "parameters", "published", "difference, %"],
        [
            [
                name,
                count_parameters(model.config),
                model.parameters,
                100 * (count_parameters(model.config) / model.parameters - 1),
            ]
            for name, model in PUBLISHED.items()
        ],
    )
    by_origin: dict[tuple[str, str], list[str]] = {}
    for name, model in PUBLISHED.items():
        by_origin.setdefault((model.source, model.differences), []).append(name)
    for (source, differences), names in by_origin.items():
        differs = f"Otherwise than there, {differences}" if differences else "Nothing differs"
        page.paragraph(f"{', '.join(names)}: {source}. {differs}.")


def _values(record: Any) -> list[tuple[str, int]]:
    return [(field.name, getattr(record, field.name)) for field in fields(record)]


_DEPTHS = (3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)
_WIDTH_PER_LAYER = 128
_NUM_CONTEXTS = 12
_COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "MLP": ("feedforward",),
    "attention: projections": ("qkv", "output"),
    "attention: scores and sums": ("attention",),
    "output head": ("head",),
}


def growing_models(*, context_length: int = 2048) -> list[TransformerConfig]:
    """Return models of one shape from about 10M to about 175B parameters.

    A block is 128 wide for each layer that the model has, and so is a head: 96 layers are as wide
    as GPT-3. The vocabulary is GPT-2's, tied.
    """
    return [
        uniform_transformer(
            vocab_size=50_257,
            context_length=context_length,
            d_model=_WIDTH_PER_LAYER * depth,
            num_layers=depth,
            num_heads=depth,
            tie_embeddings=True,
        )
        for depth in _DEPTHS
    ]


def share_by_size_figure(*, context_length: int = 2048) -> Figure:
    """Draw the shares of FLOPs over the number of parameters outside of the embedding."""
    models = growing_models(context_length=context_length)
    sizes = [count_parameters(model) - model.vocab_size * model.d_model for model in models]
    passes = [forward_flops(model, context_length) for model in models]
    return _share_figure(sizes, passes, x_label="parameters without the embedding")


def share_by_context_figure(config: TransformerConfig) -> Figure:
    """Draw the shares of a model's FLOPs over the length of the sequence."""
    shortest = max(1, config.context_length // 2**3)
    contexts = [shortest * 2**doubling for doubling in range(_NUM_CONTEXTS)]
    passes = [forward_flops(config, context) for context in contexts]
    return _share_figure(contexts, passes, x_label="tokens of a sequence")


def _share_figure(x: Sequence[int], passes: Sequence[ForwardFlops], *, x_label: str) -> Figure:
    shares = [flops.shares() for flops in passes]
    lines = {
        name: (x, [100 * sum(share[part] for part in parts) for share in shares])
        for name, parts in _COMPONENTS.items()
    }
    return line_figure(lines, x_label=x_label, y_label="% of the forward FLOPs", x_scale="log")

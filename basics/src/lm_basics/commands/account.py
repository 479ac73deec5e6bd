"""``basics account``: parameters, FLOPs, memory, time and money of a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lm_basics.accounting.account import Account, AccountConfig, account_for
from lm_shared.command_options import Overwrite
from lm_shared.config import save_config
from lm_shared.files import claim_folder
from lm_shared.wording import wrote

if TYPE_CHECKING:
    from rich.table import Table


OUTPUT = Path("runs/account")
PARTS = ("account.json", "account.html", "shares-*.png")
_DEFAULTS = AccountConfig()


def account_for_model(
    model: Annotated[
        str,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[NAME|config.json]", help_behavior_hint="(default: gpt2-xl)"),
    ] = "gpt2-xl",
    /,
    *,
    options: Annotated[AccountConfig, tyro.conf.arg(name="")] = _DEFAULTS,
    output: Path = OUTPUT,
    overwrite: Overwrite = False,
) -> None:
    """Account for a model: parameters, FLOPs, memory, time and money.

    Args:
        model: gpt2-small, -medium, -large or -xl, llama3-8b, -70b or -405b, gpt3-175b; or a
            config.json as this code or Hugging Face (Llama, Qwen3) writes it, or its folder.
        options: What is done with it.
        output: Folder for account.json, account.html and two figures.
        overwrite: Replace an earlier account; in the default folder it is replaced anyway.
    """
    from lm_basics.accounting.published import find_model

    account = account_for(model, find_model(model), options)
    claim_folder(output, "an account", parts=PARTS, default=OUTPUT, overwrite=overwrite)
    from rich.console import Console

    from lm_basics.accounting.page import (
        account_page,
        share_by_context_figure,
        share_by_size_figure,
    )
    from lm_shared.figures import write_png

    if account.largest_batch < options.batch_size:
        print(_advice(account))
    Console().print(_table(account))
    save_config(account, output / "account.json")
    account_page(account).write(output / "account.html")
    write_png(share_by_size_figure(), output / "shares-by-size.png")
    write_png(share_by_context_figure(account.model), output / "shares-by-context.png")
    print(wrote(output / "account.html"))


def _advice(account: Account) -> str:
    from lm_basics.accounting.account import in_bytes

    needed, there = in_bytes(account.memory.total), in_bytes(account.device_memory_bytes)
    options = account.options
    if account.least_devices > 1:
        return (
            f"this step does not fit: weights, gradients and optimizer state alone fill "
            f"{account.least_devices:,} devices; times and prices below leave that out of account"
        )
    ways = [
        *(["--batch-size 1"] if options.batch_size > 1 else []),
        *(["--attention fused"] if options.attention == "reference" else []),
        *(["--checkpoint-blocks"] if not options.checkpoint_blocks else []),
        "a shorter --context",
    ]
    return (
        f"this step does not fit: it needs {needed}, the device has {there}. What takes less: "
        f"{', '.join(ways)}; times and prices below leave that out of account"
    )


def _table(account: Account) -> "Table":
    from rich.table import Table

    from lm_basics.accounting.account import in_bytes, in_count, in_flops, in_time

    options, training, inference = account.options, account.training, account.inference
    memory, flops = account.memory, account.forward
    parts = ", ".join(f"{name} {share:.0%}" for name, share in flops.shares().items())
    rows = {
        "parameters": in_count(account.parameters.total),
        "forward FLOPs of a sequence": in_flops(flops.total),
        "of these": parts,
        "weights, gradients, state": in_bytes(memory.total - memory.activations.total),
        "activations": in_bytes(memory.activations.total),
        "memory of a step": in_bytes(memory.total),
        "largest batch of one device": f"{account.largest_batch:,}",
        "devices to spread that state over": f"{account.least_devices:,}",
        "time of a step": in_time(training.step_s),
        "training tokens per second": f"{training.tokens_per_s:,.0f}",
        f"{in_count(options.num_tokens)} tokens": in_time(training.elapsed_s),
        "device hours": f"{training.device_hours:,.0f}",
        "prompt tokens per second": f"{inference.prefill_tokens_per_s:,.0f}",
        "written tokens per second": f"{inference.decode_tokens_per_s:,.0f}",
        "cache of a sequence": in_bytes(inference.cache_bytes_per_sequence),
        "sequences that fit beside weights": f"{inference.largest_batch:,}",
    }
    if training.dollars is not None:
        rows["dollars"] = f"{training.dollars:,.0f}"
    if account.active_parameters < account.parameters.total:
        rows["active parameters"] = in_count(account.active_parameters)
    size = f"{options.batch_size:,} × {account.sequence_length:,} tokens"  # noqa: RUF001 - a times sign
    table = Table(title=f"{account.name}: {size}, {account.device_name}", show_header=False)
    table.add_column("what", overflow="fold")
    table.add_column("value", overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    return table

"""``basics ngram``: the n-gram baselines of a token file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from lm_shared.command_options import PATH, Least, Overwrite
from lm_shared.config import to_dict
from lm_shared.files import claim_file, write_json

if TYPE_CHECKING:
    from rich.table import Table

    from lm_basics.ngram import NgramResult


_NAMES = {"kneser_ney": "Kneser-Ney", "stupid_backoff": "stupid backoff"}


def compare_ngram_models(
    *,
    tokens: Path,
    validation: Path,
    orders: Annotated[tuple[int, ...], Least(1)] = (1, 2, 3, 4, 5),
    output: Annotated[Path | None, PATH] = None,
    overwrite: Overwrite = False,
) -> None:
    """Show what n-gram models of a token file need for the tokens of another one.

    The scores of stupid backoff are divided by their sum over the vocabulary, for they are no
    probabilities by themselves.

    Args:
        tokens: token file to learn from.
        validation: token file to predict, of the same tokenizer.
        orders: longest n-grams.
        output: JSON file for the numbers of the table.
        overwrite: replace an earlier file.
    """
    from rich.console import Console

    from lm_basics.commands.training_tokens import offer_training
    from lm_basics.ngram import compare_ngrams
    from lm_basics.token_files.token_file import open_token_file, token_file_paths
    from lm_shared.wording import counted, wrote

    training, held_out = open_token_file(tokens), open_token_file(validation)
    if output is not None:
        inputs = (*token_file_paths(tokens), *token_file_paths(validation))
        claim_file(output, overwrite=overwrite, inputs=inputs)
    results = compare_ngrams(training, held_out, orders=orders)
    if output is not None:
        write_json(output, [to_dict(result) for result in results])
    title = (
        f"{counted(held_out.num_tokens, 'token')} predicted "
        f"after {counted(training.num_tokens, 'token')}"
    )
    Console().print(_table(title, results))
    print("stupid backoff gives no probabilities: its scores are divided by their sum, to compare")
    places = () if output is None else (output,)
    if ending := wrote(*places, then=offer_training(tokens, validation=validation)):
        print(ending)


def _table(title: str, results: "Sequence[NgramResult]") -> "Table":
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("order", justify="right")
    names = list(dict.fromkeys(result.model for result in results))
    for name in names:
        for unit in ("token", "byte"):
            table.add_column(f"{_NAMES[name]}\nbits per {unit}", justify="right")
    for order in dict.fromkeys(result.order for result in results):
        row = [result for result in results if result.order == order]
        numbers = [one for r in row for one in (r.bits_per_token, r.bits_per_byte)]
        table.add_row(str(order), *("-" if one is None else f"{one:.4f}" for one in numbers))
    return table

"""The speedrun's command line: what it takes, and what it writes when the stages are done."""

import logging
from pathlib import Path
from typing import Annotated

from lm_shared.command_line import choose_waiting
from lm_shared.command_options import Flag, Least, Positional
from lm_shared.files import claim_folder, clear_folder
from pipeline.recipes import SizeName
from pipeline.sizes import RECIPES
from pipeline.summary import REPORT_NAME, SUMMARY_NAME, summarize, write_summary

STAGES = (
    *("write_crawl", "curate_pages", "tokenize_documents", "plan_pretraining"),
    *("pretrain", "evaluate_base", "align", "serve"),
)
"""The folders of one size."""

_logger = logging.getLogger(__name__)


def main(
    size: Positional[SizeName] = "laptop",
    *,
    output: Path = Path("runs/speedrun"),
    seed: Annotated[int, Least(0)] = 0,
    fresh: Flag = False,
    resume: Flag = False,
) -> None:
    """Raw web pages to an aligned, served language model.

    Args:
        size: smoke takes about a minute, laptop at most ten on two cores, gpu wants a GPU.
        output: Where everything goes.
        seed: Decides every random choice.
        fresh: Delete what earlier runs of this size left, and start over.
        resume: Reuse finished stages and go on with interrupted ones; so does leaving it out.
    """
    if fresh and resume:
        raise ValueError("--fresh starts over and --resume goes on: give one of them")
    parts = (*RECIPES, SUMMARY_NAME, REPORT_NAME)
    claim_folder(output, "a speedrun", parts=parts, overwrite=True)
    folder = claim_folder(output / size, "a speedrun of one size", parts=STAGES, overwrite=True)
    # Counts before torch is imported.
    choose_waiting()
    # From here on it takes seconds: torch, transformers and all units.
    import speedrun  # noqa: PLC0415
    from lm_shared.tensors import (  # noqa: PLC0415
        choose_device,
        require_determinism,
        seed_everything,
    )
    from pipeline.report import write_report  # noqa: PLC0415

    recipe = RECIPES[size].with_seed(seed)
    # Here and not after minutes: a seed or a device that cannot be.
    seed_everything(seed)
    choose_device(recipe.plan.device)
    if fresh and folder.exists():
        clear_folder(folder, STAGES)
    require_determinism()
    stages = speedrun.run_pipeline(recipe, folder)
    summary = summarize(stages, size=size, seed=seed)
    write_summary(summary, output)
    path = write_report(stages, summary, output)
    _logger.info("%.0f s in all; the report is %s", summary.total_s, path)

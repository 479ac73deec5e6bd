"""``data curate``: turn a crawl into a corpus."""

from pathlib import Path
from typing import Annotated

from lm_data.pipeline.steps import CORPUS_CONTENTS, CURATE_RECIPES, CurateConfig
from lm_shared.command_options import Least, Overwrite, with_recipes
from lm_shared.files import claim_folder
from lm_shared.wording import wrote


def curate_crawl(
    config: CurateConfig,
    *,
    crawl: Path = Path("runs/crawl"),
    output: Path = Path("runs/documents"),
    workers: Annotated[int, Least(1)] = 1,
    overwrite: Overwrite = False,
) -> None:
    """Curate a crawl into documents with a reason for every drop.

    Args:
        config: Settings of all steps.
        crawl: A WARC file or a folder of them.
        output: Folder of the documents.
        workers: Processes; their number does not change the result.
        overwrite: Replace earlier documents, as a whole.
    """
    from lm_data.commands.look import print_attrition
    from lm_data.pipeline.run import curate

    claim_folder(
        output,
        "a curated corpus",
        markers=["curation.json"],
        contents=CORPUS_CONTENTS,
        overwrite=overwrite,
    )
    print_attrition(curate(crawl, output, config, workers=workers))
    print(wrote(output, then=("data", "inspect", "--folder", output)))


curate_by_recipe = with_recipes(curate_crawl, CURATE_RECIPES)
"""``data curate``: a recipe by its name, and the options of ``curate_crawl``."""

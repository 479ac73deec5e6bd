"""``basics ablate``: variants against a base at equal budgets over paired seeds."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lm_basics.ablation import STUDIES, BaseRecipe
from lm_basics.ablation.study import Budget, StudyName
from lm_shared.command_options import Above, Least, Overwrite, with_recipes
from lm_shared.config import DeviceName
from lm_shared.files import claim_folder, clear_folder
from lm_shared.wording import wrote

if TYPE_CHECKING:
    from rich.table import Table

    from lm_basics.ablation import StudyData
    from lm_basics.ablation.results import StudyResults
    from lm_shared.intervals import PairedEffect


@dataclass(frozen=True, kw_only=True, slots=True)
class AblationRecipe:
    """A shipped study and its base."""

    base: Annotated[BaseRecipe, tyro.conf.arg(name="")]
    """The base."""
    study: tyro.conf.Suppress[StudyName]
    """Which study."""
    budget: Budget = "flops"
    """What variants have in common with the base."""
    validation_tokens: Annotated[int, Least(1)] = 32_768
    """Held-out tokens that losses are measured on."""


PARTS = ("data",)
CONTENTS = ("study.json", "runs", "results.json", "report.html")
RECIPES = {
    name: (help_line, AblationRecipe(base=BaseRecipe(), study=name))
    for name, (help_line, _, _) in STUDIES.items()
}


def ablate(
    recipe: AblationRecipe,
    *,
    output: Path = Path("runs/ablate-{recipe}"),
    seeds: Annotated[int, Least(1)] = 5,
    detect: Annotated[
        float | None,
        Above(0),
        tyro.conf.arg(metavar="NATS", help_behavior_hint="(default: none)"),
    ] = None,
    max_seeds: Annotated[int, Least(1)] = 64,
    jobs: Annotated[int, Least(1)] = 1,
    device: DeviceName = "cpu",
    overwrite: Overwrite = False,
) -> None:
    """Train base and variants on the default corpus, test the differences, and write a report.

    Args:
        recipe: Study and base.
        output: Folder of runs, results.json and report.html; the same command again goes on.
        seeds: Paired seeds of every variant.
        detect: Smallest effect that has to be found with 90% power: the seeds are a pilot then,
            and as many more run as its spread asks for.
        max_seeds: Most seeds with --detect.
        jobs: Runs side by side.
        device: Where to compute.
        overwrite: Whether to begin anew where an earlier study is.
    """
    from lm_basics.ablation import SeedPlan, shipped_study

    study = shipped_study(recipe.study, recipe.base, budget=recipe.budget)
    plan = seeds
    if detect is not None:
        plan = SeedPlan(effect=detect, num_pilot=seeds, max_seeds=max_seeds)
    # A study that is there goes on; what is not one is left alone.
    claim_folder(
        output, "a study", parts=PARTS, markers=["study.json"], contents=CONTENTS, overwrite=True
    )
    from rich.console import Console

    from lm_basics.ablation import run_study
    from lm_basics.ablation.page import describe, study_page
    from lm_basics.ablation.results import Outcome
    from lm_basics.ablation.runner import refuse_other_study
    from lm_basics.ablation.study import Arm
    from lm_basics.training import StepReport
    from lm_shared.display import progress
    from lm_shared.tensors import choose_device, require_determinism

    choose_device(device)
    if not overwrite:
        refuse_other_study(study, output)

    require_determinism()
    data = _study_data(recipe, output / "data")
    steps = {arm.name: arm.training.steps for arm in study.arms()}
    total = seeds * sum(steps.values()) if detect is None else 0
    before, name = 0, f"ablate {study.name}"
    with progress(counted=[name]) as report:

        def show_step(arm: Arm, told: StepReport) -> None:
            detail = f"{arm.name}, seed {arm.training.seed}: loss {told.loss:.4f}"
            report(name, before + told.step, total, detail)

        def count_run(outcome: Outcome) -> None:
            nonlocal before
            before += steps[outcome.arm]
            report(name, before, total, f"{outcome.arm}, seed {outcome.seed}: done")

        results = run_study(
            study,
            data,
            output,
            seeds=plan,
            jobs=jobs,
            device=device,
            on_run=count_run,
            on_step=show_step,
            on_ready=partial(clear_folder, output, CONTENTS) if overwrite else None,
        )
    study_page(results).write(output / "report.html")
    Console().print(_table(results))
    print(describe(results))
    print(wrote(output / "report.html", output / "results.json"))


def _study_data(recipe: AblationRecipe, folder: Path) -> "StudyData":
    from lm_basics.ablation import StudyData
    from lm_basics.default_corpus import prepare_default_corpus

    corpus = prepare_default_corpus(folder, vocab_size=recipe.base.vocab_size)
    return StudyData(
        train=corpus.train.path,
        validation=corpus.validation.path,
        token_num_bytes=corpus.tokenizer.token_num_bytes,
        end_of_text=corpus.end_of_text,
        num_validation_tokens=recipe.validation_tokens,
    )


def _table(results: "StudyResults") -> "Table":
    """Return what fits a terminal; the report has the rest."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from lm_basics.ablation.page import table_rows

    level = f"± {1 - results.alpha:.0%}"
    table = Table(box=SIMPLE_HEAD)
    for name in ("variant", "nats", "effect", level, "p (Holm)", "verdict"):
        justify = "left" if name in ("variant", "verdict") else "right"
        table.add_column(name, justify=justify, no_wrap=name != "verdict")
    margins = {one.name: _margin(one.effect) for one in results.comparisons}
    for row in table_rows(results):
        name, _, nats, _, effect, _, p_value, verdict, _ = row
        shown = (name, nats, effect, margins.get(str(name)), p_value, verdict)
        table.add_row(*("" if cell is None else str(cell) for cell in shown))
    return table


def _margin(effect: "PairedEffect | None") -> str:
    if effect is None or effect.high is None:
        return ""
    return f"{effect.high - effect.mean:.4f}"


ablate_by_recipe = with_recipes(ablate, RECIPES, kind="study")
"""``basics ablate``: a study by its name, and the options of ``ablate``."""

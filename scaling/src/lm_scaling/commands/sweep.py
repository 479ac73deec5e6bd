"""``scaling sweep``: a table of small runs, for the other commands to fit and plan with."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from lm_shared.command_options import Above, Least, Overwrite, with_recipes
from lm_shared.config import DeviceName, load_config, save_config
from lm_shared.files import claim_folder, lock_folder, write_json
from lm_shared.wording import wrote

if TYPE_CHECKING:
    import torch

    from lm_basics.model_config import TransformerConfig
    from lm_basics.training.config import TrainingConfig
    from lm_scaling.experiment import ExperimentConfig, ExperimentResult

CONFIG_NAME, POINTS_NAME, CANDIDATES_NAME = "config.json", "points.json", "candidates.json"
CONTENTS = (POINTS_NAME, CANDIDATES_NAME, "corpus-*", "runs")
"""What a sweep's folder holds besides its settings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepRecipe:
    """Which models a sweep trains on the default corpus, and for how long."""

    d_models: Annotated[tuple[int, ...], Least(1)] = (8, 16, 32)
    """Widths of the models."""
    candidate_d_models: Annotated[tuple[int, ...], Least(1)] = (16, 32, 64)
    """Widths from which scaling plan is to choose."""
    budgets: Annotated[tuple[float, ...], Above(0)] = (3e9, 6e9, 1.2e10)
    """Training FLOPs that are spent on every model."""
    num_layers: Annotated[int, Least(1)] = 1
    """Blocks of each model."""
    d_head: Annotated[int, Least(1)] = 8
    """Width of a head."""
    context_length: Annotated[int, Least(1)] = 64
    """Tokens that a model sees."""
    vocab_size: Annotated[int, Least(256)] = 512
    """Tokens of the vocabulary, trained on the corpus."""
    batch_size: Annotated[int, Least(1)] = 8
    """Sequences of a step."""
    lr: Annotated[float, Above(0)] = 1e-2
    """Highest learning rate."""
    validation_tokens: Annotated[int, Least(1)] = 16_384
    """Held-out tokens on which the loss is measured."""
    seed: Annotated[int, Least(0)] = 0
    """Seed of weights and data."""

    def shape(self, d_model: int) -> "TransformerConfig":
        """Return the model of a width."""
        from lm_basics.model_config import uniform_transformer

        return uniform_transformer(
            vocab_size=self.vocab_size,
            context_length=self.context_length,
            d_model=d_model,
            num_layers=self.num_layers,
            num_heads=max(1, d_model // self.d_head),
        )

    def training(self, model: "TransformerConfig", tokens: int) -> "TrainingConfig":
        """Return the training of a model on about so many tokens, with a complete schedule."""
        from lm_basics.optim import AdamWConfig
        from lm_basics.training.config import TrainingConfig

        return TrainingConfig(
            steps=max(1, tokens // (self.batch_size * model.context_length)),
            batch_size=self.batch_size,
            optimizer=AdamWConfig(lr=self.lr),
            seed=self.seed,
        )


RECIPES: dict[str, tuple[str, SweepRecipe]] = {
    "tiny": ("Nine runs on the default corpus, in about a minute on two cores.", SweepRecipe())
}
"""Sweeps by name: one line of help, then the settings."""


def sweep(
    recipe: SweepRecipe,
    *,
    output: Path = Path("runs/sweep"),
    device: DeviceName = "cpu",
    overwrite: Overwrite = False,
) -> None:
    """Train one small model per width and budget; write their table and a plan's candidates.

    Args:
        recipe: Models, budgets and training.
        output: Folder of the runs, points.json and candidates.json; the same sweep goes on there.
        device: Where to train.
        overwrite: Replace the tables of another sweep; its finished runs stay.
    """
    from lm_scaling.experiment import isoflop_experiments
    from lm_scaling.laws.points import write_points
    from lm_scaling.laws.small_sample import MIN_POINTS

    # Sizes that do not go together leave no trace.
    shapes = [recipe.shape(d_model) for d_model in recipe.d_models]
    experiments = isoflop_experiments(shapes, recipe.budgets, recipe.training)
    config_path = output / CONFIG_NAME
    earlier = _read_recipe(config_path)
    claim_folder(
        output,
        "a sweep",
        markers=() if earlier is None else [CONFIG_NAME],
        contents=CONTENTS,
        overwrite=overwrite or earlier == recipe,
    )
    from lm_shared.tensors import choose_device

    # Told before the corpus is encoded.
    chosen_device = choose_device(device)
    tables = (output / POINTS_NAME, output / CANDIDATES_NAME)
    with lock_folder(output):
        if earlier != recipe:
            # Tables and settings that stand beside each other belong together, also behind Ctrl-C.
            for table in tables:
                table.unlink(missing_ok=True)
        # Written first, so that an interrupted sweep is known again; its finished runs stay.
        save_config(recipe, config_path)
        results = _train(recipe, experiments, output, chosen_device)
        points = [result.point() for result in results]
        write_points(points, tables[0])
        write_json(tables[1], _candidates(recipe, results))
    print(f"{'parameters':>12}{'tokens':>12}{'FLOPs':>11}{'loss':>9}")
    for point in points:
        print(
            f"{point.parameters:>12,.0f}{point.tokens:>12,.0f}{point.flops:>11.2e}"
            f"{point.loss:>9.4f}"
        )
    then = ("scaling", "fit", tables[0], "--law", "small-sample")
    can_fit = len(points) >= MIN_POINTS and len(recipe.d_models) > 1
    print(wrote(*tables, then=then if can_fit else ()))


def _train(
    recipe: SweepRecipe, experiments: "list[ExperimentConfig]", output: Path, device: "torch.device"
) -> "list[ExperimentResult]":
    """Run the experiments on the default corpus; those that are finished already are read."""
    from lm_basics.default_corpus import prepare_default_corpus
    from lm_scaling.backends import TrainerBackend, run_sweep
    from lm_shared.display import progress

    corpus = output / f"corpus-{recipe.vocab_size}"
    data = prepare_default_corpus(corpus, vocab_size=recipe.vocab_size)
    backend = TrainerBackend(
        data.train.tokens,
        data.validation.tokens[: recipe.validation_tokens],
        output / "runs",
        first_context=data.end_of_text,
        device=device,
    )
    with progress(counted=["sweep"]) as report:
        done = itertools.count(1)
        return run_sweep(
            backend,
            experiments,
            on_result=lambda *_: report("sweep", next(done), len(experiments)),
        )


def _read_recipe(path: Path) -> SweepRecipe | None:
    """Return what an earlier sweep recorded; the ``config.json`` of anything else is none."""
    try:
        return load_config(SweepRecipe, path)
    except (ValueError, OSError):
        return None


def _candidates(recipe: SweepRecipe, results: "list[ExperimentResult]") -> list[dict[str, object]]:
    """Return the models to plan with, at the speed of the sweep's fastest run in FLOPs."""
    from lm_scaling.experiment import effective_parameters, flops_per_token

    fastest = max(result.flops / result.elapsed_s for result in results)
    shapes = {d_model: recipe.shape(d_model) for d_model in recipe.candidate_d_models}
    return [
        {
            "name": f"width-{d_model}",
            "parameters": effective_parameters(shape),
            "flops_per_token": flops_per_token(shape),
            "seconds_per_token": flops_per_token(shape) / fastest,
        }
        for d_model, shape in shapes.items()
    ]


sweep_by_recipe = with_recipes(sweep, RECIPES)
"""``scaling sweep``: a recipe by its name, and the options of ``sweep``."""

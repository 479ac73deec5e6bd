"""``basics train``: train a transformer on a token file."""

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from lm_basics.commands.train_recipes import RECIPES, DepthRecipe, TrainRecipe
from lm_basics.model_config import TransformerConfig
from lm_basics.training.progress import TrainingProgress
from lm_basics.training.team import Team, is_first, join_team
from lm_shared.command_options import PATH, Each, Least, Overwrite, There, with_recipes
from lm_shared.config import DeviceName, refuse_changes, to_dict
from lm_shared.files import atomic_folder, clear_folder, read_json
from lm_shared.metrics import read_metrics
from lm_shared.runs import CONFIG_NAME, METRICS_NAME, OTHER_RUN, RUN_PARTS, claim_run
from lm_shared.wording import wrote

if TYPE_CHECKING:
    import torch

    from lm_basics.commands.training_tokens import TrainingTokens
    from lm_basics.reports.curves import RunSetting
    from lm_basics.training import TrainingConfig, TrainingResult
    from lm_basics.training.samples import SampleWriter
    from lm_basics.training.strategy import StrategyFactory
    from lm_basics.transformer import TransformerLM


logger = logging.getLogger(__name__)

PARTS = ("data",)
CONTENTS = ("samples.jsonl", "setting.json", "report.json", "report.html", "tensorboard", "wandb")
"""What a run folder holds besides the data and ``RUN_PARTS``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingInputs:
    """What a model learns from, in the words of the command line."""

    tokens: Annotated[Path | None, PATH] = None
    """Token file to train on, as basics encode writes it."""
    validation: Annotated[Path | None, PATH] = None
    """Token file to measure the loss on."""
    validation_tokens: Annotated[int | None, Least(1)] = None
    """How many of its first tokens are used; None means all, and of the default corpus the first
    65,536."""
    tokenizer: Annotated[Path | None, PATH, There()] = None
    """Folder of the tokenizer that made the tokens, to be saved with the model."""

    def paths(self) -> list[Path]:
        """Return those that are given."""
        given = (self.tokens, self.validation, self.tokenizer)
        return [path for path in given if path is not None]

    def num_validation_tokens(self) -> int | None:
        """Return how many tokens are used of those held out; None means all."""
        from lm_basics.commands.training_tokens import DEFAULT_VALIDATION_TOKENS

        if self.tokens is None and self.validation_tokens is None:
            return DEFAULT_VALIDATION_TOKENS
        return self.validation_tokens

    def check(self, recipe: TrainRecipe | DepthRecipe) -> None:
        """Refuse what nothing can be learned from, before torch is imported."""
        from lm_basics.token_files.token_file import read_sidecar

        if self.tokens is not None:
            for path in (self.tokens, self.validation):
                if path is not None:
                    read_sidecar(path)
            return
        if not recipe.default_corpus:
            raise ValueError(
                "there is nothing to train on: give --tokens FILE, as basics encode writes it, or "
                "--default-corpus"
            )
        for name, path in (("validation", self.validation), ("tokenizer", self.tokenizer)):
            if path is not None:
                raise ValueError(f"--{name} {path} needs --tokens: the default corpus has its own")

    def open(
        self, recipe: TrainRecipe | DepthRecipe, output: Path, *, overwrite: bool
    ) -> "TrainingTokens":
        """Open the token files, or tokenize the default corpus into the run folder."""
        from lm_basics.commands.training_tokens import (
            DEFAULT_VOCAB_SIZE,
            default_tokens,
            open_tokens,
        )
        from lm_basics.training.data import fingerprint

        if self.tokens is not None:
            return open_tokens(self.tokens, self.validation, self.tokenizer)
        # Sizes that do not go together are found before the corpus is encoded.
        shape, config = recipe.resolve(DEFAULT_VOCAB_SIZE)
        if (output / CONFIG_NAME).exists() and not (overwrite or (output / "data").exists()):
            settings = {"model": to_dict(shape), "training": to_dict(config)}
            _refuse_other_run(output, settings)
            with atomic_folder(output / "data") as partial:
                tokens_hash = fingerprint(default_tokens(partial).train.tokens)
                _refuse_other_run(output, {**settings, "data": tokens_hash})
        return default_tokens(output / "data")


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleOptions:
    """What a model says while it learns, in the words of the command line."""

    prompt: Annotated[
        tuple[str, ...],
        Each,
        tyro.conf.arg(metavar="STR", help_behavior_hint="(default: none, repeatable)"),
    ] = ()
    """Text that the model continues while it learns; it needs the tokenizer."""
    sample_every: Annotated[int | None, Least(1)] = None
    """Steps between these samples; None means only after the last step."""

    def writer(
        self, output: Path, data: "TrainingTokens", *, seed: int, is_writer: bool = True
    ) -> "SampleWriter | None":
        """Return what writes the samples, if any are wanted."""
        from lm_basics.training.samples import SamplesConfig, SampleWriter

        if not self.prompt:
            if self.sample_every is not None:
                raise ValueError(f"--sample-every {self.sample_every} needs a --prompt to continue")
            return None
        if data.tokenizer is None:
            raise ValueError(
                f"--prompt {self.prompt[0]!r} needs --tokenizer, to turn text into tokens"
            )
        sampling = SamplesConfig(prompts=self.prompt, seed=seed)
        return SampleWriter(
            output, data.tokenizer, sampling, stop_token=data.stop_token, is_writer=is_writer
        )


_INPUTS, _SAMPLES = TrainingInputs(), SampleOptions()


def train_model(
    recipe: TrainRecipe | DepthRecipe,
    *,
    output: Path = Path("runs/train-{recipe}"),
    inputs: Annotated[TrainingInputs, tyro.conf.arg(name="")] = _INPUTS,
    samples: Annotated[SampleOptions, tyro.conf.arg(name="")] = _SAMPLES,
    device: DeviceName = "auto",
    overwrite: Overwrite = False,
    tensorboard: bool = False,
    wandb: Annotated[
        str | None, tyro.conf.arg(metavar="PROJECT", help_behavior_hint="(default: none)")
    ] = None,
) -> None:
    """Train, resume where an interrupted run stopped, export the model and report on the run.

    Args:
        recipe: Model and settings.
        output: Run folder; the exported model goes into its folder model.
        inputs: What it learns from.
        samples: What it says while it learns.
        device: Where to train; auto takes a GPU if there is one.
        overwrite: Whether to begin anew where an earlier run is.
        tensorboard: Whether to write the metrics for TensorBoard as well.
        wandb: Project at Weights & Biases that gets the metrics as well.
    """
    inputs.check(recipe)
    if is_first(os.environ):
        # A run that is there goes on; what is not a run is left alone.
        replaced = inputs.paths() if overwrite else ()
        claim_run(output, parts=PARTS, contents=CONTENTS, inputs=replaced)
    with join_team(recipe.strategy, os.environ, command=sys.argv[1:]) as (team, strategy):
        _train_in(
            team,
            strategy,
            recipe,
            output,
            inputs,
            samples,
            device=device,
            overwrite=overwrite,
            tensorboard=tensorboard,
            wandb=wandb,
        )


def _train_in(
    team: Team,
    strategy: "StrategyFactory",
    recipe: TrainRecipe | DepthRecipe,
    output: Path,
    inputs: TrainingInputs,
    samples: SampleOptions,
    *,
    device: DeviceName,
    overwrite: bool,
    tensorboard: bool,
    wandb: str | None,
) -> None:
    """Train as one of a team, of which process 0 alone writes and tells."""
    from lm_basics.commands.training_watch import TrainingWatch, chosen_sinks, training_display
    from lm_basics.training import train
    from lm_basics.transformer import COMPILES, initial_model
    from lm_shared.tensors import choose_device, choose_dtype

    chosen_device = choose_device(device)
    is_writer = team.rank == 0
    if is_writer:
        sinks = chosen_sinks(output, tensorboard=tensorboard, wandb=wandb)
        data = inputs.open(recipe, output, overwrite=overwrite)
        team.wait()
    else:
        sinks = []
        team.wait()
        # What process 0 has tokenized is there.
        data = inputs.open(recipe, output, overwrite=True)
    shape, config = recipe.resolve(data.train.vocab_size)
    _check_fit(data, shape, config)
    writer = samples.writer(output, data, seed=config.seed, is_writer=is_writer)
    model = initial_model(shape, seed=config.seed, device=chosen_device, compiled=recipe.compile)
    dtype = choose_dtype(config.dtype, chosen_device)
    setting = _setting(data, chosen_device, dtype, model.ops.name)
    if overwrite and is_writer:
        clear_folder(output, (*RUN_PARTS, *CONTENTS))
    if recipe.compile and is_writer:
        logger.info(COMPILES)
    team.wait()
    with training_display(is_shown=is_writer) as display:
        watch = TrainingWatch(
            model,
            data,
            output,
            setting=setting,
            progress=_progress(shape, setting),
            display=display,
            samples=writer,
            sample_every=samples.sample_every,
            dtype=dtype,
            num_validation_tokens=inputs.num_validation_tokens(),
            is_writer=is_writer,
        )
        result = train(
            model,
            data.train.tokens,
            config,
            folder=output,
            document_starts=data.train.document_starts,
            strategy=strategy,
            validate=watch.validate,
            on_step=watch.on_step,
            sinks=sinks,
            team=team,
        )
    if is_writer:
        num_trained = watch.num_steps
        _finish(model, data, result, output, keep_best=config.keep_best, num_trained=num_trained)


def _progress(shape: TransformerConfig, setting: "RunSetting") -> TrainingProgress:
    from lm_basics.accounting import training_flops_per_token

    return TrainingProgress(
        flops_per_token=training_flops_per_token(shape, shape.context_length),
        peak_flops=setting.peak_flops,
        bytes_per_token=setting.bytes_per_token,
    )


def _check_fit(data: "TrainingTokens", shape: TransformerConfig, config: "TrainingConfig") -> None:
    """Refuse data that the settings cannot do with."""
    if data.validation is None and config.keep_best:
        raise ValueError("--keep-best needs --validation FILE: nothing says which is best")
    if data.validation is None and config.validate_every is not None:
        logger.warning("There is nothing to validate on: --validation FILE names held-out tokens.")
    data.check_length(config.batch_size, shape.context_length)


def _refuse_other_run(folder: Path, settings: dict[str, Any]) -> None:
    """Raise ``ValueError`` where the corpus would be written beside a run of other settings."""
    recorded = read_json(folder / CONFIG_NAME)
    if isinstance(recorded, dict):
        recorded = {name: recorded.get(name) for name in settings}
    refuse_changes(folder, OTHER_RUN, recorded, settings)


def _setting(
    data: "TrainingTokens", device: "torch.device", dtype: "torch.dtype", ops_name: str
) -> "RunSetting":
    from lm_basics.commands.training_watch import bytes_per_token
    from lm_basics.peak_flops import find_peak_flops
    from lm_basics.reports.curves import RunSetting

    peak = find_peak_flops(device, dtype)
    return RunSetting(
        vocab_hash=data.train.vocab_hash,
        bytes_per_token=bytes_per_token(data.train),
        validation_bytes_per_token=bytes_per_token(data.validation),
        device=device.type,
        ops=ops_name,
        dtype=str(dtype).removeprefix("torch."),
        peak_flops=peak.flops_per_s,
        peak_source=peak.source,
    )


def _finish(
    model: "TransformerLM",
    data: "TrainingTokens",
    result: "TrainingResult",
    output: Path,
    *,
    keep_best: bool,
    num_trained: int | None,
) -> None:
    """Export the model that the reported validation is of, and tell what came out."""
    from lm_basics.commands.report import REPORT_NAME, write_report
    from lm_basics.export import save_model
    from lm_basics.model_folder import MODEL_FOLDER_NAME
    from lm_basics.training import load_best_weights

    folder = output / MODEL_FOLDER_NAME
    with result.validated_weights():
        best_step = load_best_weights(output, model) if keep_best else None
        save_model(model, folder, tokenizer=data.tokenizer, end_of_text=data.end_of_text)
    _print_result(result, model.config, num_trained=num_trained)
    if best_step is not None:
        print(f"exported the best weights, those of step {best_step}:")
        # The line of a step's validation follows the step's own.
        line = [one for one in read_metrics(output / METRICS_NAME) if one["step"] == best_step][-1]
        _print_numbers({name: line[name] for name in result.validation})
    write_report([output], output)
    prompt = data.first_words()
    then = ("basics", "generate", prompt, "--model", output)
    print(wrote(folder, output / REPORT_NAME, then=() if prompt is None else then))


def _print_result(
    result: "TrainingResult", shape: TransformerConfig, *, num_trained: int | None
) -> None:
    from lm_basics.accounting import count_parameters
    from lm_basics.accounting.account import in_count
    from lm_shared.wording import counted

    print(f"{in_count(count_parameters(shape))} parameters")
    before = {None: "already finished: ", 0: "all steps were done before: "}.get(num_trained, "")
    print(
        f"{before}{counted(result.steps, 'step')}, {counted(result.tokens, 'token')}, "
        f"{result.elapsed_s:.1f} s{' with validations' if result.validation else ''}"
    )
    if num_trained and num_trained < result.steps:
        print(f"of these, {counted(num_trained, 'step')} now, the others before")
    print(f"training loss {result.final_loss:.4f} nats per token, mean of the last tenth")
    _print_numbers(result.validation)


def _print_numbers(values: Mapping[str, float]) -> None:
    for name, value in values.items():
        print(f"{name} {value:.4f}")


train_by_recipe = with_recipes(train_model, RECIPES, default="default")
"""``basics train``: a recipe by its name, and the options of ``train_model``."""

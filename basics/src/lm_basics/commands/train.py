"""``basics train``: train a transformer on a token file."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from lm_basics.commands.train_recipes import RECIPES, DepthRecipe, TrainRecipe
from lm_basics.model_config import TransformerConfig
from lm_basics.training.progress import TrainingProgress
from lm_shared.command_options import PATH, Each, Least, Overwrite, with_recipes
from lm_shared.config import DeviceName, describe_changes, to_dict
from lm_shared.files import atomic_folder, clear_folder, read_json
from lm_shared.metrics import read_metrics
from lm_shared.runs import CONFIG_NAME, METRICS_NAME, RUN_PARTS, claim_run
from lm_shared.wording import wrote

if TYPE_CHECKING:
    import torch

    from lm_basics.commands.training_tokens import TrainingTokens
    from lm_basics.reports.curves import RunSetting
    from lm_basics.training import TrainingResult
    from lm_basics.training.samples import SampleWriter


logger = logging.getLogger(__name__)

PARTS = ("data",)
CONTENTS = ("samples.jsonl", "setting.json", "report.json", "report.html", "tensorboard", "wandb")
"""What a run folder holds besides the data and ``RUN_PARTS``."""


def train_model(
    recipe: TrainRecipe | DepthRecipe,
    *,
    output: Path = Path("runs/train-{recipe}"),
    tokens: Annotated[Path | None, PATH] = None,
    validation: Annotated[Path | None, PATH] = None,
    validation_tokens: Annotated[int | None, Least(1)] = None,
    tokenizer: Annotated[Path | None, PATH] = None,
    device: DeviceName = "auto",
    prompt: Annotated[
        tuple[str, ...],
        Each,
        tyro.conf.arg(metavar="STR", help_behavior_hint="(default: none, repeatable)"),
    ] = (),
    sample_every: Annotated[int | None, Least(1)] = None,
    overwrite: Overwrite = False,
    tensorboard: bool = False,
    wandb: Annotated[
        str | None, tyro.conf.arg(metavar="PROJECT", help_behavior_hint="(default: none)")
    ] = None,
) -> None:
    """Train, resume where an interrupted run stopped, export the model and report on the run.

    Args:
        recipe: Model and settings.
        output: Run folder; the exported model goes into its folder ``model``.
        tokens: Token file to train on, as ``basics encode`` writes it.
        validation: Token file to measure the loss on.
        validation_tokens: How many of its first tokens are used; None means all, and of the default
            corpus the first 65,536.
        tokenizer: Folder of the tokenizer that made the tokens, to be saved with the model.
        device: Where to train; auto takes a GPU if there is one.
        prompt: Text that the model continues while it learns; it needs the tokenizer.
        sample_every: Steps between these samples; None means only after the last step.
        overwrite: Whether to begin anew where an earlier run is.
        tensorboard: Whether to write the metrics for TensorBoard as well.
        wandb: Project at Weights & Biases that gets the metrics as well.
    """
    from lm_basics.accounting import count_parameters
    from lm_basics.accounting.account import in_count
    from lm_basics.commands.report import write_report
    from lm_basics.commands.training_tokens import DEFAULT_VALIDATION_TOKENS
    from lm_basics.commands.training_watch import TrainingWatch, chosen_sinks, training_display
    from lm_basics.export import MODEL_FOLDER_NAME, save_model
    from lm_basics.nn.ops import COMPILED_OPS, REFERENCE_OPS
    from lm_basics.training import load_best_weights, train
    from lm_basics.transformer import TransformerLM
    from lm_shared.tensors import choose_device, choose_dtype, require_determinism, seed_everything

    chosen_device = choose_device(device)
    given = [path for path in (tokens, validation, tokenizer) if path is not None]
    # A run that is there goes on; what is not a run is left alone.
    claim_run(output, parts=PARTS, contents=CONTENTS, inputs=given if overwrite else ())
    sinks = chosen_sinks(output, tensorboard=tensorboard, wandb=wandb)
    data = _open_data(recipe, output, tokens, validation, tokenizer, overwrite=overwrite)
    shape, config = recipe.resolve(data.train.vocab_size)
    if data.validation is None and config.keep_best:
        raise ValueError("--keep-best needs --validation FILE: nothing says which is best")
    if data.validation is None and config.validate_every is not None:
        logger.warning("There is nothing to validate on: --validation FILE names held-out tokens.")
    if tokens is None and validation_tokens is None:
        validation_tokens = DEFAULT_VALIDATION_TOKENS
    data.check_length(config.batch_size, shape.context_length)
    samples = _sample_writer(output, data, prompt, sample_every, seed=config.seed)
    require_determinism()
    seed_everything(config.seed)
    ops = COMPILED_OPS if recipe.compile else REFERENCE_OPS
    model = TransformerLM(shape, ops=ops).to(chosen_device)
    dtype = choose_dtype(config.dtype, chosen_device)
    setting = _setting(data, chosen_device, dtype, ops.name)
    progress = _progress(shape, setting)
    if overwrite:
        clear_folder(output, (*RUN_PARTS, *CONTENTS))
    with training_display() as display:
        watch = TrainingWatch(
            model,
            data,
            output,
            setting=setting,
            progress=progress,
            display=display,
            samples=samples,
            sample_every=sample_every,
            dtype=dtype,
            num_validation_tokens=validation_tokens,
        )
        result = train(
            model,
            data.train.tokens,
            config,
            folder=output,
            document_starts=data.train.document_starts,
            validate=watch.validate,
            on_step=watch.on_step,
            sinks=sinks,
        )
    model_folder = output / MODEL_FOLDER_NAME
    with result.validated_weights():
        best_step = load_best_weights(output, model) if config.keep_best else None
        save_model(model, model_folder, tokenizer=data.tokenizer, end_of_text=data.end_of_text)
    print(f"{in_count(count_parameters(shape))} parameters")
    _print_result(result, num_trained=watch.num_steps)
    if best_step is not None:
        print(f"exported the best weights, those of step {best_step}:")
        # The line of a step's validation follows the step's own.
        line = [one for one in read_metrics(output / METRICS_NAME) if one["step"] == best_step][-1]
        _print_numbers({name: line[name] for name in result.validation})
    write_report([output], output)
    then = ("basics", "generate", "The people", "--model", output)
    places = (model_folder, output / "report.html")
    print(wrote(*places, then=() if data.tokenizer is None else then))


def _progress(shape: TransformerConfig, setting: "RunSetting") -> TrainingProgress:
    from lm_basics.accounting import training_flops_per_token

    return TrainingProgress(
        flops_per_token=training_flops_per_token(shape, shape.context_length),
        peak_flops=setting.peak_flops,
        bytes_per_token=setting.bytes_per_token,
    )


def _open_data(
    recipe: TrainRecipe | DepthRecipe,
    output: Path,
    tokens: Path | None,
    validation: Path | None,
    tokenizer: Path | None,
    *,
    overwrite: bool,
) -> "TrainingTokens":
    from lm_basics.commands.training_tokens import DEFAULT_VOCAB_SIZE, default_tokens, open_tokens
    from lm_basics.training.data import fingerprint

    if tokens is not None:
        return open_tokens(tokens, validation, tokenizer)
    if not recipe.default_corpus:
        raise ValueError(
            "there is nothing to train on: give --tokens FILE, as basics encode writes it, or "
            "--default-corpus"
        )
    for name, path in (("validation", validation), ("tokenizer", tokenizer)):
        if path is not None:
            raise ValueError(f"--{name} {path} needs --tokens: the default corpus has its own")
    # Sizes that do not go together are found before the corpus is encoded.
    shape, config = recipe.resolve(DEFAULT_VOCAB_SIZE)
    if (output / CONFIG_NAME).exists() and not (overwrite or (output / "data").exists()):
        settings = {"model": to_dict(shape), "training": to_dict(config)}
        _refuse_other_run(output, settings)
        with atomic_folder(output / "data") as partial:
            tokens_hash = fingerprint(default_tokens(partial).train.tokens)
            _refuse_other_run(output, {**settings, "data": tokens_hash})
    return default_tokens(output / "data")


def _refuse_other_run(folder: Path, settings: dict[str, Any]) -> None:
    """Raise ``ValueError`` where the corpus would be written beside a run of other settings."""
    path = folder / CONFIG_NAME
    recorded = read_json(path)
    if isinstance(recorded, dict):
        recorded = {name: recorded.get(name) for name in settings}
    changes = describe_changes(recorded, settings)
    if changes:
        raise ValueError(
            f"{folder} holds a run of another configuration ({changes}): choose another folder, or "
            "replace this one by --overwrite"
        )


def _sample_writer(
    output: Path,
    data: "TrainingTokens",
    prompts: tuple[str, ...],
    sample_every: int | None,
    *,
    seed: int,
) -> "SampleWriter | None":
    from lm_basics.training.samples import SamplesConfig, SampleWriter

    if not prompts:
        if sample_every is not None:
            raise ValueError(f"--sample-every {sample_every} needs a --prompt to continue")
        return None
    if data.tokenizer is None:
        raise ValueError(f"--prompt {prompts[0]!r} needs --tokenizer, to turn text into tokens")
    sampling = SamplesConfig(prompts=prompts, seed=seed)
    return SampleWriter(output, data.tokenizer, sampling, stop_token=data.stop_token)


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


def _print_result(result: "TrainingResult", *, num_trained: int) -> None:
    from lm_shared.wording import counted

    print(
        ("" if num_trained else "already finished: ")
        + f"{counted(result.steps, 'step')}, {counted(result.tokens, 'token')}, "
        f"{result.elapsed_s:.1f} s with validations"
    )
    if 0 < num_trained < result.steps:
        print(f"of these, {counted(num_trained, 'step')} now, the others before")
    print(f"training loss {result.final_loss:.4f} nats per token, mean of the last tenth")
    _print_numbers(result.validation)


def _print_numbers(values: Mapping[str, float]) -> None:
    for name, value in values.items():
        print(f"{name} {value:.4f}")


train_by_recipe = with_recipes(train_model, RECIPES, default="default")
"""``basics train``: a recipe by its name, and the options of ``train_model``."""

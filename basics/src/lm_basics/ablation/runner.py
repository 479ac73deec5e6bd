"""Runs of a study, one after the other or in processes side by side; a killed study goes on.

Each run is a run folder of ``lm_basics.training.train`` at ``runs/<arm>/seed-<n>``, continued from
its last checkpoint after a kill. One that has ended leaves ``outcome.json`` and is not repeated;
then its checkpoints are deleted.
"""

import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, Integer

from lm_basics.ablation.results import (
    BITS,
    NATS,
    Outcome,
    StudyResults,
    analyze_study,
    load_outcome,
    read_curve,
    save_outcome,
    wanted_seeds,
)
from lm_basics.ablation.seed_planning import SeedPlan
from lm_basics.ablation.study import Arm, Study
from lm_basics.model_config import TransformerConfig
from lm_basics.perplexity import bits_per_byte
from lm_basics.token_files import open_token_file
from lm_basics.training import StepReport, TrainingConfig, evaluate_loss, train
from lm_basics.training.data import fingerprint
from lm_basics.transformer import TransformerLM
from lm_shared.config import DeviceName, hash_config, refuse_changes, save_config, to_dict
from lm_shared.files import lock_folder, read_json
from lm_shared.processes import ProcessPool
from lm_shared.runs import METRICS_NAME, RECEIPT_NAME, load_receipt, read_metrics
from lm_shared.tensors import choose_device, choose_dtype, require_determinism

STUDY_NAME = "study.json"

OnRun = Callable[[Outcome], None]
"""Called after each run, those that had ended before included."""
OnStep = Callable[[Arm, StepReport], None]
"""Called after each step of a run in this process; the seed is that of the arm's training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyData:
    """Tokens to train on and to measure on."""

    train: Path
    """Token file."""
    validation: Path
    """Token file of other documents."""
    token_num_bytes: Int64[np.ndarray, " vocab"]
    """UTF-8 bytes of text behind each id, for bits per byte."""
    end_of_text: int
    """The token before the first held-out one."""
    num_validation_tokens: int | None = None
    """The first so many held-out tokens are used; None means all."""

    def held_out(self) -> Integer[np.ndarray, " tokens"]:
        """Return the held-out tokens.

        Raises:
            ValueError: there are fewer than ``num_validation_tokens``.
        """
        tokens, wanted = open_token_file(self.validation).tokens, self.num_validation_tokens
        if wanted is not None and not 1 <= wanted <= len(tokens):
            raise ValueError(
                f"{self.validation} holds {len(tokens)} tokens, num_validation_tokens={wanted}"
            )
        return tokens[:wanted]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """One arm at one seed: all that a process needs to know."""

    arm: Arm
    base_model: TransformerConfig
    seed: int
    folder: Path
    data: StudyData
    device: DeviceName


@dataclass(frozen=True, kw_only=True, slots=True)
class _Identity:
    """All that decides a run's result."""

    model: TransformerConfig
    base_model: TransformerConfig
    training: TrainingConfig
    train_tokens: str
    held_out_tokens: str


def run_study(
    study: Study,
    data: StudyData,
    folder: Path,
    *,
    seeds: int | SeedPlan,
    jobs: int = 1,
    device: DeviceName = "cpu",
    on_run: OnRun | None = None,
    on_step: OnStep | None = None,
    on_ready: Callable[[], None] | None = None,
) -> StudyResults:
    """Run what is missing, test the differences, and write ``study.json`` and ``results.json``.

    Args:
        study: Base and variants.
        data: Tokens.
        folder: Where everything goes; what an earlier call has left there is used.
        seeds: How many, or how to choose how many from the first ones.
        jobs: Processes; 1 means this one. Several divide the CPU's threads between them.
        device: Where to compute.
        on_run: Called after each run.
        on_step: Called after each step, unless several jobs do them.
        on_ready: Called when all is checked, before anything in the folder is touched.

    Raises:
        ValueError: the folder holds another study, another process works in it, or a setting
            makes no sense.
    """
    num_first = seeds.num_pilot if isinstance(seeds, SeedPlan) else seeds
    if num_first < 1 or jobs < 1:
        raise ValueError(f"seeds={num_first} and jobs={jobs} must be positive")
    choose_device(device)
    data.held_out()
    if on_ready is not None:
        on_ready()
    with lock_folder(folder):
        refuse_other_study(study, folder)
        save_config(study, folder / STUDY_NAME)

        def run_seeds(numbers: Iterable[int]) -> list[Outcome]:
            runs = _list_runs(study, data, folder, numbers, device)
            outcomes = []
            for outcome in _run_all(runs, jobs, on_step):
                outcomes.append(outcome)
                if on_run is not None:
                    on_run(outcome)
            return outcomes

        outcomes = run_seeds(range(num_first))
        if isinstance(seeds, SeedPlan):
            total = min(seeds.max_seeds, wanted_seeds(study, outcomes, seeds))
            outcomes += run_seeds(range(num_first, total))
        results = analyze_study(study, outcomes, seeds)
        save_config(results, folder / "results.json")
    return results


def refuse_other_study(study: Study, folder: Path) -> None:
    """Raise ``ValueError`` if the folder holds another study."""
    path = folder / STUDY_NAME
    if path.exists():
        refuse_changes(folder, "another study", read_json(path), to_dict(study))


def _list_runs(
    study: Study, data: StudyData, folder: Path, seeds: Iterable[int], device: DeviceName
) -> list[_Run]:
    """Return the runs seed by seed, so that a killed study has whole pairs."""
    return [
        _Run(
            arm=replace(arm, training=replace(arm.training, seed=seed)),
            base_model=study.base.model,
            seed=seed,
            folder=folder / "runs" / arm.name / f"seed-{seed}",
            data=data,
            device=device,
        )
        for seed in seeds
        for arm in study.arms()
    ]


def _run_all(runs: list[_Run], jobs: int, on_step: OnStep | None) -> Iterator[Outcome]:
    if jobs == 1 or len(runs) < 2:
        yield from map(partial(_run, on_step=on_step), runs)
        return
    run_one = partial(_run_in_process, max(1, torch.get_num_threads() // jobs))
    with ProcessPool(min(jobs, len(runs))) as pool:
        yield from pool.map(run_one, runs)


def _run_in_process(num_threads: int, run: _Run) -> Outcome:
    torch.set_num_threads(num_threads)
    require_determinism()
    return _run(run)


def _run(run: _Run, on_step: OnStep | None = None) -> Outcome:
    """Return the outcome of a run, after training unless it has ended before."""
    tokens, held_out = open_token_file(run.data.train).tokens, run.data.held_out()
    identity = hash_config(
        _Identity(
            model=run.arm.model,
            base_model=run.base_model,
            training=run.arm.training,
            train_tokens=fingerprint(tokens),
            held_out_tokens=fingerprint(held_out),
        )
    )
    outcome = load_outcome(run.folder, identity)
    if outcome is None:
        losses, failure = _train(run, tokens, held_out, on_step)
        outcome = Outcome(
            arm=run.arm.name,
            seed=run.seed,
            identity=identity,
            loss=None if failure else losses[NATS],
            bits_per_byte=None if failure else losses[BITS],
            failure=failure,
            elapsed_s=_elapsed_s(run.folder),
            curve=read_curve(run.folder),
        )
        save_outcome(outcome, run.folder)
    shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)
    return outcome


def _train(
    run: _Run,
    tokens: Integer[np.ndarray, " tokens"],
    held_out: Integer[np.ndarray, " held_out"],
    on_step: OnStep | None,
) -> tuple[dict[str, float], str | None]:
    """Return the last validation, and how the run diverged if it did."""
    device = choose_device(run.device)
    dtype = choose_dtype(run.arm.training.dtype, device)
    num_bytes = int(run.data.token_num_bytes[held_out].sum())

    def validate(model: TransformerLM) -> dict[str, float]:
        loss = evaluate_loss(model, held_out, first_context=run.data.end_of_text, dtype=dtype)
        return {
            NATS: loss.nats_per_token,
            BITS: bits_per_byte(loss.total_nats, num_bytes),
        }

    model = build_paired_model(run.arm.model, run.base_model, seed=run.seed).to(device)
    try:
        result = train(
            model,
            tokens,
            run.arm.training,
            folder=run.folder,
            validate=validate,
            on_step=None if on_step is None else partial(on_step, run.arm),
        )
    except FloatingPointError as error:
        return {}, str(error)
    loss = result.validation[NATS]
    is_finite = math.isfinite(loss)
    return result.validation, None if is_finite else f"the loss on held-out tokens is {loss}"


def _elapsed_s(folder: Path) -> float:
    """Return the seconds of a run by its receipt, or as far as it came before it diverged."""
    if (folder / RECEIPT_NAME).is_file():
        return load_receipt(folder).wall_s
    path = folder / METRICS_NAME
    lines = read_metrics(path) if path.exists() else []
    return lines[-1]["elapsed_s"] if lines else 0.0


def build_paired_model(
    config: TransformerConfig, base: TransformerConfig, *, seed: int
) -> TransformerLM:
    """Return a model that starts with the base's values of the same seed wherever shapes allow.

    Both draw from one stream of random numbers. As soon as one layer has another shape, everything
    behind it would start from other numbers and the pairing would be lost, so parameters of equal
    name and shape are copied from the base. That is done only where the two configurations differ
    in their blocks and norms alone: there the distribution depends on the shape alone.

    Args:
        config: The variant.
        base: What it is compared with.
        seed: Decides all initial values; the global random state is left as it was.
    """
    model = _build(config, seed)
    if config != base and _have_equal_distributions(config, base):
        theirs = _build(base, seed).state_dict()
        ours = model.state_dict()
        same = {k: v for k, v in theirs.items() if k in ours and ours[k].shape == v.shape}
        model.load_state_dict(ours | same)
    return model


def _build(config: TransformerConfig, seed: int) -> TransformerLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TransformerLM(config)


def _have_equal_distributions(config: TransformerConfig, base: TransformerConfig) -> bool:
    free = {
        "pattern": base.pattern,
        "position_embedding": base.position_embedding,
        "final_norm": base.final_norm,
        "norm_eps": base.norm_eps,
    }
    return replace(config, **free) == base

"""Where an experiment's result comes from: a training run, a recorded table or a simulated law.

A backend answers ``run(config)``; budgets, queues and planners live above it and cannot tell the
three apart.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from lm_basics.nn.ops import REFERENCE_OPS, Ops
from lm_basics.training.data import fingerprint
from lm_basics.training.evaluation import evaluate_loss
from lm_basics.training.loop import train
from lm_basics.transformer import TransformerLM
from lm_scaling.experiment import ExperimentConfig, ExperimentResult
from lm_scaling.laws.parametric import ParametricLaw
from lm_shared.config import load_config, save_config
from lm_shared.runs import read_metrics
from lm_shared.tensors import choose_dtype, seed_everything


@runtime_checkable
class Backend(Protocol):
    """Runs experiments."""

    def run(self, config: ExperimentConfig) -> ExperimentResult:
        """Return the result of ``config``; the same configuration gives the same losses."""
        ...


def run_sweep(
    backend: Backend,
    experiments: Sequence[ExperimentConfig],
    *,
    on_result: Callable[[ExperimentConfig, ExperimentResult], None] | None = None,
) -> list[ExperimentResult]:
    """Run ``experiments`` in order; ``on_result`` sees each one as it finishes."""
    results = []
    for config in experiments:
        result = backend.run(config)
        results.append(result)
        if on_result is not None:
            on_result(config, result)
    return results


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatorBackend:
    """Draws losses from a known law, so that a study can be graded against the truth."""

    law: ParametricLaw
    """The truth."""
    noise: float = 0.005
    """Standard deviation of a run's final loss, nats per token."""
    flops_per_s: float = 1e11
    """Simulated speed."""
    seed: int = 0
    """Decides the noise together with the experiment's identity."""

    def run(self, config: ExperimentConfig) -> ExperimentResult:
        """Return the law's loss with the experiment's own noise."""
        # Seeded by identity, the noise does not depend on the order in which a study runs.
        generator = np.random.default_rng([self.seed, int(config.identity(), 16)])
        loss = self.law.predict(config.parameters(), config.train_tokens())
        return ExperimentResult(
            losses=(loss + self.noise * float(generator.standard_normal()),),
            elapsed_s=config.flops() / self.flops_per_s,
            flops=config.flops(),
            tokens=config.train_tokens(),
            parameters=config.parameters(),
        )


class ReplayBackend:
    """Answers from recorded results: the one of about the same size and the same tokens."""

    def __init__(self, recorded: Iterable[ExperimentResult], *, tolerance: float = 0.02) -> None:
        """Take the table.

        Args:
            recorded: Results of earlier runs.
            tolerance: Relative difference of size and of tokens up to which a result answers.

        Raises:
            ValueError: There are no results, or the tolerance is negative.
        """
        self._recorded = tuple(recorded)
        self._tolerance = tolerance
        if not self._recorded or tolerance < 0:
            raise ValueError(
                f"expected results and a tolerance >= 0, got {len(self._recorded)} and {tolerance}"
            )

    def run(self, config: ExperimentConfig) -> ExperimentResult:
        """Return the nearest recorded result.

        Raises:
            ValueError: No recorded run is near enough; names the nearest.
        """
        size, tokens = config.parameters(), config.train_tokens()

        # The larger of both differences: a run is near only if size and tokens are.
        def distance(result: ExperimentResult) -> float:
            return max(
                abs(math.log(result.parameters / size)), abs(math.log(result.tokens / tokens))
            )

        nearest = min(self._recorded, key=distance)
        if distance(nearest) > math.log1p(self._tolerance):
            raise ValueError(
                f"no recorded run has {size:,} parameters and {tokens:,} tokens within "
                f"{self._tolerance:.1%}; the nearest has {nearest.parameters:,} and "
                f"{nearest.tokens:,}"
            )
        return nearest


class TrainerBackend:
    """Trains for real, one run folder per experiment; finished experiments are not run again."""

    def __init__(
        self,
        train_tokens: NDArray[np.integer],
        validation_tokens: NDArray[np.integer],
        folder: Path,
        *,
        first_context: int,
        ops: Ops = REFERENCE_OPS,
        device: torch.device | str = "cpu",
    ) -> None:
        """Prepare to train.

        Args:
            train_tokens: Training stream, may be memory-mapped.
            validation_tokens: Held-out stream, every token of which is predicted once.
            folder: Holds one run folder per experiment, named by its identity and a hash of the
                data: results are reused for the same experiment on the same data alone.
            first_context: The token before the first held-out one, usually end-of-text.
            ops: The operations to compute with.
            device: Where to train.
        """
        self._train_tokens = train_tokens
        self._validation_tokens = validation_tokens
        self._folder = folder
        self._first_context = first_context
        data = f"{fingerprint(train_tokens)} {fingerprint(validation_tokens)} {first_context}"
        self._data_hash = hashlib.sha256(data.encode()).hexdigest()[:8]
        self._ops = ops
        self._device = torch.device(device)

    def run(self, config: ExperimentConfig) -> ExperimentResult:
        """Train from initialization to the end of the schedule, or return the finished result.

        Raises:
            ValueError: The data is too short, or the folder holds another run.
            FloatingPointError: The loss is not finite.
        """
        name = f"{config.identity()}-{self._data_hash}"
        result_path = self._folder / name / "result.json"
        if result_path.exists():
            return load_config(ExperimentResult, result_path)
        result = self._train(config, self._folder / name)
        # Written last: a result that exists says that the run is complete.
        save_config(result, result_path)
        return result

    def _train(self, config: ExperimentConfig, folder: Path) -> ExperimentResult:
        # The initial weights, too, belong to the seed that the identity holds.
        seed_everything(config.training.seed)
        model = TransformerLM(config.model, ops=self._ops).to(self._device)
        dtype = choose_dtype(config.training.dtype, self._device)

        def validate(model: TransformerLM) -> dict[str, float]:
            held_out = evaluate_loss(
                model,
                self._validation_tokens,
                first_context=self._first_context,
                dtype=dtype,
            )
            return {"val_loss": held_out.nats_per_token}

        trained = train(
            model, self._train_tokens, config.training, folder=folder, validate=validate
        )
        # A run killed after its last validation repeats it: the later loss of a step counts.
        losses = {
            int(line["step"]): float(line["val_loss"])
            for line in read_metrics(folder / "metrics.jsonl")
            if "val_loss" in line
        }
        return ExperimentResult(
            losses=tuple(losses.values()),
            elapsed_s=trained.elapsed_s,
            flops=trained.flops,
            tokens=trained.tokens,
            parameters=config.parameters(),
        )

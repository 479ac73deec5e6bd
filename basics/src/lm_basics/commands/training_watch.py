"""What ``basics train`` does beside training: validation, samples, display, the run's setting."""

import logging
from pathlib import Path

import torch

from lm_basics.commands.training_display import TrainingDisplay
from lm_basics.commands.training_tokens import TrainingTokens
from lm_basics.reports.curves import RunSetting, load_setting, save_setting
from lm_basics.token_files import TokenFile
from lm_basics.training import StepReport, evaluate_loss
from lm_basics.training.progress import TrainingProgress, to_bits_per_byte
from lm_basics.training.samples import SampleWriter
from lm_basics.transformer import TransformerLM

logger = logging.getLogger(__name__)


class TrainingWatch:
    """The two functions that the loop calls, ``on_step`` and ``validate``."""

    def __init__(
        self,
        model: TransformerLM,
        data: TrainingTokens,
        folder: Path,
        *,
        setting: RunSetting,
        progress: TrainingProgress,
        display: TrainingDisplay,
        samples: SampleWriter | None = None,
        sample_every: int | None = None,
        dtype: torch.dtype = torch.float32,
        num_validation_tokens: int | None = None,
    ) -> None:
        """Get ready.

        Args:
            model: The model in training.
            data: What it learns from.
            folder: The run folder, which the loop makes.
            setting: To be written there at the first step.
            progress: Turns reports into numbers.
            display: Shows them.
            samples: Continues prompts.
            sample_every: Steps between samples; None means only after the last step.
            dtype: Type of the matrix products in validations.
            num_validation_tokens: The first so many held-out tokens are used; None means all.
        """
        self.model, self.data, self.folder, self.setting = model, data, folder, setting
        self.progress, self.display = progress, display
        self.samples, self.sample_every, self.dtype = samples, sample_every, dtype
        self.num_validation_tokens = num_validation_tokens
        self.num_steps = 0
        self._last_step = 0

    def on_step(self, report: StepReport) -> None:
        """Show the step, and sample if it is time."""
        if self.num_steps == 0:
            self._keep_setting()
        self.num_steps += 1
        self._last_step = report.step
        self.display.show_numbers(self.progress.add(report))
        is_due = self.sample_every is not None and report.step % self.sample_every == 0
        if self.samples is not None and (is_due or report.step == report.steps):
            self.display.show_samples(self.samples.write(self.model, report.step))

    def validate(self, model: TransformerLM) -> dict[str, float]:
        """Measure the loss on the held-out tokens, in bits per byte too where that is possible."""
        held_out = self.data.validation
        if held_out is None:
            return {}
        first_context = int(self.data.train.tokens[-1])
        tokens = held_out.tokens[: self.num_validation_tokens]
        loss = evaluate_loss(
            model, tokens, first_context=first_context, dtype=self.dtype
        ).nats_per_token
        values = {"val_loss": loss}
        bits = to_bits_per_byte(loss, self._bytes_per_token(held_out, len(tokens)))
        if bits is not None:
            values["val_bits_per_byte"] = bits
        self.progress.add_validation(self._last_step, values)
        return values

    def _bytes_per_token(self, held_out: TokenFile, num_tokens: int) -> float | None:
        """Return the bytes behind the first tokens; of a part of a file only a tokenizer knows."""
        if num_tokens == held_out.num_tokens:
            return bytes_per_token(held_out)
        if self.data.tokenizer is None:
            return None
        tokens = held_out.tokens[:num_tokens]
        return float(self.data.tokenizer.token_num_bytes[tokens].mean())

    def _keep_setting(self) -> None:
        earlier = load_setting(self.folder)
        if earlier is not None and (earlier.ops, earlier.device) != (
            self.setting.ops,
            self.setting.device,
        ):
            logger.warning(
                "The run began with %s operations on %s and goes on with %s ones on %s: its bits "
                "are not those of one that was not interrupted.",
                earlier.ops,
                earlier.device,
                self.setting.ops,
                self.setting.device,
            )
        save_setting(self.setting, self.folder)


def bytes_per_token(file: TokenFile | None) -> float | None:
    """Return the bytes of text behind a token, or None where the file does not know."""
    if file is None or file.num_bytes is None:
        return None
    return file.num_bytes / file.num_tokens

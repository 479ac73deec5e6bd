"""What ``basics train`` does beside training: validation, samples, a display, more metrics.

The display is live on a terminal and a log line now and then elsewhere. TensorBoard and Weights &
Biases are opened when there is something to write: opened earlier, they would leave traces of a run
that cannot begin, and could not know the step that it goes on from.
"""

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lm_basics.commands.training_tokens import TrainingTokens
from lm_basics.reports.curves import RunSetting, load_setting, save_setting
from lm_basics.token_files import TokenFile
from lm_basics.training import StepReport, evaluate_loss
from lm_basics.training.progress import ProgressNumbers, TrainingProgress, to_bits_per_byte
from lm_basics.training.samples import Sample, SampleWriter
from lm_basics.transformer import TransformerLM
from lm_shared import display
from lm_shared.files import read_json, write_json
from lm_shared.metrics import MetricsSink, TensorBoardSink, Value, WandbSink, require_sink
from lm_shared.runs import CONFIG_NAME

_BAR_WIDTH = 40
_SHOWN_CHARACTERS = 300

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
        display: "TrainingDisplay",
        samples: SampleWriter | None = None,
        sample_every: int | None = None,
        dtype: torch.dtype = torch.float32,
        num_validation_tokens: int | None = None,
        is_writer: bool = True,
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
            is_writer: Whether this process keeps the setting, and not another one of the same run.
        """
        self.is_writer = is_writer
        self.model, self.data, self.folder, self.setting = model, data, folder, setting
        self.progress, self.display = progress, display
        self.samples, self.sample_every, self.dtype = samples, sample_every, dtype
        self.num_validation_tokens = num_validation_tokens
        self.num_steps: int | None = None
        """Steps that this process did; None where it was told of none: the run had ended."""
        self._last_step = 0

    def on_step(self, report: StepReport) -> None:
        """Show the step, and sample if it is time, from the weights that are validated."""
        if self._last_step == 0 and self.is_writer:
            self._keep_setting()
        self.num_steps = (self.num_steps or 0) + (not report.is_told_again)
        self._last_step = report.step
        self.display.show_numbers(self.progress.add(report))
        is_due = self.sample_every is not None and report.step % self.sample_every == 0
        if self.samples is not None and (is_due or report.step == report.steps):
            with report.validated_weights():
                samples = self.samples.write(self.model, report.step)
            self.display.show_samples(samples)

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


class TrainingDisplay:
    """Shows numbers and samples; ``training_display`` makes one."""

    def __init__(self, *, is_live: bool) -> None:
        self.is_live = is_live
        self.numbers: ProgressNumbers | None = None
        self.samples: Sequence[Sample] = ()
        self._logged_at = time.monotonic()

    def show_numbers(self, numbers: ProgressNumbers) -> None:
        """Take new numbers."""
        self.numbers = numbers
        if not self.is_live and time.monotonic() - self._logged_at >= display.LOG_INTERVAL_S:
            self._logged_at = time.monotonic()
            logger.info("%s", describe_progress(numbers))

    def show_samples(self, samples: Sequence[Sample]) -> None:
        """Take new samples."""
        self.samples = samples
        for one in () if self.is_live else samples:
            logger.info("sample after %d steps: %s", one.step, _sample_text(one))

    def __rich__(self) -> RenderableType:
        """Return what the terminal shows."""
        if self.numbers is None:
            return Text("train: the first step")
        numbers = self.numbers
        bar = ProgressBar(total=numbers.steps, completed=numbers.step, width=_BAR_WIDTH)
        head = Table.grid(padding=(0, 1))
        head.add_row("train", bar, f"{numbers.step:,}/{numbers.steps:,}", _time_left(numbers))
        body = Table.grid(padding=(0, 2))
        for label, value in progress_rows(numbers):
            body.add_row(Text(label, style="dim"), value)
        lines = [Text(_sample_text(one), style="italic") for one in self.samples]
        return Group(head, body, *lines)


@contextmanager
def training_display(*, is_shown: bool = True) -> Iterator[TrainingDisplay]:
    """Yield a display that is shown while the block runs, if it is to be."""
    if not is_shown:
        yield TrainingDisplay(is_live=True)
        return
    with display.live_view() as update:
        shown = TrainingDisplay(is_live=update is not None)
        if update is not None:
            # The view asks the display for its state several times a second.
            update(shown)
        yield shown


def progress_rows(numbers: ProgressNumbers) -> list[tuple[str, str]]:
    """Return labels and values, those that are not known left out."""
    bits = "" if numbers.bits_per_byte is None else f" ({numbers.bits_per_byte:.4f} bits per byte)"
    rows = [
        ("loss", f"{numbers.loss:.4f} nats per token"),
        ("mean of about 20 steps", f"{numbers.mean_loss:.4f}{bits}"),
    ]
    rows.append(("speed", f"{numbers.tokens_per_s:,.0f} tokens/s"))
    if numbers.mfu is not None:
        rows.append(("MFU", f"{numbers.mfu:.1%}"))
    if numbers.validated_at is not None:
        values = ", ".join(f"{name} {value:.4f}" for name, value in numbers.validation.items())
        rows.append(("validation", f"{values} at step {numbers.validated_at:,}"))
    return rows


def describe_progress(numbers: ProgressNumbers) -> str:
    """Return the numbers as one line."""
    values = ", ".join(f"{label} {value}" for label, value in progress_rows(numbers))
    return f"train: {numbers.step:,} of {numbers.steps:,} steps, {values}, {_time_left(numbers)}"


def _time_left(numbers: ProgressNumbers) -> str:
    if numbers.remaining_s is None:
        return "time left unknown"
    minutes, seconds = divmod(round(numbers.remaining_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} left"


def _sample_text(sample: Sample) -> str:
    text = " ".join(f"{sample.prompt}|{sample.continuation}".split())
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


class LateSink:
    """Opens a sink at its first line."""

    def __init__(self, open_sink: Callable[[int], MetricsSink]) -> None:
        """Remember how: ``open_sink`` is given the step before that line."""
        self._open_sink = open_sink
        self._sink: MetricsSink | None = None

    def write(self, step: int, values: Mapping[str, Value]) -> None:
        """Pass the values on."""
        if self._sink is None:
            self._sink = self._open_sink(step - 1)
        self._sink.write(step, values)

    def close(self) -> None:
        """Close the sink if it was opened."""
        if self._sink is not None:
            self._sink.close()


def chosen_sinks(folder: Path, *, tensorboard: bool, wandb: str | None) -> list[MetricsSink]:
    """Return the sinks of a run folder.

    Args:
        folder: The run folder; the sinks' own files go into folders of it.
        tensorboard: Whether to write TensorBoard's files.
        wandb: Project at Weights & Biases.

    Raises:
        ValueError: a package is not installed.
    """
    sinks: list[MetricsSink] = []
    if tensorboard:
        require_sink("tensorboard")
        sinks.append(
            LateSink(lambda step: TensorBoardSink(folder / "tensorboard", resumed_at=step or None))
        )
    if wandb is not None:
        require_sink("wandb")
        sinks.append(LateSink(lambda _: _open_wandb(wandb, folder)))
    return sinks


def _open_wandb(project: str, folder: Path) -> WandbSink:
    config = read_json(folder / CONFIG_NAME)
    path = folder / "wandb" / "run.json"
    # A resumed run goes on under the name of its first process.
    if not path.is_file():
        write_json(path, {"id": secrets.token_hex(8)})
    run_id = read_json(path)["id"]
    return WandbSink(project, folder / "wandb", config, run_id=run_id, mode="online")

"""What ``basics train`` shows: a live view on a terminal, elsewhere a log line now and then."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lm_basics.training.progress import ProgressNumbers
from lm_basics.training.samples import Sample
from lm_shared import display

_BAR_WIDTH = 40
_SHOWN_CHARACTERS = 300

logger = logging.getLogger(__name__)


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
def training_display() -> Iterator[TrainingDisplay]:
    """Yield a display that is shown while the block runs."""
    with display.live_view() as update:
        shown = TrainingDisplay(is_live=update is not None)
        if update is not None:
            # The view asks the display for its state several times a second.
            update(shown)
        yield shown


def progress_rows(numbers: ProgressNumbers) -> list[tuple[str, str]]:
    """Return labels and values, those that are not known left out."""
    rows = [("loss", f"{numbers.loss:.4f} nats per token")]
    if numbers.bits_per_byte is not None:
        rows.append(("bits per byte", f"{numbers.bits_per_byte:.4f}"))
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

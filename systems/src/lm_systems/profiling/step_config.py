"""What a measurement of a training step is of: sizes, batch, number format, how often."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lm_basics.model_config import TransformerConfig, uniform_transformer
from lm_shared.config import DeviceName, DtypeName, check_choice
from lm_systems.kernels import OpsName

StepMode = Literal["forward", "backward", "step"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepBenchmark:
    """A model, a batch of random tokens, and what is timed."""

    d_model: int
    """Width."""
    d_ff: int
    """Width of the feed-forward layers."""
    num_layers: int
    """Blocks."""
    num_heads: int
    """Heads."""
    vocab_size: int = 10_000
    """Tokens that there are."""
    context_length: int = 512
    """Tokens of a sequence."""
    batch_size: int = 4
    """Sequences."""
    mode: StepMode = "step"
    """The last part that is run: backward goes on from forward, step from backward to AdamW."""
    dtype: DtypeName = "auto"
    """Of matrix products, by autocast; parameters are float32."""
    ops: OpsName = "reference"
    """Operations of the model."""
    device: DeviceName = "auto"
    """Where."""
    warmup: int = 5
    """Rounds before, which do not count: compilers and allocators work in the first."""
    steps: int = 10
    """Rounds that count."""

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, StepMode)
        check_choice("ops", self.ops, OpsName)
        if self.warmup < 0:
            raise ValueError(f"warmup must not be negative, got {self.warmup}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {self.batch_size}")
        if self.steps < 2:
            raise ValueError(f"steps must be at least 2, to have a spread, got {self.steps}")
        # Sizes that do not go together are told before torch is imported.
        self.model()

    def model(self) -> TransformerConfig:
        """Return the transformer."""
        return uniform_transformer(
            vocab_size=self.vocab_size,
            context_length=self.context_length,
            d_model=self.d_model,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            d_ff=self.d_ff,
        )


def _size(d_model: int, d_ff: int, num_layers: int, num_heads: int) -> StepBenchmark:
    return StepBenchmark(d_model=d_model, d_ff=d_ff, num_layers=num_layers, num_heads=num_heads)


STEP_SIZES: Mapping[str, tuple[str, StepBenchmark]] = {
    "tiny": (
        "0.4 million parameters, seconds on a laptop",
        StepBenchmark(
            d_model=64,
            d_ff=192,
            num_layers=2,
            num_heads=4,
            vocab_size=2048,
            context_length=64,
        ),
    ),
    "small": ("129 million parameters", _size(768, 3072, 12, 12)),
    "medium": ("423 million", _size(1024, 4096, 24, 16)),
    "large": ("969 million", _size(1280, 5120, 36, 20)),
    "xl": ("3.41 billion, 55 GB without activations", _size(2560, 10_240, 32, 32)),
    "10b": ("12.8 billion, 205 GB without activations", _size(4608, 12_288, 50, 36)),
}
"""The sizes of the course's systems assignment (2026, Table 1), and one below."""

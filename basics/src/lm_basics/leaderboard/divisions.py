"""The divisions of the leaderboard: their rules as numbers.

The two on OpenWebText are the course's: least held-out loss of a vocabulary of 32,000 in 90 minutes
on one H100, or in 45 on one B200. The laptop's is ours, for everybody: fewest bits per byte on the
default corpus in five minutes on two cores.
"""

from dataclasses import dataclass
from typing import Literal

DivisionName = Literal["laptop", "openwebtext", "openwebtext-b200"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Division:
    """What every entry of a division has to keep."""

    name: DivisionName
    """Of the division."""
    title: str
    """The task in one sentence."""
    time_limit_s: float
    """Seconds from the first line of the training loop to its last step."""
    score: Literal["bits per byte", "nats per token"]
    """What is compared, on all held-out tokens; lower is better."""
    vocab_size: int | None
    """Tokens of the vocabulary; None where scores do not depend on it."""
    max_cores: int | None
    """Cores that the process may use; None where a GPU does the work."""
    gpu: str | None
    """Word in the name of the one GPU; None where there is none."""
    has_default_corpus: bool = False
    """Whether the data is the default corpus, which everybody can make anew."""
    context_length: int = 512
    """Most tokens that a held-out token may be predicted from, its own window's beginning."""


DIVISIONS: dict[DivisionName, Division] = {
    "laptop": Division(
        name="laptop",
        title="Fewest bits per byte on the default corpus in 5 minutes on 2 cores.",
        time_limit_s=300,
        score="bits per byte",
        vocab_size=None,
        max_cores=2,
        gpu=None,
        has_default_corpus=True,
    ),
    "openwebtext": Division(
        name="openwebtext",
        title="Least held-out loss on OpenWebText in 90 minutes on one H100.",
        time_limit_s=90 * 60,
        score="nats per token",
        vocab_size=32_000,
        max_cores=None,
        gpu="H100",
    ),
    "openwebtext-b200": Division(
        name="openwebtext-b200",
        title="Least held-out loss on OpenWebText in 45 minutes on one B200.",
        time_limit_s=45 * 60,
        score="nats per token",
        vocab_size=32_000,
        max_cores=None,
        gpu="B200",
    ),
}
"""All divisions by name."""

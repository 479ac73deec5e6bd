"""The speedrun in numbers: ``summary.json``, and what the terminal shows while it runs."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lm_shared.config import save_config
from lm_shared.stages import Stage

SUMMARY_NAME = "summary.json"
REPORT_NAME = "report.html"
VOLATILE = ("total_s", "stages", "peak_bytes")
"""Fields in which two runs with the same seed differ."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """One speedrun."""

    size: str
    """Which recipe."""
    seed: int
    """Which random choices."""
    total_s: float
    """Seconds of all stages, in whichever process they were done."""
    stages: dict[str, float]
    """Seconds of each stage."""
    documents_in: int
    """Pages of the crawl."""
    documents_kept: int
    """Documents in training and validation."""
    bytes_per_token: float
    """Compression of the training text by the tokenizer."""
    parameters: int
    """Size of the model."""
    train_tokens: int
    """Tokens it was trained on."""
    train_epochs: float
    """The same in passes over the training text."""
    train_flops: float
    """Matrix-product FLOPs of the final run."""
    predicted_val_loss: float
    """What the scaling law said, nats per token."""
    val_loss: float
    """What the final run gave on the same tokens."""
    val_bits_per_byte: float
    """Of the base model, on all held-out documents."""
    xz_bits_per_byte: float
    """Of ``xz -9e`` that has seen the training text, on the same documents."""
    ngram_bits_per_byte: float
    """Of a modified Kneser-Ney 5-gram model of the same tokens, on the same documents."""
    base_reward: float
    """Mean reward on held-out problems before fine-tuning."""
    sft_reward: float
    """After fine-tuning."""
    rl_reward: float
    """After reinforcement learning."""
    hf_logits_max_diff: float
    """Largest difference between our logits and those of ``transformers``."""
    peak_bytes: int
    """Most main memory of any stage."""


def summarize(stages: Sequence[Stage], *, size: str, seed: int) -> Summary:
    """Collect the numbers of finished stages."""
    results = {stage.record.name: stage.result for stage in stages}
    seconds = {stage.record.name: stage.record.elapsed_s for stage in stages}
    receipt = results["curate_pages"]["receipt"]
    tokens, base = results["tokenize_documents"], results["pretrain"]
    evaluation, rewards = results["evaluate_base"], results["align"]["rewards"]
    return Summary(
        size=size,
        seed=seed,
        total_s=round(sum(seconds.values()), 1),
        stages=seconds,
        documents_in=receipt["documents_in"],
        documents_kept=receipt["documents_kept"],
        bytes_per_token=tokens["num_bytes"]["train"] / tokens["num_tokens"]["train"],
        parameters=base["parameters"],
        train_tokens=base["tokens"],
        train_epochs=base["tokens"] / tokens["num_tokens"]["train"],
        train_flops=base["flops"],
        predicted_val_loss=results["plan_pretraining"]["plan"]["predicted_loss"],
        val_loss=base["val_loss"],
        val_bits_per_byte=evaluation["val_bits_per_byte"],
        xz_bits_per_byte=evaluation["xz_bits_per_byte"],
        ngram_bits_per_byte=evaluation["ngram_bits_per_byte"],
        base_reward=rewards["base"],
        sft_reward=rewards["sft"],
        rl_reward=rewards["rl"],
        hf_logits_max_diff=results["serve"]["hf_logits_max_diff"],
        peak_bytes=max(stage.record.peak_bytes for stage in stages),
    )


def write_summary(summary: Summary, folder: Path) -> None:
    """Write ``summary.json``."""
    save_config(summary, folder / SUMMARY_NAME)


def announce_stage(name: str) -> None:
    """Say that a stage begins."""
    _logger.info("%s …", _title(name))


def tell_stage(stage: Stage) -> None:
    """Say what came out of a stage, in one line."""
    how = "reused, took" if stage.is_reused else "done in"
    headline = _HEADLINES[stage.record.name](stage.result)
    _logger.info(
        "%s %s %.1f s: %s", _title(stage.record.name), how, stage.record.elapsed_s, headline
    )


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


_HEADLINES = {
    "write_crawl": lambda r: f"{r['pages']} pages, {r['bytes'] / 1e6:.1f} MB compressed",
    "curate_pages": lambda r: (
        f"kept {r['receipt']['documents_kept']} of {r['receipt']['documents_in']} documents"
    ),
    "tokenize_documents": lambda r: (
        f"{r['vocab_size']} token types, {r['num_tokens']['train'] / 1e6:.2f}M training tokens"
    ),
    "plan_pretraining": lambda r: (
        f"{r['plan']['chosen']} for {r['plan']['tokens'] / 1e6:.2f}M tokens, "
        f"predicted loss {r['plan']['predicted_loss']:.3f}"
    ),
    "pretrain": lambda r: f"{r['parameters'] / 1e6:.2f}M parameters, loss {r['val_loss']:.3f}",
    "evaluate_base": lambda r: (
        f"{r['val_bits_per_byte']:.3f} bits per byte (5-gram {r['ngram_bits_per_byte']:.3f}, "
        f"xz {r['xz_bits_per_byte']:.3f})"
    ),
    "align": lambda r: f"reward {r['rewards']['sft']:.2f} -> {r['rewards']['rl']:.2f}",
    "serve": lambda r: f"logits within {r['hf_logits_max_diff']:.1e} of transformers",
}

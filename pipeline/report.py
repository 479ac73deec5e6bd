"""The speedrun's ``report.html``: what came in and out of every stage, on one page."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from lm_data.shards import list_shards, read_shard
from lm_scaling.figures import isoflop_figure
from lm_scaling.laws.points import ScalingPoint
from lm_scaling.planner import Plan
from lm_shared.config import from_dict
from lm_shared.figures import bar_figure, figure_svg, line_figure, waterfall_figure
from lm_shared.report import Report
from lm_shared.runs import read_metrics
from lm_shared.stages import Stage
from pipeline.summary import REPORT_NAME, Summary

_SAMPLE_LENGTH = 280


def write_report(stages: Sequence[Stage], summary: Summary, folder: Path) -> Path:
    """Write the page and return its path."""
    by_name = {stage.record.name: stage for stage in stages}
    report = Report(
        "From raw web pages to an aligned language model",
        f"One speedrun, size {summary.size}, seed {summary.seed}: "
        f"{summary.total_s:.0f} seconds from the first page to the last answer.",
    )
    _add_overview(report, summary)
    _add_crawl(report, by_name["write_crawl"])
    _add_curation(report, by_name["curate_pages"])
    _add_tokenizer(report, by_name["tokenize_documents"])
    _add_plan(report, by_name["plan_pretraining"], summary)
    _add_training(report, by_name["pretrain"], summary)
    _add_evaluation(report, by_name["evaluate_base"], summary)
    _add_alignment(report, by_name["align"], summary)
    _add_serving(report, by_name["serve"], summary)
    _add_costs(report, stages)
    _add_commands(report, by_name)
    path = folder / REPORT_NAME
    report.write(path)
    return path


def _add_overview(report: Report, summary: Summary) -> None:
    error = summary.val_loss / summary.predicted_val_loss - 1
    report.section("At a glance").key_numbers(
        [
            ("Documents kept", summary.documents_kept, f"of {summary.documents_in} pages"),
            (
                "Model",
                f"{summary.parameters / 1e6:.2f}M",
                f"parameters, {summary.train_tokens / 1e6:.2f}M tokens",
            ),
            (
                "Bits per byte",
                f"{summary.val_bits_per_byte:.3f}",
                f"5-gram {summary.ngram_bits_per_byte:.3f}, xz {summary.xz_bits_per_byte:.3f}",
            ),
            (
                "Loss",
                f"{summary.val_loss:.3f}",
                f"predicted {summary.predicted_val_loss:.3f}, off by {error:+.1%}",
            ),
            (
                "Reward",
                f"{summary.rl_reward:.2f}",
                f"after imitation {summary.sft_reward:.2f}",
            ),
            (
                "Memory",
                f"{summary.peak_bytes / 2**30:.1f} GiB",
                "at the most",
            ),
        ]
    )


def _add_crawl(report: Report, stage: Stage) -> None:
    result = stage.result
    report.section(
        "1. Crawl",
        f"{result['pages']} responses in WARC files of {result['bytes'] / 1e6:.1f} MB: messages of "
        "the presidents and documentation pages, in templates with all that surrounds text on the "
        "web, and among them copies, other languages and junk.",
    ).table(["kind of page", "pages"], list(result["pages_by_kind"].items()))


def _add_curation(report: Report, stage: Stage) -> None:
    receipt, audit = stage.result["receipt"], stage.result["audit"]
    left = receipt["documents_in"]
    labels, counts = ["crawled"], [left]
    for step, reasons in receipt["dropped"].items():
        left -= sum(reasons.values())
        labels.append(step.replace("_", " "))
        counts.append(left)
    report.section(
        "2. Curate",
        f"Of the pages worth keeping {audit['recall']:.1%} were kept; {audit['precision']:.1%} of "
        "the kept ones were worth it, as the crawl's ground truth tells. "
        f"{audit['personal_data']} pieces of personal data had been planted in them, "
        f"{audit['personal_data_left']} of these are left.",
    )
    report.figure(
        figure_svg(waterfall_figure(labels, counts, x_label="documents left after each step")),
        "What every step took away.",
    )
    rows = [
        [step, reason, count]
        for step, reasons in receipt["dropped"].items()
        for reason, count in reasons.items()
    ]
    report.table(["step", "reason", "documents"], rows, "Why documents were dropped.")
    folder = stage.folder / "documents"
    report.sample_table(
        ["step", "reason", "address", "text"], _dropped_samples(folder), "One dropped page each."
    )
    kept = [
        document
        for path in list_shards(folder, "train")
        for document in islice(read_shard(path), 1)
    ]
    for document in kept[:3]:
        report.details(f"Kept: {document.url}", _shorten(document.text, 1500))


def _dropped_samples(folder: Path) -> list[list[str]]:
    """Return one page for every pair of step and reason."""
    samples: dict[tuple[str, str], list[str]] = {}
    for path in list_shards(folder, "dropped"):
        for document in read_shard(path):
            reason = (document.dropped_by or "", document.reason or "")
            samples.setdefault(reason, [*reason, document.url, _shorten(document.text)])
    return [samples[reason] for reason in sorted(samples)]


def _add_tokenizer(report: Report, stage: Stage) -> None:
    result = stage.result
    ratio = {split: result["num_bytes"][split] / n for split, n in result["num_tokens"].items()}
    report.section(
        "3. Tokenize",
        f"A byte-level BPE with {result['vocab_size']:,} tokens, trained on the training text.",
    ).table(
        ["split", "bytes", "tokens", "bytes per token"],
        [[x, result["num_bytes"][x], result["num_tokens"][x], round(ratio[x], 3)] for x in ratio],
    )


def _add_plan(report: Report, stage: Stage, summary: Summary) -> None:
    planned = from_dict(Plan, stage.result["plan"])
    points = [from_dict(ScalingPoint, point) for point in stage.result["points"]]
    law = planned.fit.law
    report.section(
        "4. Plan",
        f"{len(points)} small runs, a law through their losses, and the model that it expects to "
        f"be best for the budget: {planned.chosen}. The final run is {planned.extrapolation:.0f} "
        "times the largest small one.",
    )
    figure = isoflop_figure(points, planned=planned, obtained_loss=summary.val_loss)
    report.figure(figure_svg(figure), "Small runs, fitted law, prediction and what came of it.")
    report.paragraph(
        f"L(N, D) = {law.E:.3f} + {law.A:.4g} / N^{law.alpha:.3f} + {law.B:.4g} / D^{law.beta:.3f}"
        f", with a root mean square error of {planned.fit.rms_error:.2%} on the small runs."
    )
    report.table(
        ["candidate", "tokens", "epochs", "predicted loss", "from", "to"],
        [
            [
                run.name,
                run.tokens,
                None if run.epochs is None else round(run.epochs, 2),
                round(run.predicted_loss, 4),
                round(run.interval.low, 4),
                round(run.interval.high, 4),
            ]
            for run in planned.alternatives
        ],
        f"All candidates, with {planned.interval.level:.0%} intervals.",
    )


def _add_training(report: Report, stage: Stage, summary: Summary) -> None:
    metrics = read_metrics(stage.folder / "run" / "metrics.jsonl")
    report.section(
        "5. Pretrain",
        f"{summary.parameters:,} parameters, {summary.train_tokens:,} tokens "
        f"({summary.train_epochs:.2f} epochs), {stage.result['dtype']}.",
    )
    lines = {"training": _series(metrics, "loss"), "validation": _series(metrics, "val_loss")}
    figure = line_figure(
        lines,
        x_label="step",
        y_label="loss (nats per token)",
        baselines={"predicted": summary.predicted_val_loss},
    )
    report.figure(figure_svg(figure), "Loss during training, and the prediction for its end.")
    figure = line_figure(
        {"gradient norm": _series(metrics, "grad_norm")},
        x_label="step",
        y_label="gradient norm",
        y_scale="log",
    )
    report.figure(figure_svg(figure), "Global norm of the gradients before clipping.")


def _add_evaluation(report: Report, stage: Stage, summary: Summary) -> None:
    report.section(
        "6. Evaluate",
        "Bits per byte on documents that no stage has trained on. The 5-gram model has the same "
        "tokens and the same training text; xz has seen that text too.",
    )
    bars = {
        "this model": summary.val_bits_per_byte,
        "Kneser-Ney 5-gram": summary.ngram_bits_per_byte,
        "xz -9e": summary.xz_bits_per_byte,
    }
    report.figure(
        figure_svg(bar_figure(bars, x_label="bits per byte, lower is better", number_format=".3f")),
        "The model between two baselines measured in this run.",
    )
    report.sample_table(["beginning", "continuation"], stage.result["samples"], "Samples.")


def _add_alignment(report: Report, stage: Stage, summary: Summary) -> None:
    result = stage.result
    report.section(
        "7. Align",
        "Fine-tuning on a few answers teaches the form; reinforcement learning gets nothing but "
        "a verifier's verdict. Rewards are measured on problems that neither has seen.",
    )
    rows = [
        [phase, round(reward, 3), *(round(x, 3) for x in result["intervals"][phase])]
        for phase, reward in result["rewards"].items()
    ]
    report.table(["after", "mean reward", "from", "to"], rows, "Held-out problems, 95% intervals.")
    metrics = read_metrics(stage.folder / "grpo" / "metrics.jsonl")
    figure = line_figure(
        {"rollouts": _series(metrics, "reward")},
        x_label="step",
        y_label="mean reward",
        baselines={"held out, before": summary.sft_reward, "held out, after": summary.rl_reward},
    )
    report.figure(figure_svg(figure), "Reward of the rollouts during reinforcement learning.")
    report.sample_table(
        ["question", "right", "base model", "after imitation", "after reinforcement"],
        result["samples"],
        "The same questions to the model of each phase.",
    )


def _add_serving(report: Report, stage: Stage, summary: Summary) -> None:
    report.section(
        "8. Serve",
        "The aligned model behind the generation protocol. Its export, loaded by transformers, "
        f"gives the same logits up to {summary.hf_logits_max_diff:.1e}.",
    ).sample_table(["question", "answer"], stage.result["answers"])


def _add_costs(report: Report, stages: Sequence[Stage]) -> None:
    rows = [
        [
            stage.record.name.replace("_", " "),
            round(stage.record.elapsed_s, 1),
            round(stage.record.peak_bytes / 2**20),
            float(stage.result["flops"]) if "flops" in stage.result else None,
        ]
        for stage in stages
    ]
    report.section("What it cost").table(["stage", "seconds", "peak MiB", "FLOPs"], rows)


def _add_commands(report: Report, stages: dict[str, Stage]) -> None:
    model = stages["align"].folder / "model"
    documents = stages["curate_pages"].folder / "documents"
    report.section("Where to go on").text_block(
        f'uv run systems generate "The state of the Union is" --model {model}\n'
        f"uv run data inspect --documents {documents}\n"
        "uv run speedrun.py --seed 1 --output runs/another\n",
        "Talk to the model, look at the documents, try another seed.",
    )


def compare_answers(*phases: Sequence[Any]) -> list[list[str]]:
    """Return question, right answer, and each phase's answer, for the first dozen questions."""
    return [
        [row[0].example.question, row[0].example.answer, *(rollout.text for rollout in row)]
        for row in islice(zip(*phases, strict=True), 12)
    ]


def _series(metrics: Sequence[dict[str, Any]], name: str) -> tuple[list[float], list[float]]:
    points = [(line["step"], line[name]) for line in metrics if name in line]
    return [x for x, _ in points], [y for _, y in points]


def _shorten(text: str, length: int = _SAMPLE_LENGTH) -> str:
    return text if len(text) <= length else f"{text[:length]} …"

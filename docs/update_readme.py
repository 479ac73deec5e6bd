"""Write the results of a speedrun into the README: ``uv run docs/update_readme.py``.

Everything between the two markers in ``README.md`` comes from ``summary.json`` and the receipts of
the run's stages; nobody types it.
"""

import sys
from pathlib import Path

from lm_shared.command_line import run_command
from lm_shared.files import read_json, replace_between

ROOT = Path(__file__).parents[1]
BEGIN = "<!-- results: begin -->"
END = "<!-- results: end -->"


def update_readme(run: Path = Path("runs/speedrun"), readme: Path = ROOT / "README.md") -> None:
    """Replace the results block.

    Args:
        run: Folder of a finished speedrun.
        readme: The file with the two markers.
    """
    summary = read_json(run / "summary.json")
    size = run / summary["size"]
    receipts = [read_json(size / stage / "receipt.json") for stage in summary["stages"]]
    commits = {(receipt["git_commit"], receipt["git_dirty"]) for receipt in receipts}
    if len(commits) > 1:
        raise ValueError(f"the stages in {size} come from different code: run with --fresh")
    receipt = receipts[0]
    replace_between(readme, BEGIN, END, f"\n{render_results(summary, receipt)}")


def render_results(summary: dict, receipt: dict) -> str:
    """Return the block as Markdown."""
    error = summary["val_loss"] / summary["predicted_val_loss"] - 1
    rows = [
        ("documents kept", f"{summary['documents_kept']} of {summary['documents_in']} pages"),
        ("model", f"{summary['parameters'] / 1e6:.2f}M parameters"),
        (
            "training",
            f"{summary['train_tokens'] / 1e6:.2f}M tokens ({summary['train_epochs']:.2f} epochs), "
            f"{summary['bytes_per_token']:.2f} bytes per token",
        ),
        (
            "held-out bits per byte",
            f"**{summary['val_bits_per_byte']:.3f}** (Kneser-Ney 5-gram "
            f"{summary['ngram_bits_per_byte']:.3f}, xz {summary['xz_bits_per_byte']:.3f})",
        ),
        (
            "loss, predicted and obtained",
            f"{summary['predicted_val_loss']:.3f} and {summary['val_loss']:.3f} ({error:+.1%})",
        ),
        (
            "reward on unseen problems",
            f"{summary['base_reward']:.2f} before, {summary['sft_reward']:.2f} after imitation, "
            f"**{summary['rl_reward']:.2f}** after reinforcement learning",
        ),
        ("logits against transformers", f"within {summary['hf_logits_max_diff']:.1e}"),
        ("time", f"{summary['total_s']:.0f} s: {_format_stages(summary['stages'])}"),
        ("memory", f"{summary['peak_bytes'] / 2**30:.1f} GiB at the most"),
    ]
    hardware, versions = receipt["hardware"], receipt["versions"]
    commit = (receipt["git_commit"] or "unknown")[:12] + (
        " with changes" * bool(receipt["git_dirty"])
    )
    lines = ["", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]
    lines.append(
        f"`uv run speedrun.py {summary['size']} --seed {summary['seed']}` at commit {commit} on "
        f"{hardware['num_cores']} cores of {hardware['cpu']}, torch {versions['torch']}, Python "
        f"{versions['python']}."
    )
    return "\n".join([*lines, "", ""])


def _format_stages(stages: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {seconds:.0f}" for name, seconds in stages.items())


if __name__ == "__main__":
    sys.exit(run_command("update_readme", update_readme))

"""The table of tokenizer results in the unit's README."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_shared.files import replace_between

BEGIN = "<!-- tokenizer results: begin -->"
END = "<!-- tokenizer results: end -->"
CLASSES_BEGIN = "<!-- classes of text: begin -->"
CLASSES_END = "<!-- classes of text: end -->"
_UNITS = {"peak_mb": "MB", "us_per_text": "µs"}


def write_table(results: Mapping[str, Any], readme: Path) -> None:
    """Replace the block between the two markers of a README.

    Raises:
        ValueError: the markers are missing.
    """
    replace_between(readme, BEGIN, END, f"\n{render_table(results)}")


def render_table(results: Mapping[str, Any]) -> str:
    """Return the table as Markdown."""
    head = "| what | ours | peer | times better | bar | same output |"
    lines = ["", head, "|---|---|---|---|---|---|"]
    for row in results["rows"]:
        for peer in row["peers"]:
            mark = "" if peer["ratio"] >= peer["bar"] else " (missed)"
            lines.append(
                f"| {row['name']} | {_show(row['ours'], row)} "
                f"| {peer['name'].split(',')[0]} {_show(peer['value'], row)} "
                f"| {peer['ratio']:.2f} | {peer['bar']:.2g}{mark} "
                f"| {_answer(peer['same_output'])} |"
            )
    stream, training = results["stream"], results["train_stream"]
    corpora = results["corpora"]["files"]
    sizes = ", ".join(f"{name} {record['bytes'] / 1e6:.1f} MB" for name, record in corpora.items())
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines += [
        "",
        f"Encoding 1 GB through `encode_iterable` took {stream['growth_mb']:.0f} MB above the idle "
        f"process (bar 50 MB). Training on {training['bytes'] / 1e9:.1f} GB, of which each tenth "
        "has words of its own, far more than real text has, took "
        f"{training['peak_mb'] / 1e3:.1f} GB of memory and {training['wall_s']:.0f} s: memory "
        f"grows with the distinct words, not the text. Medians of {results['rounds']} rounds on "
        f"{results['device']}; "
        f"corpora: {sizes}; {versions}.",
        "",
    ]
    return "\n".join(lines)


def write_class_table(results: Mapping[str, Any], readme: Path) -> None:
    """Replace the block of the classes of text between its two markers of a README.

    Raises:
        ValueError: the markers are missing.
    """
    replace_between(readme, CLASSES_BEGIN, CLASSES_END, f"\n{render_class_table(results)}")


def render_class_table(results: Mapping[str, Any]) -> str:
    """Return the table of the classes of text as Markdown."""
    lines = [
        "",
        "| text | encode | plain path | tiktoken | times | train | tokenizers | times |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        ours, peer = row["encode_ours_mb_s"], row["encode_tiktoken_mb_s"]
        trained, their = row["train_ours_s"], row["train_tokenizers_s"]
        lines.append(
            f"| {row['name']} | {ours:.0f} MB/s | {row['encode_plain_mb_s']:.1f} MB/s "
            f"| {peer:.0f} MB/s | {ours / peer:.1f} | {trained:.2f} s | {their:.1f} s "
            f"| {their / trained:.0f} |"
        )
    first = results["first_use"]
    same = "the same" if all(row["same_ids"] for row in results["rows"]) else "NOT the same"
    lines += [
        "",
        f"{results['megabytes']:g} MB of each class, one thread, medians of {results['rounds']} "
        f"rounds of encoding, cold, with a vocabulary of 32,000 trained on all classes; ids are "
        f"{same}. The first `encode` of a new tokenizer takes {first['first_encode_ms']:.0f} ms, "
        f"the first use of the fast path {first['added_mb']:.0f} MB. Bar: 3 times better. "
        f"{results['device']}.",
        "",
    ]
    return "\n".join(lines)


def _show(value: float, row: Mapping[str, Any]) -> str:
    """Return a measurement with its unit; encoding and decoding as bytes per second."""
    if row["metric"] in _UNITS:
        return f"{value:.3g} {_UNITS[row['metric']]}"
    if row["bytes"]:
        return f"{row['bytes'] / value / 1e6:.0f} MB/s"
    return f"{value:.2f} s"


def _answer(same: bool | None) -> str:
    return "not compared" if same is None else ("yes" if same else "no")

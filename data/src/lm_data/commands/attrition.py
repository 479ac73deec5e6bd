"""The attrition of a curation as text."""

from lm_data.pipeline.receipts import CurateReceipt


def print_attrition(receipt: CurateReceipt) -> None:
    """Print what entered, what each step dropped and why, and what is left."""
    print(f"{'documents in':<18} {receipt.documents_in:>7}")
    for step, num_dropped, left in receipt.waterfall:
        print(f"{step:<18} {-num_dropped:>7} {left:>8} left")
        for reason, count in receipt.dropped.get(step, {}).items():
            print(f"    {reason:<22} {count:>6}")
    for split in ("train", "validation"):
        size = receipt.text_bytes[split] / 1e6
        print(f"{split:<18} {receipt.documents[split]:>7} {size:>8.2f} MB")
    print(f"masked: {receipt.masked}; boilerplate lines removed: {receipt.removed_lines}")

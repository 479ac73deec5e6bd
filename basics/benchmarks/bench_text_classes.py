r"""Our tokenizer on classes of text, beside its own plain path, tiktoken and tokenizers.

English has a space every few letters; data and many kinds of writing have none. Each class is
encoded cold, by a tokenizer that has seen no text, on one thread, and trained on; contenders take
turns and the medians are compared. Times are those of the processor. The vocabulary is trained on a
mixture of all classes, so that every one of them has long tokens, which is the hardest case. The
results go to ``results/cpu/text_classes.json``, from which ``--readme`` writes a table::

    uv run python -m basics.benchmarks.bench_text_classes --readme

Where ``rustbpe`` is installed (``uv run --with rustbpe==0.1.0 …``), it trains as well.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from basics.benchmarks.bench_tokenizer import ROOT, SPECIAL, describe_device
from basics.benchmarks.text_classes import TEXT_CLASSES, write_class
from basics.benchmarks.tokenizer_table import write_class_table
from lm_basics.tokenizer import GPT2_PATTERN, Tokenizer, compile_kernels, train_bpe_from_texts
from lm_shared.files import write_json

RESULTS = Path(__file__).parent / "results" / "cpu" / "text_classes.json"
VOCAB_SIZE = 32_000
TRAINED_VOCAB_SIZE = 8_000
MIXED_BYTES = 1_500_000
# Plain Python needs a minute for what the others do in a second.
PLAIN_SHARE = 8
FIRST_USE = """
import json, sys, time
from lm_basics.tokenizer import Tokenizer
from basics.benchmarks.tokenizer_contenders import resident_kib
tokenizer = Tokenizer.from_folder(sys.argv[1])
before = resident_kib()
tokenizer.encode("warm " * 100_000)
after = resident_kib()
again = Tokenizer(tokenizer.vocab, tokenizer.merges, implementation="fast")
start = time.perf_counter()
again.encode("hello")
print(json.dumps({"added_mb": (after - before) / 1000,
                  "first_encode_ms": 1e3 * (time.perf_counter() - start)}))
"""


def main() -> None:
    """Measure all classes and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--megabytes", type=float, default=6, help="text of each class")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--readme", action="store_true", help="write the table of the README")
    options = parser.parse_args()
    # Before the peer's threads start.
    os.environ["RAYON_NUM_THREADS"] = "1"
    compile_kernels()
    num_bytes = int(1e6 * options.megabytes)
    texts = {name: write_class(name, num_bytes) for name in TEXT_CLASSES}
    tokenizer = _train_mixed(texts)
    rows = []
    for name, text in texts.items():
        rows.append({"name": name, **_encode(tokenizer, text, options.rounds), **_train(text)})
        print(json.dumps(rows[-1]), flush=True)
    results = {
        "device": describe_device(),
        "megabytes": options.megabytes,
        "rounds": options.rounds,
        "rows": rows,
        "first_use": _measure_first_use(tokenizer),
    }
    write_json(options.output, results)
    print(f"wrote {options.output}")
    if options.readme:
        write_class_table(results, ROOT / "basics" / "README.md")


def _train_mixed(texts: Mapping[str, str]) -> Tokenizer:
    mixed = [text.encode()[:MIXED_BYTES].decode(errors="ignore") for text in texts.values()]
    vocab, merges = train_bpe_from_texts(mixed, VOCAB_SIZE, [SPECIAL])
    return Tokenizer(vocab, merges, [SPECIAL])


def _encode(tokenizer: Tokenizer, text: str, rounds: int) -> dict[str, Any]:
    """Return megabytes per second of all contenders, and whether the ids are the same."""
    import tiktoken

    specials = tokenizer.special_token_ids
    ranks = {token: i for i, token in tokenizer.vocab.items() if i not in specials.values()}
    peer = tiktoken.Encoding(
        "bench", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens=specials
    )
    megabytes = len(text.encode()) / 1e6
    speeds: dict[str, list[float]] = {"ours": [], "plain": [], "tiktoken": []}
    ids: dict[str, Any] = {}
    part = text[: len(text) // PLAIN_SHARE]
    for _ in range(rounds):
        fast, plain = (_fresh(tokenizer, kind) for kind in ("fast", "reference"))
        fast.encode("start")
        ids["ours"], seconds = _time(lambda fast=fast: fast.encode_to_numpy(text))
        speeds["ours"].append(megabytes / seconds)
        encoded, seconds = _time(lambda: peer.encode_to_numpy(text, disallowed_special=()))
        ids["tiktoken"] = encoded
        speeds["tiktoken"].append(megabytes / seconds)
        _, seconds = _time(lambda plain=plain: plain.encode_to_numpy(part))
        speeds["plain"].append(megabytes / PLAIN_SHARE / seconds)
    medians = {f"encode_{name}_mb_s": statistics.median(all_) for name, all_ in speeds.items()}
    return medians | {"same_ids": bool(np.array_equal(ids["ours"], ids["tiktoken"]))}


def _train(text: str) -> dict[str, Any]:
    """Return the seconds in which all contenders learn merges."""
    from tokenizers import Tokenizer as Peer, models, pre_tokenizers, trainers

    _, ours_s = _time(
        lambda: train_bpe_from_texts(
            [text], TRAINED_VOCAB_SIZE, [SPECIAL], num_threads=1, implementation="fast"
        )
    )
    peer = Peer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=TRAINED_VOCAB_SIZE,
        special_tokens=[SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    _, tokenizers_s = _time(lambda: peer.train_from_iterator([text], trainer))
    measured = {"train_ours_s": ours_s, "train_tokenizers_s": tokenizers_s}
    if importlib.util.find_spec("rustbpe") is not None:
        rustbpe = importlib.import_module("rustbpe").Tokenizer()
        size = TRAINED_VOCAB_SIZE - 1
        _, measured["train_rustbpe_s"] = _time(
            lambda: rustbpe.train_from_iterator(iter([text]), size, pattern=GPT2_PATTERN)
        )
    return measured


def _measure_first_use(tokenizer: Tokenizer) -> dict[str, float]:
    """Return what the fast path's first use costs, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(folder)
        command = [sys.executable, "-c", FIRST_USE, folder]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _fresh(tokenizer: Tokenizer, implementation: Any) -> Tokenizer:
    """Return a tokenizer that has seen no text."""
    return Tokenizer(tokenizer.vocab, tokenizer.merges, [SPECIAL], implementation=implementation)


def _time(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = call()
    return result, time.process_time() - start


if __name__ == "__main__":
    main()

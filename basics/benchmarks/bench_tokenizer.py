r"""Our tokenizer beside its peers, each measurement in a process of its own.

All contenders of a row take turns, three rounds by default, and the medians are compared; what they
give out is compared as well. The results go to ``results/<device>/tokenizer.json``, from which
``--readme`` writes the table of the unit's README. The corpora are built first where they are
missing; see ``corpora.py``. The peers come for this one command::

    uv run --with gigabpe==0.1.0 --with gigatoken==0.10.0 --with fastokens==0.3.5 \
        --with snaptokens==0.2.6 --with rustbpe==0.1.0 \
        python -m basics.benchmarks.bench_tokenizer --corpora FOLDER --readme
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from basics.benchmarks.corpora import RECORD_NAME, build_corpora
from basics.benchmarks.tokenizer_table import write_table
from lm_basics.tokenizer import Tokenizer, train_bpe
from lm_shared.files import read_json, write_json

ROOT = Path(__file__).parents[2]
CONTENDERS = Path(__file__).with_name("tokenizer_contenders.py")
RESULTS = Path(__file__).parent / "results" / "cpu" / "tokenizer.json"
PEERS = (
    "tokenizers",
    "tiktoken",
    "rustbpe",
    "gigabpe",
    "gigatoken",
    "fastokens",
    "snaptokens",
    "numba",
    "numpy",
    "regex",
)
SPECIAL = "<|endoftext|>"
STREAMED_BYTES = 1_000_000_000
TRAINED_TIMES = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One comparison."""

    name: str
    """What is measured, as the table names it."""
    task: str
    """Function of ``tokenizer_contenders.py``."""
    corpus: str
    """Name of a corpus."""
    contenders: tuple[str, ...]
    """Ours first."""
    bars: tuple[float, ...]
    """For every peer, how many times better we mean to be."""
    metric: str = "wall_s"
    """Number that is compared; smaller is better."""
    vocab_size: int = 32_000
    """Of trained vocabularies."""
    environment: Mapping[str, str] | None = None
    """Variables that keep a contender to one thread."""


ONE_THREAD = {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
ROWS = (
    Row(
        name="train, 50 MB",
        task="train",
        corpus="en50",
        contenders=("ours", "tokenizers", "rustbpe", "gigabpe"),
        bars=(10, 5, 1.3),
    ),
    Row(
        name="train, 200 MB",
        task="train",
        corpus="en200",
        contenders=("ours", "gigabpe", "rustbpe"),
        bars=(1.5, 7),
    ),
    Row(
        name="peak memory of training, 200 MB",
        task="train",
        corpus="en200",
        contenders=("ours", "rustbpe"),
        bars=(1 / 0.6,),
        metric="peak_mb",
    ),
    Row(
        name="encode to arrays, one thread, cold",
        task="encode",
        corpus="unseen20",
        contenders=("ours", "tiktoken", "gigatoken", "fastokens"),
        bars=(5, 1, 1),
        environment=ONE_THREAD,
    ),
    Row(
        name="encode to arrays, one thread, warm",
        task="encode",
        corpus="unseen20",
        contenders=("ours", "tiktoken", "gigatoken", "fastokens"),
        bars=(8, 1, 1),
        metric="warm_wall_s",
        environment=ONE_THREAD,
    ),
    Row(
        name="encode, all cores, cold",
        task="encode",
        corpus="unseen20",
        contenders=("ours, all cores", "tokenizers, all cores", "snaptokens, all cores"),
        bars=(20, 1.2),
    ),
    Row(
        name="encode to lists, one thread, cold",
        task="encode",
        corpus="unseen20",
        contenders=("ours, lists", "tiktoken, lists"),
        bars=(2.5,),
        environment=ONE_THREAD,
    ),
    Row(
        name="decode an array to bytes",
        task="decode",
        corpus="unseen20",
        contenders=("ours", "tiktoken"),
        bars=(5,),
    ),
    Row(
        name="decode a list to bytes",
        task="decode",
        corpus="unseen20",
        contenders=("ours, from a list", "tiktoken"),
        bars=(5,),
    ),
    Row(
        name="a string of 57 bytes",
        task="short_text",
        corpus="en5",
        contenders=("ours", "tiktoken"),
        bars=(1 / 1.5,),
        metric="us_per_text",
    ),
    Row(
        name="whole process, 5 MB, vocabulary of 10,000",
        task="train_process",
        corpus="en5",
        contenders=("ours", "tokenizers"),
        bars=(1,),
        metric="process_s",
        vocab_size=10_000,
    ),
)


def main() -> None:
    """Run all rows and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--corpora", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--readme", action="store_true", help="write the table of the README")
    options = parser.parse_args()
    corpora = build_corpora(options.corpora)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = _train_tokenizer(corpora["en50"], Path(folder) / "tokenizer")
        measurements = _measure_all(ROWS, corpora, tokenizer, options.rounds)
        job = {"contender": "ours", "corpus": str(corpora["en200"]), "tokenizer": str(tokenizer)}
        stream = _run(job | {"task": "stream", "bytes": STREAMED_BYTES})
        training = _run(
            job | {"task": "train_stream", "times": TRAINED_TIMES, "vocab_size": 32_000}
        )
    results = {
        "device": describe_device(),
        "versions": {name: importlib.metadata.version(name) for name in PEERS},
        "corpora": read_json(options.corpora / RECORD_NAME),
        "rounds": options.rounds,
        "rows": [_summarize(row, measurements) for row in ROWS],
        "stream": stream,
        "train_stream": training,
    }
    write_json(options.output, results)
    print(f"wrote {options.output}")
    if options.readme:
        write_table(results, ROOT / "basics" / "README.md")


def _train_tokenizer(corpus: Path, folder: Path) -> Path:
    """Train the vocabulary that all encoders use."""
    vocab, merges = train_bpe(corpus, 32_000, [SPECIAL], tie_breaking="smaller_id")
    Tokenizer(vocab, merges, [SPECIAL]).save(folder)
    return folder


def _measure_all(
    rows: Sequence[Row], corpora: Mapping[str, Path], tokenizer: Path, rounds: int
) -> dict[str, list[dict[str, Any]]]:
    """Return the measurements of every job; rows that share a job share its measurements."""
    measurements: dict[str, list[dict[str, Any]]] = {}
    for number in range(rounds):
        done: set[str] = set()
        for row in rows:
            for contender in row.contenders:
                key = _key(row, contender)
                if key in done:
                    continue
                done.add(key)
                job = {
                    "task": row.task,
                    "contender": contender,
                    "corpus": str(corpora[row.corpus]),
                    "vocab_size": row.vocab_size,
                    "tokenizer": str(tokenizer),
                    "output": str(tokenizer.parent / "trained"),
                }
                measured = _run(job, row.environment)
                measurements.setdefault(key, []).append(measured)
                print(f"round {number + 1}: {key}: {measured}", flush=True)
    return measurements


def _run(job: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run one job in a process of its own."""
    start = time.perf_counter()
    finished = subprocess.run(
        [sys.executable, str(CONTENDERS), json.dumps(job)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        raise RuntimeError(f"{job} failed: {finished.stderr[-2000:]}")
    measured = json.loads(finished.stdout.splitlines()[-1])
    return measured | {"process_s": time.perf_counter() - start}


def _summarize(row: Row, measurements: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the medians of a row and how we compare with each peer."""
    rounds = {contender: measurements[_key(row, contender)] for contender in row.contenders}
    medians = {
        contender: statistics.median(measured[row.metric] for measured in all_rounds)
        for contender, all_rounds in rounds.items()
    }
    digests = {contender: all_rounds[0].get("digest") for contender, all_rounds in rounds.items()}
    ours, *peers = row.contenders
    return {
        "name": row.name,
        "corpus": row.corpus,
        "metric": row.metric,
        "bytes": rounds[ours][0].get("bytes"),
        "ours": medians[ours],
        "peers": [
            {
                "name": peer,
                "value": medians[peer],
                "ratio": medians[peer] / medians[ours],
                "bar": bar,
                "same_output": None if digests[peer] is None else digests[peer] == digests[ours],
            }
            for peer, bar in zip(peers, row.bars, strict=True)
        ],
        "rounds": {
            contender: [measured[row.metric] for measured in all_rounds]
            for contender, all_rounds in rounds.items()
        },
    }


def _key(row: Row, contender: str) -> str:
    threads = "one thread" if row.environment else "all threads"
    return f"{row.task} | {row.corpus} | {contender} | {threads}"


def describe_device() -> str:
    """Return the processor and the number of its cores."""
    model = platform.processor() or platform.machine()
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.is_file():
        for line in cpu_info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


if __name__ == "__main__":
    main()

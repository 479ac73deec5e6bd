"""Curation: from crawl files to a corpus with a reason for every drop.

WARC -> text -> language -> rules -> masking, each document for itself; then exact duplicates, lines
and near duplicates over the whole corpus; then the split. The result is byte-identical for any
number of workers.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from lm_data.crawl.warc import CrawlCounts, find_crawl_files
from lm_data.deduplicate.lines import LineCounts
from lm_data.deduplicate.near_duplicates import (
    Clusters,
    cluster_documents,
    find_candidate_rows,
)
from lm_data.pipeline.global_steps import (
    DuplicatesByShard,
    ShingleFile,
    choose_validation,
    find_exact_duplicates,
    find_near_duplicates,
)
from lm_data.pipeline.passes import (
    Shard,
    Signed,
    count_lines,
    extract_shard,
    finish_shard,
    remove_boilerplate,
)
from lm_data.pipeline.receipts import RECEIPT_NAME, Attrition, CurateReceipt, build_receipt
from lm_data.pipeline.steps import CORPUS_CONTENTS, CurateConfig
from lm_data.shards import read_shard
from lm_shared.config import save_config
from lm_shared.files import atomic_folder, claim_folder
from lm_shared.processes import ProcessPool

WORK_FOLDER = "work"
CONFIG_NAME = "config.json"
SHINGLES_NAME = "shingles.bin"
MIN_KEPT = 2
"""A split needs a document on each side."""

Item = TypeVar("Item")
Result = TypeVar("Result")

Report = Callable[[str, int, int], None]
"""Called with a pass, the bytes of the crawl that it has gone through, and those that there are."""


@runtime_checkable
class Executor(Protocol):
    """Runs the work on shards; results come in the order of the items."""

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterable[Result]:
        """Give ``function(item)`` of each item, maybe one by one; the first error is raised."""
        ...


class SerialExecutor:
    """Runs everything in the calling process."""

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterable[Result]:
        """Give ``function(item)`` of each item as it is asked for."""
        return map(function, items)


class ProcessExecutor:
    """Runs items in processes of this machine; a context manager that ends them."""

    def __init__(self, workers: int) -> None:
        self._pool = ProcessPool(workers)

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterable[Result]:
        """Give ``function(item)`` of each item; the work goes on while they are asked for."""
        return self._pool.map(function, items)

    def __enter__(self) -> "ProcessExecutor":
        return self

    def __exit__(self, *error: Any) -> None:
        self._pool.__exit__(*error)


def curate(
    crawl: Path | str | Sequence[Path | str],
    folder: Path | str,
    config: CurateConfig,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    report: Report | None = None,
) -> CurateReceipt:
    """Curate a crawl into ``folder``, which is replaced as a whole.

    The folder then holds ``train``, ``validation`` and ``dropped`` with one Parquet shard per crawl
    file each, ``config.json``, and the receipt ``curation.json``.

    Args:
        crawl: A folder with WARC files, one such file, or a list of these.
        folder: Where the corpus goes.
        config: Settings of all steps.
        workers: Processes; with 1 everything runs in this process.
        executor: Where to run instead.
        report: Told of the progress.

    Raises:
        FileNotFoundError: A crawl file is missing.
        ValueError: The crawl holds no response, fewer than two documents are kept, or ``folder``
            contains a crawl file or something else than an earlier corpus.
    """
    files = find_crawl_files(crawl)
    destination = claim_folder(
        folder,
        "a curated corpus",
        markers=[RECEIPT_NAME],
        contents=CORPUS_CONTENTS,
        overwrite=True,
        inputs=files,
    )
    with atomic_folder(destination) as partial_folder, _open_executor(workers, executor) as running:
        shards = [
            Shard(
                crawl_path=path,
                path=partial_folder / WORK_FOLDER / f"{number:05d}.parquet",
                number=number,
            )
            for number, path in enumerate(files)
        ]
        receipt = _curate_shards(shards, partial_folder, config, _Passes(running, shards, report))
        # The documents between the passes; the outcome holds them all.
        rmtree(partial_folder / WORK_FOLDER)
        save_config(config, partial_folder / CONFIG_NAME)
        save_config(receipt, partial_folder / RECEIPT_NAME)
    return receipt


def _curate_shards(
    shards: list[Shard], folder: Path, config: CurateConfig, passes: "_Passes"
) -> CurateReceipt:
    extract = partial(extract_shard, config=config, on_read=passes.on_read)
    extracted = list(passes.run("extracting", extract, shards))
    crawl = CrawlCounts()
    for part in extracted:
        crawl.add(part.crawl)
    if crawl.responses == 0:
        met = ", ".join(f"{name} {number}" for name, number in asdict(crawl).items() if number)
        raise ValueError(f"the crawl is empty: no response in its files ({met or 'no records'})")

    exact = find_exact_duplicates(extracted)
    line_counts = LineCounts()
    count = partial(count_lines, config=config)
    for counts in passes.run("counting lines", count, _attach(shards, exact)):
        line_counts.add(counts)
    boilerplate = line_counts.find_boilerplate(config.lines)

    remove = partial(remove_boilerplate, boilerplate=boilerplate, config=config)
    signed = list(passes.run("removing lines", remove, shards))
    clusters = _cluster(shards, signed, config, folder / WORK_FOLDER)
    near = find_near_duplicates(signed, clusters)
    kept = [
        (name, size)
        for part, duplicates in zip(signed, near, strict=True)
        for row, name, size in zip(part.rows, part.ids, part.sizes, strict=True)
        if row not in duplicates
    ]
    if len(kept) < MIN_KEPT:
        raise ValueError(_describe_loss(shards, len(kept)))
    validation = choose_validation(kept, config.validation_share, seed=config.split_seed)

    attrition = Attrition()
    finish = partial(finish_shard, validation=validation, folder=folder)
    for part in passes.run("writing", finish, _attach(shards, near)):
        attrition.add(part)
    pairs = {"compared": clusters.num_candidates, "confirmed": clusters.num_confirmed}
    return build_receipt(attrition, crawl, pairs)


class _Passes:
    """Does one pass after another, and tells how far each is by the bytes of the crawl files."""

    def __init__(self, executor: Executor, shards: list[Shard], report: Report | None) -> None:
        self._executor = executor
        self._sizes = [shard.crawl_path.stat().st_size for shard in shards]
        self._report = report
        self._name, self._done = "", 0
        # What runs elsewhere cannot tell from there.
        self.on_read = self._tell if isinstance(executor, SerialExecutor) else None

    def run(
        self, name: str, function: Callable[[Shard], Result], shards: list[Shard]
    ) -> Iterator[Result]:
        """Yield what a pass makes of each shard."""
        self._name, self._done = name, 0
        self._tell()
        for size, result in zip(self._sizes, self._executor.map(function, shards), strict=True):
            self._done += size
            self._tell()
            yield result

    def _tell(self, num_bytes: int = 0) -> None:
        if self._report is not None:
            self._report(self._name, self._done + num_bytes, sum(self._sizes))


def _attach(shards: Sequence[Shard], duplicates: DuplicatesByShard) -> list[Shard]:
    return [replace(shard, duplicates=own) for shard, own in zip(shards, duplicates, strict=True)]


def _cluster(
    shards: Sequence[Shard], signed: Sequence[Signed], config: CurateConfig, work: Path
) -> Clusters:
    """Cluster the kept documents of all shards, counted through in the order of the shards."""
    signatures = np.concatenate([part.signatures for part in signed])
    shingles = ShingleFile(work / SHINGLES_NAME, config.minhash.ngram_size)
    rows = [(shard.path, part.rows) for shard, part in zip(shards, signed, strict=True)]
    shingles.write(rows, set(find_candidate_rows(signatures, config.minhash)))
    return cluster_documents(signatures, shingles.read, config.minhash)


def _describe_loss(shards: Sequence[Shard], num_kept: int) -> str:
    """Say where the documents went, for the error that ends a curation without a corpus."""
    reasons = Counter(
        f"{document.dropped_by}: {document.reason}"
        for shard in shards
        for document in read_shard(shard.path)
        if not document.is_kept
    )
    listed = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
    return (
        f"documents kept: {num_kept}, a corpus needs at least {MIN_KEPT}; "
        f"dropped by {listed or 'near-duplicate detection'}"
    )


def _open_executor(workers: int, executor: Executor | None) -> AbstractContextManager[Executor]:
    if executor is not None:
        return nullcontext(executor)
    return nullcontext(SerialExecutor()) if workers == 1 else ProcessExecutor(workers)

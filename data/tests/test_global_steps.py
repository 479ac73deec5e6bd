import random

import numpy as np
import pytest

from lm_data.crawl.warc import CrawlCounts
from lm_data.deduplicate.minhash import ShingleHasher
from lm_data.document import Document
from lm_data.pipeline.global_steps import ShingleFile, choose_validation, find_exact_duplicates
from lm_data.pipeline.passes import Extracted
from lm_data.shards import read_texts, write_shard


@pytest.fixture
def shards(tmp_path):
    """Three shards of four rows, of which rows 0, 2 and 3 count."""
    paths = [tmp_path / f"{number}.parquet" for number in range(3)]
    for number, path in enumerate(paths):
        texts = ["", *(f"words of {number} and {row} " * row for row in (1, 2, 3))]
        write_shard(path, [Document(id="", url="", text=text, source="") for text in texts])
    return [(path, [0, 2, 3]) for path in paths]


def test_shingles_of_candidates_come_back_in_any_order(shards, tmp_path):
    file = ShingleFile(tmp_path / "shingles.bin", 3)
    file.write(shards, {0, 1, 8, 4})
    texts = [list(read_texts(path))[row] for path, rows in shards for row in rows]
    for position in (8, 0, 4, 1):
        expected = ShingleHasher(3).hash_text(texts[position])
        np.testing.assert_array_equal(file.read(position), expected)


def test_shards_without_candidates_are_not_read(shards, tmp_path):
    shards[1][0].unlink()
    file = ShingleFile(tmp_path / "shingles.bin", 3)
    file.write(shards, {0, 1, 2, 7})
    assert len(file.read(7)) > 0
    with pytest.raises(FileNotFoundError):
        file.write(shards, {4})


def test_the_text_of_a_repeated_record_drops_nothing():
    # The second record of "a" is dropped for its id, so its text stays with "b" alone.
    part = Extracted(
        ids=["a", "a", "b", "c"], digests=[b"1", b"2", b"2", b"2"], crawl=CrawlCounts()
    )
    (dropped,) = find_exact_duplicates([part])
    assert {row: (one.reason, one.of) for row, one in dropped.items()} == {
        1: ("repeated_record", "a"),
        3: ("same_text", "b"),
    }


def make_sizes(count, seed=0):
    rng = random.Random(seed)
    return [(f"{n:016x}", rng.randrange(5_000, 100_000)) for n in range(count)]


@pytest.mark.parametrize("seed", range(8))
def test_share_holds_in_bytes_and_in_documents(seed):
    sizes = make_sizes(300, seed)
    chosen = choose_validation(sizes, 0.05)
    total = sum(size for _, size in sizes)
    share = sum(size for name, size in sizes if name in chosen) / total
    assert share == pytest.approx(0.05, abs=0.005)
    assert 8 <= len(chosen) <= 25


def test_order_of_documents_does_not_matter():
    sizes = make_sizes(100)
    shuffled = random.Random(1).sample(sizes, len(sizes))
    assert choose_validation(sizes, 0.1) == choose_validation(shuffled, 0.1)


def test_a_further_document_moves_few_others():
    sizes = make_sizes(300)
    before = choose_validation(sizes[:-1], 0.1)
    after = choose_validation(sizes, 0.1)
    assert len(before ^ after) <= 4


def test_seed_chooses_others():
    sizes = make_sizes(100)
    assert choose_validation(sizes, 0.1, seed=0) != choose_validation(sizes, 0.1, seed=1)


def test_a_tie_goes_to_the_larger_validation_set():
    # One document misses the target of 15 by as much as two.
    assert len(choose_validation([("a", 10), ("b", 10), ("c", 10)], 0.5)) == 2


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_both_sides_hold_a_document(share):
    for count in (2, 3, 10):
        assert 1 <= len(choose_validation(make_sizes(count), share)) < count


def test_impossible_splits_are_refused():
    with pytest.raises(ValueError, match="at least two documents, 1 were kept"):
        choose_validation(make_sizes(1), 0.1)
    with pytest.raises(ValueError, match=r"validation share 1\.0"):
        choose_validation(make_sizes(5), 1.0)

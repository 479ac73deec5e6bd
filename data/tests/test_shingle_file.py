import numpy as np
import pytest

from lm_data.deduplicate.shingles import ShingleHasher
from lm_data.document import Document
from lm_data.pipeline.shingle_file import ShingleFile
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

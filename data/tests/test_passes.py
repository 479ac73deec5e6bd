import numpy as np

from lm_data.deduplicate.near_duplicates import sign_texts
from lm_data.document import Document
from lm_data.pipeline.passes import Shard, hash_text, remove_boilerplate
from lm_data.pipeline.steps import CurateConfig
from lm_data.shards import read_shard, write_shard


def test_what_is_signed_are_the_rows_that_are_kept(tmp_path):
    texts = ["dropped before", "the café is open today\n" * 20, "words of another page " * 20]
    documents = [
        Document(id=str(row), url="", source="a.example", text=text)
        for row, text in enumerate(texts)
    ]
    documents[0] = documents[0].drop("rules", "too_few_words")
    shard = Shard(crawl_path=tmp_path / "a.warc", path=tmp_path / "a.parquet", number=0)
    write_shard(shard.path, documents)
    config = CurateConfig()
    signed = remove_boilerplate(shard, frozenset(), config)
    assert (signed.rows, signed.ids) == ([1, 2], ["1", "2"])
    assert signed.sizes == [len(text.encode()) for text in texts[1:]]
    assert signed.digests == [hash_text(document) for document in documents[1:]]
    np.testing.assert_array_equal(signed.signatures, sign_texts(texts[1:], config.minhash))
    after = list(read_shard(shard.path))
    assert [one.is_kept for one in after] == [False, True, True]
    assert [one.measurements.get("num_removed_lines") for one in after] == [None, 0, 0]

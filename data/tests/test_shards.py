import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lm_data.document import Document
from lm_data.shards import (
    find_measurement_types,
    iterate_texts,
    list_shards,
    read_shard,
    read_texts,
    write_shard,
)


def make(number, **measurements):
    return Document(
        id=f"{number:016x}",
        url=f"https://a.example/{number}",
        text=f"text {number}\n\u00e9",
        source="a.example",
        measurements=measurements,
    )


DOCUMENTS = [
    make(0, words=3, score=0.5, language="en"),
    make(1, words=4).drop("rules", "too_few_words"),
    make(2),
]


def test_documents_come_back_as_written(tmp_path):
    write_shard(tmp_path / "a.parquet", DOCUMENTS)
    assert list(read_shard(tmp_path / "a.parquet")) == DOCUMENTS


def test_every_measurement_is_a_typed_column(tmp_path):
    write_shard(tmp_path / "a.parquet", DOCUMENTS)
    schema = pq.read_schema(tmp_path / "a.parquet")
    assert schema.names == [
        *("id", "url", "source", "text", "dropped_by", "reason"),
        *("language", "score", "words"),
    ]
    assert schema.field("score").type == pa.float64()
    assert schema.field("words").type == pa.int64()


def test_empty_shard_has_the_columns_of_the_others(tmp_path):
    types = find_measurement_types(DOCUMENTS)
    write_shard(tmp_path / "a.parquet", DOCUMENTS, types)
    write_shard(tmp_path / "b.parquet", [], types)
    assert pq.read_schema(tmp_path / "a.parquet") == pq.read_schema(tmp_path / "b.parquet")
    assert list(read_shard(tmp_path / "b.parquet")) == []


def test_same_documents_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_shard(tmp_path / f"{name}.parquet", DOCUMENTS)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_texts_of_a_split_come_in_order_of_the_shards(tmp_path):
    write_shard(tmp_path / "train" / "00001.parquet", DOCUMENTS[1:])
    write_shard(tmp_path / "train" / "00000.parquet", DOCUMENTS[:1])
    assert list(iterate_texts(tmp_path, "train")) == [one.text for one in DOCUMENTS]
    with pytest.raises(FileNotFoundError, match=r"no documents in .*validation"):
        list_shards(tmp_path, "validation")


def test_measurement_types_widen_but_do_not_mix():
    assert find_measurement_types([make(0, x=1), make(1, x=0.5)]) == {"x": float}
    with pytest.raises(TypeError, match="'x' is both str and int"):
        find_measurement_types([make(0, x="a"), make(1, x=1)])


def test_damaged_or_foreign_files_are_named(tmp_path):
    path = tmp_path / "a.parquet"
    write_shard(path, DOCUMENTS)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"a\.parquet is damaged"):
        list(read_shard(path))
    pq.write_table(pa.table({"id": ["1"]}), path)
    with pytest.raises(ValueError, match="lacks the columns"):
        list(read_shard(path))


def test_texts_of_one_shard_come_in_order(tmp_path):
    documents = [Document(id=str(n), url="", text=f"text {n}", source="a") for n in range(5)]
    write_shard(tmp_path / "0.parquet", documents)
    assert list(read_texts(tmp_path / "0.parquet")) == [f"text {n}" for n in range(5)]

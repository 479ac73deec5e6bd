import random

import numpy as np
import pytest
from hypothesis import given, strategies as st

from data.tests import reference
from lm_data.deduplicate.minhash import MinHashConfig, ShingleHasher
from lm_data.deduplicate.near_duplicates import (
    UnionFind,
    cluster_documents,
    find_candidate_rows,
    sign_texts,
)
from lm_data.sample_crawl.sources import make_near_duplicate, read_messages


def make_texts():
    rng = random.Random(0)
    texts = []
    for message in read_messages(8):
        paragraphs = message.text.split("\n\n")[:20]
        texts.append("\n".join(paragraphs))
        for share in (0.001, 0.01, 0.06):
            texts.append("\n".join(make_near_duplicate(paragraphs, rng, changed_share=share)))
    rng.shuffle(texts)
    return texts


TEXTS = make_texts()


def cluster_texts(texts, config):
    hasher = ShingleHasher(config.ngram_size)
    return cluster_documents(
        sign_texts(texts, config), lambda row: hasher.hash_text(texts[row]), config
    )


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.95])
def test_clusters_equal_those_of_all_pairs(threshold):
    # Bands of two rows make every pair above 0.6 a candidate, to 1 in 10^7.
    config = MinHashConfig(num_hashes=128, num_bands=64, jaccard_threshold=threshold)
    clusters = cluster_texts(TEXTS, config)
    assert clusters.groups == reference.clusters(TEXTS, config.ngram_size, threshold)
    assert clusters.num_confirmed <= clusters.num_candidates


def test_a_chain_is_one_cluster_although_its_ends_differ():
    words = [f"w{n}" for n in range(120)]
    texts = [" ".join(words[start : start + 100]) for start in (0, 8, 16)]
    config = MinHashConfig(num_bands=64, ngram_size=1, jaccard_threshold=0.8)
    assert reference.jaccard(set(texts[0].split()), set(texts[2].split())) < 0.8
    clusters = cluster_texts(texts, config)
    assert clusters.groups == [[0, 1, 2]]


def cluster_by_hand(signatures, shingles, **config):
    return cluster_documents(
        np.array(signatures, dtype=np.uint64),
        lambda row: np.array(shingles[row], dtype=np.uint64),
        MinHashConfig(num_hashes=len(signatures[0]), **config),
    )


@pytest.mark.parametrize(("threshold", "groups"), [(0.8, [[0, 1]]), (0.81, [])])
def test_a_pair_at_the_threshold_is_joined(threshold, groups):
    shingles = [range(9), range(1, 10)]
    clusters = cluster_by_hand([[1], [1]], shingles, num_bands=1, jaccard_threshold=threshold)
    assert clusters.groups == groups
    assert (clusters.num_candidates, clusters.num_confirmed) == (1, len(groups))


def test_further_members_of_a_set_are_compared_too():
    # The second bucket holds all three, and its third row is like the second one only.
    shingles = [[1, 2, 3], [2, 3, 4], [3, 4, 5]]
    clusters = cluster_by_hand(
        [[5, 7], [5, 7], [6, 7]], shingles, num_bands=2, jaccard_threshold=0.5
    )
    assert clusters.groups == [[0, 1, 2]]


def test_in_a_large_bucket_the_rows_that_agree_best_are_compared():
    # The first band holds all; in the rest only the last two rows agree, and in one place only.
    signatures = [[1, 1, 10 + row, 20 + row] for row in range(12)]
    signatures[11][2] = signatures[10][2]
    shingles = [[row] for row in range(11)] + [[10]]
    clusters = cluster_by_hand(signatures, shingles, num_bands=2, jaccard_threshold=0.8)
    assert clusters.groups == [[10, 11]]


def test_only_candidates_are_read():
    texts = [message.text for message in read_messages(6)]
    config = MinHashConfig()
    clusters = cluster_documents(sign_texts(texts, config), {}.__getitem__, config)
    assert clusters.groups == []


def test_no_documents_have_no_clusters():
    config = MinHashConfig()
    assert cluster_documents(sign_texts([], config), {}.__getitem__, config).groups == []


def test_a_near_duplicate_changes_as_much_as_it_is_told():
    message = read_messages(5)[2]
    paragraphs = message.text.split("\n\n")
    for share, lowest, highest in ((0.0, 0.95, 1.0), (0.005, 0.88, 0.98), (0.05, 0.4, 0.75)):
        copy = make_near_duplicate(paragraphs, random.Random(1), changed_share=share)
        sets = reference.shingles(message.text, 5), reference.shingles("\n".join(copy), 5)
        assert lowest <= reference.jaccard(*sets) <= highest
        assert len(copy) == len(paragraphs) - 1


def test_many_copies_need_few_comparisons():
    # Nearly every pair is a candidate in nearly every band: 80,000 pairs, 16 times.
    words = read_messages(1)[0].text.split()[:400]
    texts = [" ".join([*words[:200], f"number{n}", *words[200:]]) for n in range(400)]
    clusters = cluster_texts(texts, MinHashConfig())
    assert clusters.groups == [list(range(400))]
    assert clusters.num_candidates < 2 * 400


def test_a_bucket_of_unlike_texts_needs_few_comparisons_and_joins_none():
    rng = random.Random(0)
    # A shared beginning, so that the single-row bands put most texts into common buckets.
    shared = [f"shared{n}" for n in range(100)]
    texts = [" ".join([*shared, *(f"w{rng.random()}" for _ in range(100))]) for _ in range(300)]
    config = MinHashConfig(num_hashes=8, num_bands=8, ngram_size=1)
    clusters = cluster_texts([*texts, texts[17] + " more"], config)
    assert clusters.groups == [[17, 300]]
    assert clusters.num_candidates <= 8 * 8 * 301


def test_candidate_rows_are_all_that_clustering_reads():
    config = MinHashConfig(jaccard_threshold=0.6)
    signatures = sign_texts(TEXTS, config)
    hasher, asked = ShingleHasher(config.ngram_size), set()

    def read(row):
        asked.add(row)
        return hasher.hash_text(TEXTS[row])

    cluster_documents(signatures, read, config)
    assert asked
    assert asked <= set(find_candidate_rows(signatures, config))


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40))
def test_sets_are_the_connected_components(pairs):
    sets = UnionFind(20)
    label = list(range(20))
    for first, second in pairs:
        assert sets.union(first, second) == (label[first] != label[second])
        label = [label[first] if one == label[second] else one for one in label]
    expected = {}
    for item, name in enumerate(label):
        expected.setdefault(name, []).append(item)
    assert sorted(sets.groups()) == sorted(expected.values())


def test_groups_are_ordered_by_their_smallest_item():
    sets = UnionFind(5)
    sets.union(4, 1)
    sets.union(3, 0)
    assert sets.groups() == [[0, 3], [1, 4], [2]]

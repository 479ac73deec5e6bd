import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, strategies as st

from data.tests import reference
from lm_data.deduplicate.minhash import (
    MinHashConfig,
    MinHasher,
    ShingleHasher,
    candidate_probability,
    estimate_jaccard,
    find_candidates,
    jaccard,
    normalize_text,
    splitmix64,
)

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=30).map(" ".join)


def test_normalization_removes_case_accents_punctuation_and_spaces():
    assert (
        normalize_text(" The  Caf\u00e9's\n(old) na\u00efve\u2014NAME_x! ")
        == "the cafes old naive name x"
    )


@given(st.text(max_size=60))
def test_normalization_equals_the_plain_version_and_is_idempotent(text):
    # Titles of letters that fold differently once decomposed are left to the plain version.
    once = normalize_text(text)
    assert normalize_text(once) == once
    if text.isascii():
        assert once == reference.normalize(text)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@given(first=WORDS, second=WORDS)
def test_hashed_shingles_have_the_similarity_of_the_sets(size, first, second):
    hasher = ShingleHasher(size)
    sets = reference.shingles(first, size), reference.shingles(second, size)
    hashes = hasher.hash_text(first), hasher.hash_text(second)
    assert [len(one) for one in hashes] == [len(one) for one in sets]
    assert jaccard(*hashes) == pytest.approx(reference.jaccard(*sets))


def test_order_of_words_counts():
    hasher = ShingleHasher(2)
    assert jaccard(hasher.hash_text("one two"), hasher.hash_text("two one")) == 0.0


def test_short_text_is_one_shingle_and_empty_text_none():
    hasher = ShingleHasher(5)
    assert len(hasher.hash_text("only three words")) == 1
    assert len(hasher.hash_text(" ... ")) == 0


def test_hashes_are_the_same_in_every_process():
    # Computed once from the definition; Python's own hash of a string changes with the process.
    assert ShingleHasher(1).hash_text("one").tolist() == ShingleHasher(1).hash_text("ONE").tolist()
    assert splitmix64(0, 2).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


def test_splitmix_numbers_are_evenly_spread():
    bits = np.unpackbits(splitmix64(7, 4096).view(np.uint8))
    assert abs(bits.mean() - 0.5) < 0.005


def test_empty_ngrams_are_refused():
    with pytest.raises(ValueError, match="ngram_size=0"):
        ShingleHasher(0)


NUM_HASHES = 256


def make_pair(similarity, seed, size=600):
    """Two sets of hashes with a given Jaccard similarity."""
    shared = round(2 * size * similarity / (1 + similarity))
    hashes = splitmix64(seed, 2 * size - shared)
    return hashes[:size], hashes[size - shared :]


@pytest.mark.parametrize("similarity", [0.0, 0.2, 0.5, 0.8, 0.95, 1.0])
def test_estimate_is_unbiased_with_the_error_of_theory(similarity):
    hasher = MinHasher(NUM_HASHES)
    pairs = [make_pair(similarity, seed) for seed in range(60)]
    estimates = [estimate_jaccard(hasher.sign(a), hasher.sign(b)) for a, b in pairs]
    deviation = np.sqrt(similarity * (1 - similarity) / NUM_HASHES)
    assert np.mean(estimates) == pytest.approx(similarity, abs=4 * deviation / np.sqrt(60) + 0.002)
    if 0 < similarity < 1:
        assert np.std(estimates) == pytest.approx(deviation, rel=0.35)


def test_estimates_agree_with_datasketch():
    hasher = MinHasher(NUM_HASHES)
    differences = []
    for seed, similarity in enumerate(np.linspace(0.1, 0.95, 30)):
        first, second = make_pair(similarity, seed)
        theirs = []
        for hashes in (first, second):
            signature = MinHash(num_perm=NUM_HASHES)
            signature.update_batch([int(one).to_bytes(8, "little") for one in hashes])
            theirs.append(signature)
        ours = estimate_jaccard(hasher.sign(first), hasher.sign(second))
        differences.append(ours - theirs[0].jaccard(theirs[1]))
    # Two independent estimates differ by sqrt(2) standard errors, 0.044 at the most here.
    assert abs(np.mean(differences)) < 0.03
    assert np.sqrt(np.mean(np.square(differences))) < 0.06


def test_signature_is_the_least_value_of_each_permutation():
    shingles = splitmix64(3, 50)
    parameters = [int(one) for one in splitmix64(11, 8)]
    expected = [
        min((int(h) * (a | 1) + b) % 2**64 for h in shingles)
        for a, b in zip(parameters[:4], parameters[4:], strict=True)
    ]
    assert MinHasher(4, seed=11).sign(shingles).tolist() == expected


def test_signature_of_a_union_is_the_least_of_the_signatures():
    hasher = MinHasher(64)
    a, b = splitmix64(1, 300), splitmix64(2, 300)
    union = hasher.sign(np.union1d(a, b))
    np.testing.assert_array_equal(union, np.minimum(hasher.sign(a), hasher.sign(b)))


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.9])
def test_pairs_become_candidates_as_often_as_the_s_curve_says(similarity):
    num_pairs, num_bands = 400, 8
    hasher = MinHasher(32)
    signatures = [
        hasher.sign(one)
        for seed in range(num_pairs)
        for one in make_pair(similarity, 1000 + seed, size=150)
    ]
    buckets = find_candidates(np.array(signatures), num_bands)
    found = {tuple(bucket) for bucket in buckets}
    share = sum((2 * pair, 2 * pair + 1) in found for pair in range(num_pairs)) / num_pairs
    expected = candidate_probability(similarity, 32, num_bands)
    assert share == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / num_pairs))


def test_s_curve_has_the_values_of_the_literature():
    assert candidate_probability(0.8, 100, 10) == pytest.approx(0.68, abs=0.005)
    assert candidate_probability(0.8, 500, 50) == pytest.approx(0.997, abs=0.0005)
    assert candidate_probability(0.0, 100, 10) == 0.0
    assert candidate_probability(1.0, 100, 10) == 1.0


def test_equal_rows_in_different_bands_are_no_candidates():
    signatures = np.array([[1, 2, 3, 4], [3, 4, 1, 2], [1, 2, 9, 9]], dtype=np.uint64)
    assert find_candidates(signatures, 2) == [[0, 2]]


def test_documents_without_shingles_are_no_candidates():
    hasher = MinHasher(8)
    empty = hasher.sign(np.array([], dtype=np.uint64))
    assert find_candidates(np.array([empty, empty]), 4) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_hashes": 100, "num_bands": 16}, "num_hashes=100 is not divisible by num_bands=16"),
        ({"num_bands": 0}, "num_bands=0"),
        ({"jaccard_threshold": 0.0}, r"jaccard_threshold=0\.0"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        MinHashConfig(**fields)

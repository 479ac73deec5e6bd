import numpy as np
import pytest
from hypothesis import given, strategies as st

from data.tests import reference
from lm_data.deduplicate.shingles import ShingleHasher, jaccard, normalize_text, splitmix64

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

import os
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from basics.tests.division_folder import write_data
from lm_basics.leaderboard import DIVISIONS, division_data, make_laptop_data, open_division_data
from lm_basics.leaderboard.division_data import _hash_windows, validation_overlap
from lm_shared.leaderboard import restrict_cores

LAPTOP = DIVISIONS["laptop"]


def test_the_course_gives_the_limits():
    course = {name: DIVISIONS[name] for name in ("openwebtext", "openwebtext-b200")}
    assert [one.time_limit_s / 60 for one in course.values()] == [90, 45]
    assert {one.vocab_size for one in course.values()} == {32_000}
    assert {one.context_length for one in DIVISIONS.values()} == {512}
    assert LAPTOP.time_limit_s == 300
    assert LAPTOP.max_cores == 2


@given(
    tokens=st.lists(st.integers(0, 2), min_size=1, max_size=60),
    length=st.integers(1, 40),
)
@settings(deadline=None)
def test_windows_have_equal_hashes_exactly_where_they_are_equal(tokens, length):
    length = min(length, len(tokens))
    windows = [tuple(tokens[i : i + length]) for i in range(len(tokens) - length + 1)]
    hashes = _hash_windows(np.array(tokens, dtype=np.uint16), length)
    assert len(hashes) == len(windows)
    assert len(set(zip(windows, hashes.tolist(), strict=True))) == len(set(windows))
    assert len(set(hashes.tolist())) == len(set(windows))


def test_overlap_is_the_share_of_windows_that_occur(monkeypatch):
    # Blocks far smaller than the text: windows that lie across their borders are found, too.
    monkeypatch.setattr(division_data, "_BLOCK_TOKENS", 100)
    random = np.random.default_rng(0)
    train = random.integers(0, 30_000, 5_000).astype(np.uint16)
    other = random.integers(0, 30_000, 1_000).astype(np.uint16)
    assert validation_overlap(train, other) == 0
    assert validation_overlap(train, train[1_234:1_734]) == 1
    half = np.concatenate([other[:500], train[3_333:3_833]])
    windows = len(half) - 64 + 1
    assert validation_overlap(train, half) == pytest.approx((500 - 63) / windows, abs=1 / windows)


def test_text_shorter_than_a_window_is_compared_whole():
    train = np.arange(100, dtype=np.uint16)
    assert validation_overlap(train, train[10:20]) == 1
    assert validation_overlap(train, train[10:20][::-1].copy()) == 0


def test_data_folder_is_opened(tmp_path):
    write_data(tmp_path)
    data = open_division_data(tmp_path, LAPTOP)
    assert data.end_of_text == 256
    assert data.train.num_tokens == len("some text") + 1
    assert data.hashes().keys() == {"train", "validation", "tokenizer"}


def test_every_token_counts_in_the_hash(tmp_path):
    write_data(tmp_path / "a", texts=["x" * 10_000])
    write_data(tmp_path / "b", texts=["x" * 4_321 + "y" + "x" * 5_678])
    a, b = (open_division_data(tmp_path / name, LAPTOP).hashes() for name in "ab")
    assert a["train"] != b["train"]
    assert a["tokenizer"] == b["tokenizer"]


def test_data_of_another_vocabulary_or_tokenizer_is_refused(tmp_path):
    write_data(tmp_path / "a")
    with pytest.raises(ValueError, match="has 257 tokens, but the division openwebtext asks for"):
        open_division_data(tmp_path / "a", DIVISIONS["openwebtext"])
    write_data(tmp_path / "b", special_tokens=("<|end|>", "<|more|>"))
    with pytest.raises(ValueError, match=r"has no <\|endoftext\|>"):
        open_division_data(tmp_path / "b", LAPTOP)
    (tmp_path / "b" / "train.bin").rename(tmp_path / "a" / "train.bin")
    for path in (tmp_path / "b").glob("train.*"):
        path.rename(tmp_path / "a" / path.name)
    with pytest.raises(ValueError, match="was not made by the tokenizer"):
        open_division_data(tmp_path / "a", LAPTOP)
    with pytest.raises(FileNotFoundError):
        open_division_data(tmp_path / "c", LAPTOP)


def test_laptop_data_is_the_same_every_time(tmp_path):
    first, second = (make_laptop_data(tmp_path / name, vocab_size=300) for name in "ab")
    assert first.hashes() == second.hashes()
    overlap = validation_overlap(first.train.tokens, first.validation.tokens)
    assert overlap < division_data.MAX_OVERLAP


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot bind a process to cores")
def test_cores_are_restricted_and_given_back():
    before, threads = os.sched_getaffinity(0), torch.get_num_threads()
    with restrict_cores(1):
        assert len(os.sched_getaffinity(0)) == 1
        assert torch.get_num_threads() == 1
    assert os.sched_getaffinity(0) == before
    assert torch.get_num_threads() == threads
    with restrict_cores(replace(LAPTOP, max_cores=None).max_cores):
        assert os.sched_getaffinity(0) == before

import lzma
import random
from dataclasses import replace

import numpy as np
import pytest

from lm_basics.token_files.token_file import write_token_file
from lm_data.baselines import ngram_bits_per_byte, xz_bits_per_byte
from lm_data.sample_crawl.sources import read_messages

TRAINING = "\n".join(message.text for message in read_messages(8)).encode()
HELD_OUT = read_messages(12)[7].text.encode()


def write_bytes_as_tokens(path, texts):
    documents = [np.frombuffer(text, dtype=np.uint8).astype(np.int64) for text in texts]
    return replace(
        write_token_file(path, documents, vocab_size=256, vocab_hash="bytes"),
        num_bytes=sum(map(len, texts)),
    )


def test_xz_equals_the_plain_preset():
    plain = [
        len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
        for text in (TRAINING, TRAINING + HELD_OUT)
    ]
    expected = 8 * (plain[1] - plain[0]) / len(HELD_OUT)
    assert xz_bits_per_byte(TRAINING, HELD_OUT) == pytest.approx(expected, rel=0.002)


def test_seen_text_costs_nothing_and_noise_eight_bits():
    assert xz_bits_per_byte(TRAINING, TRAINING[1000:9000]) < 0.1
    assert xz_bits_per_byte(TRAINING, random.Random(0).randbytes(20_000)) == pytest.approx(
        8, rel=0.03
    )


def test_what_was_seen_first_in_a_long_text_is_within_reach():
    noise = random.Random(1).randbytes(1_300_000)
    assert xz_bits_per_byte(noise, noise[:20_000]) < 0.5


def test_training_text_helps_and_documents_are_joined():
    alone = xz_bits_per_byte(b"", HELD_OUT)
    assert 1.5 < xz_bits_per_byte(TRAINING, HELD_OUT) < alone
    parts = [HELD_OUT[:5000], HELD_OUT[5000:]]
    assert xz_bits_per_byte(TRAINING, parts) == xz_bits_per_byte(TRAINING, HELD_OUT)


def test_no_held_out_text_is_refused():
    with pytest.raises(ValueError, match="held_out is empty"):
        xz_bits_per_byte(TRAINING, [])


def test_ngram_model_over_bytes_beats_order_one_and_lies_near_xz(tmp_path):
    training = write_bytes_as_tokens(tmp_path / "training.bin", [TRAINING])
    held_out = write_bytes_as_tokens(tmp_path / "held_out.bin", [HELD_OUT])
    unigram = ngram_bits_per_byte(training, held_out, order=1)
    counts = np.bincount(np.frombuffer(TRAINING, dtype=np.uint8), minlength=256) / len(TRAINING)
    observed = counts[np.frombuffer(HELD_OUT, dtype=np.uint8)]
    entropy = -np.log2(np.maximum(observed, 1e-7)).mean()
    assert unigram == pytest.approx(entropy, rel=0.25)
    assert 1.8 < ngram_bits_per_byte(training, held_out, order=5) < 2.8 < unigram


def test_files_that_do_not_fit_are_refused(tmp_path):
    training = write_bytes_as_tokens(tmp_path / "training.bin", [b"abc"])
    with pytest.raises(ValueError, match=r"vocab_size=256 .* differs from 512"):
        ngram_bits_per_byte(training, replace(training, vocab_size=512))
    with pytest.raises(ValueError, match="does not record the bytes"):
        ngram_bits_per_byte(training, replace(training, num_bytes=None))

"""Both kinds of n-gram model side by side, and the command that shows them."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from basics.tests.ngram_documents import zipf_documents
from lm_basics.commands import ngram as command
from lm_basics.commands.main import main
from lm_basics.ngram import KneserNeyModel, StupidBackoffModel, compare_ngrams
from lm_basics.token_files.token_file import TokenFile, write_token_file
from lm_shared.files import read_json


@pytest.fixture
def files(tmp_path: Path) -> tuple[TokenFile, TokenFile]:
    documents = zipf_documents(120, 30, seed=4)
    return tuple(
        write_token_file(
            tmp_path / f"{name}.bin", part, vocab_size=30, vocab_hash="x", num_bytes=num_bytes
        )
        for name, part, num_bytes in (
            ("train", documents[:90], None),
            ("held_out", documents[90:], 3000),
        )
    )  # type: ignore[return-value]


def test_every_order_and_kind_is_measured(files: tuple[TokenFile, TokenFile]) -> None:
    training, held_out = files
    results = compare_ngrams(training, held_out, orders=(2, 1))
    assert [(result.model, result.order) for result in results] == [
        ("kneser_ney", 2),
        ("stupid_backoff", 2),
        ("kneser_ney", 1),
        ("stupid_backoff", 1),
    ]
    for result in results:
        kind = KneserNeyModel if result.model == "kneser_ney" else StupidBackoffModel
        model = kind.fit(
            training.tokens,
            vocab_size=30,
            order=result.order,
            document_starts=training.document_starts,
        )
        nats = -model.log_probabilities(held_out.tokens, held_out.document_starts)
        bits = nats.sum() / math.log(2)
        assert result.bits_per_token == pytest.approx(bits / len(nats), rel=1e-12)
        assert result.bits_per_byte == pytest.approx(bits / 3000, rel=1e-12)


def test_what_cannot_be_compared_is_refused(files: tuple[TokenFile, TokenFile]) -> None:
    training, held_out = files
    with pytest.raises(ValueError, match="come from different tokenizers"):
        compare_ngrams(training, replace(held_out, vocab_hash="y"), orders=(1,))
    for orders in ((), (2, 0)):
        with pytest.raises(ValueError, match="expected orders of at least 1, got "):
            compare_ngrams(training, held_out, orders=orders)
    with pytest.raises(ValueError, match=r"expected each order once, got \[2, 1, 2\]"):
        compare_ngrams(training, held_out, orders=(2, 1, 2))


def test_the_command_shows_what_it_writes(
    files: tuple[TokenFile, TokenFile], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training, held_out = files
    output = tmp_path / "ngrams.json"
    command = ["ngram", "--tokens", str(training.path), "--validation", str(held_out.path)]
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--orders", "1", "3", "--output", str(output)])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    written = read_json(output)
    assert [line["order"] for line in written] == [1, 1, 3, 3]
    for line in written:
        assert f"{line['bits_per_token']:.4f}" in printed
        assert f"{line['bits_per_byte']:.4f}" in printed
    assert f"{held_out.num_tokens:,} tokens predicted" in printed
    assert "stupid backoff gives no probabilities: its scores are divided by their sum" in printed
    # Without a tokenizer nothing could be generated.
    assert printed.endswith(f"wrote {output}\n")
    # The bytes of the training text were never told: there are none to divide by.
    with pytest.raises(SystemExit):
        main([*command[:4], str(training.path), "--orders", "1"])
    assert " - " in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".bin", ".json", ".offsets.bin"])
def test_the_command_never_replaces_a_file_of_its_tokens(
    files: tuple[TokenFile, TokenFile], capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    training, held_out = files
    command = ["ngram", "--tokens", str(training.path), "--validation", str(held_out.path)]
    for file in files:
        output = file.path.with_suffix(suffix)
        before = output.read_bytes()
        with pytest.raises(SystemExit) as stopped:
            main([*command, "--orders", "1", "--output", str(output), "--overwrite"])
        assert stopped.value.code == 2
        assert "would replace the input" in capsys.readouterr().err
        assert output.read_bytes() == before


def test_a_larger_order_helps_both_kinds(files: tuple[TokenFile, TokenFile]) -> None:
    results = compare_ngrams(*files, orders=(1, 2))
    bits = {(result.model, result.order): result.bits_per_token for result in results}
    for model in ("kneser_ney", "stupid_backoff"):
        assert bits[model, 2] < bits[model, 1] - 0.3
    assert np.isfinite(list(bits.values())).all()


def test_a_folder_as_output_is_refused_before_any_counting(
    files: tuple[TokenFile, TokenFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "lm_basics.ngram.comparison.compare_ngrams", lambda *_, **__: pytest.fail("counted")
    )
    with pytest.raises(ValueError, match="is a folder, expected a file"):
        command.compare_ngram_models(
            tokens=files[0].path, validation=files[1].path, output=tmp_path
        )

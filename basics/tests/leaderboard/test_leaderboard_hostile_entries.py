"""Damaged and hostile entries are a broken rule or one clear error, never a crash."""

from dataclasses import replace

import pytest

from basics.tests.leaderboard_entries import (
    ABOUT,
    LAPTOP,
    broken_rules,
    detail,
    make_recipe,
    submit,
)
from lm_basics.leaderboard import (
    run_entry,
    verify_entry,
)
from lm_shared.files import read_json, write_json, write_text
from lm_shared.leaderboard import SUBMISSION_NAME

pytestmark = pytest.mark.usefixtures("momentary")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"step": 7, ', '"step": 8, '),
        ('"elapsed_s": ', '"elapsed_s": -'),
        ('"elapsed_s": ', '"elapsed_s": NaN, "was": '),
        ('"loss": ', '"loss": null, "was": '),
        ('"loss": ', '"loss": "abc", "was": '),
    ],
)
def test_record_with_other_things_than_numbers_is_found(entry, data, old, new):
    path = entry / "run" / "metrics.jsonl"
    write_text(path, path.read_text().replace(old, new))
    submit(entry)
    assert broken_rules(entry, data) == {"record"}


@pytest.mark.parametrize("field", ["d_model", "vocab_size", "context_length"])
def test_absurd_numbers_break_a_rule_and_not_the_verifier(entry, data, field):
    recipe = read_json(entry / "recipe.json")
    recipe["model"][field] = 2**600
    write_json(entry / "recipe.json", recipe)
    submit(entry)
    assert broken_rules(entry, data)


def test_hardware_that_a_division_refuses_is_told_before_the_run(tmp_path, data, caplog):
    division = replace(LAPTOP, gpu="H100")
    run_entry(division, make_recipe(steps=1), data, tmp_path / "entry", about=ABOUT, device="cpu")
    assert "allowed is one H100: an entry for laptop would be refused" in caplog.text


def test_files_that_changed_since_the_run_are_named(entry, data):
    (entry / "curve.svg").write_text("")
    (entry / "model" / "tokenizer.json").unlink()
    assert "files" in broken_rules(entry, data)
    found = detail(entry, "files")
    assert "model/tokenizer.json" in found
    assert "curve.svg" in found


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("model/model.safetensors", "score"),
        ("run/checkpoints/step-00000003.safetensors", "replay"),
        ("run/metrics.jsonl", "record"),
        ("run/receipt.json", "record"),
        ("recipe.json", "record"),
    ],
)
def test_damaged_files_are_a_broken_rule_and_no_crash(entry, data, name, rule):
    (entry / name).write_bytes((entry / name).read_bytes()[:-200] + b"\n")
    submit(entry)
    assert rule in broken_rules(entry, data)
    assert detail(entry, rule)


def test_missing_checkpoint_of_the_last_step_is_named(entry, data):
    (entry / "run/checkpoints/step-00000020.safetensors").unlink()
    submit(entry)
    assert broken_rules(entry, data) == {"checkpoints"}
    assert "no checkpoint of step 20" in detail(entry, "checkpoints")


def test_finished_entry_is_not_written_again(entry, data):
    before = (entry / SUBMISSION_NAME).read_bytes()
    about = replace(ABOUT, name="another")
    with pytest.raises(ValueError, match="holds a finished entry"):
        run_entry(LAPTOP, make_recipe(), data, entry, about=about, device="cpu")
    assert (entry / SUBMISSION_NAME).read_bytes() == before
    with pytest.raises(ValueError, match="is for CPUs, got device='cuda'"):
        run_entry(LAPTOP, make_recipe(), data, entry / "x", about=about, device="cuda")


def test_folder_of_somebodys_models_is_left_alone(tmp_path, data):
    thesis = tmp_path / "model" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    with pytest.raises(
        ValueError, match=r"holds thesis\.txt and is not a model: nothing is replaced"
    ):
        run_entry(LAPTOP, make_recipe(), data, tmp_path, about=ABOUT, device="cpu")
    assert thesis.read_text() == "years of work"


def test_folder_that_is_no_entry_is_named(tmp_path, data):
    with pytest.raises(FileNotFoundError, match="expected an entry in"):
        verify_entry(tmp_path, data)


def test_unknown_division_is_named(entry, data):
    submission = read_json(entry / SUBMISSION_NAME)
    write_json(entry / SUBMISSION_NAME, submission | {"division": "phone"})
    with pytest.raises(ValueError, match="of the division 'phone': known are laptop"):
        verify_entry(entry, data)

"""The verifier finds nothing in an honest entry, and finds every cheat that we could think of."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from basics.tests.leaderboard_entries import (
    ABOUT,
    LAPTOP,
    broken_rules,
    detail,
    make_data,
    make_recipe,
    make_texts,
    submit,
)
from lm_basics.export import load_model
from lm_basics.leaderboard import (
    DIVISIONS,
    EntryRecipe,
    entry_run,
    run_entry,
    verify_entry,
)
from lm_basics.leaderboard.entry_run import score_model
from lm_basics.leaderboard.replay import listed_milestones, read_record
from lm_basics.leaderboard.verify import check_milestones
from lm_basics.training import loop
from lm_basics.training.data import fingerprint
from lm_basics.training.snapshot import pack, unpack
from lm_basics.transformer import COMPILES
from lm_shared.config import load_config, save_config
from lm_shared.files import write_text
from lm_shared.leaderboard import SUBMISSION_NAME, Check, Submission, check_files, read_entry
from lm_shared.receipt import Receipt
from lm_shared.runs import read_metrics

pytestmark = pytest.mark.usefixtures("momentary")


@pytest.mark.parametrize("full", [False, True])
def test_honest_entry_breaks_no_rule(entry, data, full):
    assert broken_rules(entry, data, full=full) == set()
    assert "differ by at most 0 nats" in detail(entry, "replay")
    last = "steps 19 to 20" if not full else "steps 1 to 20"
    assert last in detail(entry, "replay")
    assert "step 20: the checkpoint there" in detail(entry, "replay")


def test_what_takes_its_time_is_told_before(tmp_path, data, monkeypatch, caplog):
    build = entry_run.build_model
    monkeypatch.setattr(
        entry_run, "build_model", lambda recipe, device: build(make_recipe(), device)
    )
    caplog.set_level(logging.INFO)
    recipe = replace(make_recipe(), compile=True)
    run_entry(LAPTOP, recipe, data, tmp_path / "entry", about=ABOUT, device="cpu")
    scoring = f"scoring the model on {data.validation.num_tokens:,} held-out tokens"
    assert [one for one in caplog.messages if one in (COMPILES, scoring)] == [COMPILES, scoring]


def publish(entry):
    """Leave out the weights, as entries are published."""
    shutil.rmtree(entry / "model")
    shutil.rmtree(entry / "run" / "checkpoints")


def test_published_entry_is_judged_by_doing_its_run_again(entry, data):
    publish(entry)
    with pytest.raises(ValueError, match="comes without weights, as entries are published: only"):
        broken_rules(entry, data)
    assert not (entry / "verification.json").exists()
    assert broken_rules(entry, data, full=True) == set()
    assert "steps 1 to 20: the losses differ by at most 0 nats" in detail(entry, "replay")
    assert "the other 11 are not published" in detail(entry, "files")


def test_published_entry_without_milestones_is_found(tmp_path, data, monkeypatch):
    recipe = make_recipe()
    few = replace(recipe.training, checkpoint_every=None, keep_checkpoints=1)
    monkeypatch.setattr(entry_run, "check_recipe", lambda *_: None)
    entry = tmp_path / "entry"
    run_entry(LAPTOP, replace(recipe, training=few), data, entry, about=ABOUT, device="cpu")
    publish(entry)
    assert broken_rules(entry, data, full=True) == {"checkpoints"}


def test_submission_that_never_listed_its_weights_is_found(entry, data):
    publish(entry)
    submit(entry)
    assert broken_rules(entry, data, full=True) == {"checkpoints"}


ENTRIES = Path(__file__).parents[2] / "leaderboard"


@pytest.mark.parametrize(
    "entry", [path.parent for path in ENTRIES.rglob(SUBMISSION_NAME)], ids=lambda one: one.name
)
def test_our_entries_are_whole_but_for_their_weights(entry):
    ours = read_entry(entry)
    record = read_record(entry, ours.submission)
    checked = check_files(entry, ours.submission, absent=("model/", "run/checkpoints/"))
    assert checked.passed, checked.detail
    assert (entry / "run" / "config.json").is_file()
    assert check_milestones(record, listed_milestones(ours.submission)).passed
    assert ours.verification is not None
    assert ours.verification.passed


def test_score_that_the_run_of_a_published_entry_does_not_reach_is_found(entry, data):
    publish(entry)
    path = entry / SUBMISSION_NAME
    claimed = load_config(Submission, path)
    save_config(replace(claimed, score=claimed.score - 0.01), path)
    assert broken_rules(entry, data, full=True) == {"score"}
    (entry / "curve.svg").unlink()
    assert broken_rules(entry, data, full=True) == {"files", "score"}


def test_other_validation_data_is_found(tmp_path, data):
    easy = make_data(tmp_path, make_texts(0, 8), ["the the the the " * 50])
    run_entry(LAPTOP, make_recipe(), easy, tmp_path / "entry", about=ABOUT, device="cpu")
    assert {"data", "score"} <= broken_rules(tmp_path / "entry", data)
    submit(tmp_path / "entry", data=data.hashes())
    assert broken_rules(tmp_path / "entry", data) == {"score"}


def test_longer_context_is_found(tmp_path, monkeypatch):
    # The third letter after a pair is known from the pair alone, so short windows cost much.
    letters, text = "abcdefgh", list("ab")
    for _ in range(6_000):
        text.append(letters[(3 * letters.index(text[-1]) + letters.index(text[-2]) + 1) % 8])
        if np.random.default_rng(len(text)).random() < 0.2:
            text.append(letters[len(text) * 7 % 8])
    texts = ["".join(text[:5_000]), "".join(text[5_000:])]
    data = make_data(tmp_path, texts[:1], texts[1:])
    monkeypatch.setitem(DIVISIONS, "laptop", replace(LAPTOP, context_length=4))
    recipe = make_recipe(steps=100, context_length=24, d_model=32)
    entry = tmp_path / "entry"
    run_entry(DIVISIONS["laptop"], recipe, data, entry, about=ABOUT, device="cpu")
    assert broken_rules(entry, data) == set()
    score = score_model(load_model(entry / "model"), data, LAPTOP, context_length=24)
    submit(entry, score=score)
    assert broken_rules(entry, data) == {"score"}
    assert "the claim is that of a context of 24 tokens" in detail(entry, "score")


def test_clock_that_was_turned_back_is_found(entry, data):
    path = entry / "run" / "metrics.jsonl"
    lines = path.read_text().splitlines()
    for number, line in enumerate(read_metrics(path)):
        elapsed = f'"elapsed_s": {line["elapsed_s"]}'
        lines[number] = lines[number].replace(elapsed, f'"elapsed_s": {line["elapsed_s"] / 1000}')
    write_text(path, "\n".join(lines) + "\n")
    wall_s = read_metrics(path)[-1]["elapsed_s"]
    submit(entry, wall_s=read_metrics(path)[-2]["elapsed_s"])
    assert wall_s > 0
    assert broken_rules(entry, data) == {"speed"}


def test_clock_that_contradicts_the_record_is_found(entry, data):
    submit(entry, wall_s=load_config(Submission, entry / SUBMISSION_NAME).wall_s / 2)
    assert broken_rules(entry, data) == {"clock"}


def test_impossible_speed_is_found(entry, data):
    path = entry / "run" / "metrics.jsonl"
    lines = [f'{{"step": {i}, "elapsed_s": 0.0, "loss": 1.0}}' for i in range(1, 21)]
    write_text(path, "\n".join(lines) + "\n")
    submit(entry, wall_s=0.0)
    assert {"clock", "replay"} <= broken_rules(entry, data)
    assert "more than the hardware can do" in detail(entry, "clock")


def test_validation_text_in_training_is_refused_by_the_run(tmp_path):
    data = make_data(tmp_path, [*make_texts(0, 8), *make_texts(1, 2)], make_texts(1, 2))
    with pytest.raises(ValueError, match="of the held-out windows"):
        run_entry(LAPTOP, make_recipe(), data, tmp_path / "entry", about=ABOUT, device="cpu")
    assert not (tmp_path / "entry").exists()


def test_validation_text_in_training_is_found_however_well_it_is_hidden(
    tmp_path, data, monkeypatch
):
    # The last quarter of the training text is held-out text; length, hashes and the fingerprint
    # in the run's configuration are forged.
    texts = [*make_texts(0, 6), *make_texts(1, 2)]
    bad = make_data(tmp_path, texts, make_texts(1, 2))
    official = fingerprint(data.train.tokens)
    overlap = Check(rule="held-out text", passed=True, detail="")
    monkeypatch.setattr(entry_run, "check_overlap", lambda _: overlap)
    monkeypatch.setattr(loop, "fingerprint", lambda _: official)
    run_entry(LAPTOP, make_recipe(), bad, tmp_path / "entry", about=ABOUT, device="cpu")
    monkeypatch.undo()
    submit(tmp_path / "entry", data=data.hashes())
    assert "replay" in broken_rules(tmp_path / "entry", data)
    assert broken_rules(tmp_path / "entry", bad) >= {"held-out text"}


def test_model_that_knows_the_validation_text_better_is_found(tmp_path):
    secret = ["river under stone"]
    data = make_data(tmp_path / "official", make_texts(0, 8), secret * 4)
    learned = make_data(tmp_path / "learned", secret * 40, make_texts(0, 2))
    run_entry(LAPTOP, make_recipe(), learned, tmp_path / "entry", about=ABOUT, device="cpu")
    assert "memory" in broken_rules(tmp_path / "entry", data)


def better_weights(entry, tmp_path, data, *, step):
    """Put the weights of a longer run into a milestone, and let the run go on from there."""
    longer = tmp_path / "longer"
    run_entry(LAPTOP, make_recipe(steps=60), data, longer, about=ABOUT, device="cpu")
    folder = entry / "run" / "checkpoints"
    path = folder / f"step-{step:08d}.safetensors"
    states, about = unpack(path.read_bytes(), "")
    theirs = longer / "run" / "checkpoints" / "step-00000060.safetensors"
    states["model"] = unpack(theirs.read_bytes(), "")[0]["model"]
    parts = {name: Saved(state) for name, state in states.items()}
    kept = {one: one.read_bytes() for one in folder.iterdir() if one < path}
    for one in folder.iterdir():
        if one >= path:
            one.unlink()
    path.write_bytes(pack(parts, about))
    (entry / SUBMISSION_NAME).unlink()
    run_entry(LAPTOP, make_recipe(), data, entry, about=ABOUT, device="cpu")
    for one, content in kept.items():
        one.write_bytes(content)
    submit(entry)


class Saved:
    """A state that is what it is."""

    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        raise NotImplementedError


def test_weights_that_came_in_between_are_found(tmp_path, entry, data):
    honest = load_config(Submission, entry / SUBMISSION_NAME).score
    better_weights(entry, tmp_path, data, step=9)
    assert load_config(Submission, entry / SUBMISSION_NAME).score < honest
    # All parts followed to their end, or the run done again, find it; two of seven may not.
    assert broken_rules(entry, data, num_parts=7) == {"replay"}
    assert "step 9: the checkpoint there and where the replay arrived" in detail(entry, "replay")
    assert "replay" in broken_rules(entry, data, full=True)


def test_too_few_milestones_are_found(tmp_path, data, monkeypatch):
    # A recipe that keeps one checkpoint right before the end: nothing in between can be replayed.
    recipe = make_recipe()
    few = replace(recipe.training, checkpoint_every=19, keep_checkpoints=2)
    with pytest.raises(ValueError, match="keeps 8 checkpoints"):
        run_entry(
            LAPTOP, replace(recipe, training=few), data, tmp_path / "a", about=ABOUT, device="cpu"
        )
    monkeypatch.setattr(entry_run, "check_recipe", lambda *_: None)
    entry = tmp_path / "entry"
    run_entry(LAPTOP, replace(recipe, training=few), data, entry, about=ABOUT, device="cpu")
    assert broken_rules(entry, data) == {"checkpoints"}


def test_weights_of_another_run_are_found(tmp_path, entry, data):
    longer = tmp_path / "longer"
    run_entry(LAPTOP, make_recipe(steps=60), data, longer, about=ABOUT, device="cpu")
    shutil.rmtree(entry / "model")
    shutil.copytree(longer / "model", entry / "model")
    submit(entry, score=load_config(Submission, longer / SUBMISSION_NAME).score)
    assert broken_rules(entry, data) == {"weights"}
    # With the checkpoint forged as well, the replayed last part does not arrive there.
    name = "run/checkpoints/step-000000{}.safetensors"
    shutil.copy(longer / name.format(60), entry / name.format(20))
    submit(entry)
    assert broken_rules(entry, data) == {"replay"}


def test_edited_losses_are_found(entry, data):
    path = entry / "run" / "metrics.jsonl"
    loss = read_metrics(path)[0]["loss"]
    write_text(path, path.read_text().replace(str(loss), str(loss - 0.1)))
    submit(entry)
    assert broken_rules(entry, data) == {"replay"}


def test_other_recipe_is_found(entry, data):
    recipe = load_config(EntryRecipe, entry / "recipe.json")
    optimizer = replace(recipe.training.optimizer, lr=2e-2)
    training = replace(recipe.training, optimizer=optimizer)
    save_config(replace(recipe, training=training), entry / "recipe.json")
    submit(entry)
    assert "replay" in broken_rules(entry, data)


def test_too_many_cores_are_found(entry, data):
    path = entry / "run" / "receipt.json"
    hardware = replace(load_config(Receipt, path).hardware, num_cores=16, gpus=("RTX 4060",))
    save_config(replace(load_config(Receipt, path), hardware=hardware), path)
    # What the machine has and the run does not use is free.
    submit(entry, hardware=hardware)
    assert broken_rules(entry, data) == set()
    submit(entry, num_threads=16)
    assert broken_rules(entry, data) == {"hardware"}
    submit(entry, num_threads=2, device="cuda")
    assert broken_rules(entry, data) == {"hardware"}


def test_too_much_time_is_found(entry, data, monkeypatch):
    monkeypatch.setitem(DIVISIONS, "laptop", replace(LAPTOP, time_limit_s=1e-6))
    assert broken_rules(entry, data) == {"time"}


def test_other_vocabulary_is_found(entry, data, monkeypatch):
    monkeypatch.setitem(DIVISIONS, "laptop", replace(LAPTOP, vocab_size=32_000))
    assert broken_rules(entry, data) == {"vocabulary"}


def test_given_data_is_told(entry, data):
    verification = verify_entry(entry, replace(data, is_official=False), num_steps=2, device="cpu")
    assert verification.passed
    assert [c.rule for c in verification.checks if c.passed is None] == ["origin"]


def test_speed_on_other_hardware_stays_open(entry, data):
    path = entry / "run" / "receipt.json"
    receipt = load_config(Receipt, path)
    hardware = replace(receipt.hardware, cpu="an abacus")
    save_config(replace(receipt, hardware=hardware), path)
    submit(entry, hardware=hardware)
    verification = verify_entry(entry, data, num_steps=2, device="cpu")
    assert verification.passed
    assert verification.num_open == 1


def test_averaged_weights_are_what_is_judged(tmp_path, data):
    recipe = make_recipe()
    recipe = replace(recipe, training=replace(recipe.training, ema_decay=0.9))
    run_entry(LAPTOP, recipe, data, tmp_path / "entry", about=ABOUT, device="cpu")
    assert broken_rules(tmp_path / "entry", data) == set()

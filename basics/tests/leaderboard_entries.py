"""Small entries for the tests of the leaderboard: made, altered, submitted again, judged."""

from dataclasses import replace

import numpy as np

from lm_basics.leaderboard import (
    DIVISIONS,
    DivisionData,
    EntryRecipe,
    verify_entry,
    with_milestones,
)
from lm_basics.model_config import uniform_transformer
from lm_basics.optim import AdamWConfig
from lm_basics.token_files import encode_documents
from lm_basics.tokenizer import END_OF_TEXT, Tokenizer
from lm_basics.training import TrainingConfig
from lm_shared.config import load_config, save_config
from lm_shared.files import read_json
from lm_shared.leaderboard import SUBMISSION_NAME, About, Submission, hash_entry

LAPTOP = DIVISIONS["laptop"]
ABOUT = About(name="test", authors="nobody", description="small")
WORDS = ("time", "river", "stone", "a", "the", "and", "moves", "sleeps", "under", "over")


def make_texts(seed, num):
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, size=300)) for _ in range(num)]


def make_data(folder, train_texts, validation_texts):
    vocab = {i: bytes([i]) for i in range(256)} | {256: END_OF_TEXT.encode()}
    tokenizer = Tokenizer(vocab, [], [END_OF_TEXT])
    return DivisionData(
        train=encode_documents(tokenizer, train_texts, folder / "train.bin"),
        validation=encode_documents(tokenizer, validation_texts, folder / "validation.bin"),
        tokenizer=tokenizer,
        is_official=True,
    )


def make_recipe(*, steps=20, context_length=32, d_model=16):
    return EntryRecipe(
        model=uniform_transformer(
            vocab_size=257,
            context_length=context_length,
            d_model=d_model,
            num_layers=1,
            num_heads=2,
        ),
        training=with_milestones(
            TrainingConfig(
                steps=steps,
                batch_size=4,
                optimizer=AdamWConfig(lr=1e-2),
                dtype="float32",
                validate_every=10,
            )
        ),
    )


def submit(entry, **changes):
    """Write the submission again, with the files as they are now."""
    path = entry / SUBMISSION_NAME
    changed = replace(load_config(Submission, path), files=hash_entry(entry), **changes)
    save_config(changed, path)


def broken_rules(entry, data, **options):
    verification = verify_entry(entry, data, num_steps=2, device="cpu", **options)
    assert verification.passed == (not any(c.passed is False for c in verification.checks))
    return {check.rule for check in verification.checks if check.passed is False}


def detail(entry, rule):
    checks = read_json(entry / "verification.json")["checks"]
    return " ".join(check["detail"] for check in checks if check["rule"] == rule)

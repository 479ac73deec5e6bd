import math
from dataclasses import replace

import pytest
import torch

from lm_alignment.config import DPOConfig
from lm_alignment.dpo import DPORunConfig, dpo_losses, train_dpo
from lm_alignment.examples import PreferencePair, draw_examples
from lm_alignment.masking import gather_log_probs
from lm_alignment.templates import ChatTemplate, Message
from lm_basics.optim.config import AdamWConfig
from lm_shared.config import load_config
from lm_shared.runs import load_receipt, read_metrics

PAIRS = [
    PreferencePair(prompt=f"{a} {b}", chosen=str(max(a, b)), rejected=f"is {min(a, b)}")
    for a in range(6)
    for b in range(a)
]
CONFIG = DPOConfig(
    steps=9, batch_size=8, checkpoint_every=4, optimizer=AdamWConfig(lr=3e-3, weight_decay=0.0)
)


class KilledError(Exception):
    pass


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def plain_margin(model, tokenizer, pair: PreferencePair) -> float:
    """Of one pair, each answer in a pass of its own."""
    template, scores = ChatTemplate(), []
    for answer in (pair.chosen, pair.rejected):
        prompt = template.encode_prompt(tokenizer, pair.prompt)
        ids = torch.tensor([[*prompt, *template.encode_answer(tokenizer, answer)]])
        with torch.no_grad():
            log_probs = gather_log_probs(model(ids[:, :-1]), ids[:, 1:])
        scores.append(log_probs[0, len(prompt) - 1 :].sum().item())
    return scores[0] - scores[1]


def test_losses_by_hand():
    losses = dpo_losses(torch.tensor([1.0, -2.0]), torch.tensor([0.0, 1.0]), beta=0.5)
    expected = [-math.log(1 / (1 + math.exp(-0.5))), -math.log(1 / (1 + math.exp(1.5)))]
    torch.testing.assert_close(losses, torch.tensor(expected))


def test_loss_begins_at_log_two_and_falls_as_the_chosen_gain(make_model, tokenizer, tmp_path):
    config = replace(CONFIG, steps=30, checkpoint_every=None)
    model, reference = make_model(), make_model()
    result = train_dpo(model, tokenizer, PAIRS, config, folder=tmp_path)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert result.final_loss < 0.5 * math.log(2)
    assert result.accuracy == 1.0
    gained = [
        plain_margin(model, tokenizer, pair) - plain_margin(reference, tokenizer, pair)
        for pair in PAIRS
    ]
    assert min(gained) > 0
    assert result.margin == pytest.approx(0.1 * sum(gained) / len(gained), rel=0.2)


def test_numbers_of_the_second_step_are_the_plain_ones(make_model, tokenizer, tmp_path):
    first = replace(CONFIG, steps=1, checkpoint_every=None)
    model, reference = make_model(), make_model()
    train_dpo(model, tokenizer, PAIRS, first, folder=tmp_path / "one")
    train_dpo(make_model(), tokenizer, PAIRS, CONFIG, folder=tmp_path / "all")
    line = read_metrics(tmp_path / "all" / "metrics.jsonl")[1]
    gains = [
        0.1 * (plain_margin(model, tokenizer, pair) - plain_margin(reference, tokenizer, pair))
        for pair in draw_examples(PAIRS, 8, seed=0, step=1)
    ]
    # Warm-up is less than a step in both.
    assert line["margin"] == pytest.approx(sum(gains) / 8, rel=1e-3, abs=1e-5)
    assert line["accuracy"] == sum(gain > 0 for gain in gains) / 8
    losses = [math.log(1 + math.exp(-gain)) for gain in gains]
    assert line["loss"] == pytest.approx(sum(losses) / 8, rel=1e-5)


@pytest.mark.parametrize("killed_after", [2, 4, 7])
def test_resumed_run_equals_uninterrupted(make_model, tokenizer, tmp_path, killed_after):
    def kill(step, _values):
        if step == killed_after:
            raise KilledError

    straight, resumed = make_model(), make_model()
    train_dpo(straight, tokenizer, PAIRS, CONFIG, folder=tmp_path / "straight")
    with pytest.raises(KilledError):
        train_dpo(make_model(), tokenizer, PAIRS, CONFIG, folder=tmp_path / "killed", on_step=kill)
    train_dpo(resumed, tokenizer, PAIRS, CONFIG, folder=tmp_path / "killed")
    torch.testing.assert_close(weights(resumed), weights(straight), rtol=0, atol=0)


def test_run_folder_holds_config_and_receipt_and_knows_both_answers(
    make_model, tokenizer, tmp_path
):
    train_dpo(make_model(), tokenizer, PAIRS, CONFIG, folder=tmp_path)
    assert load_config(DPORunConfig, tmp_path / "config.json").dpo == CONFIG
    receipt = load_receipt(tmp_path)
    assert receipt.tokens > 0
    assert receipt.flops > 0
    other = [*PAIRS[:-1], replace(PAIRS[-1], rejected="never")]
    with pytest.raises(ValueError, match="another configuration"):
        train_dpo(make_model(), tokenizer, other, CONFIG, folder=tmp_path)


def test_pairs_with_turns_before_are_taken_and_long_ones_left_out(
    make_model, tokenizer, tmp_path, caplog
):
    turns = (
        Message(role="user", content="1"),
        Message(role="assistant", content="2"),
        Message(role="user", content="3"),
    )
    talk = PreferencePair(prompt=turns, chosen="4", rejected="5")
    # Too long by the worse answer alone.
    long = PreferencePair(prompt="1", chosen="2", rejected="zq" * 40)
    config = replace(CONFIG, steps=2, batch_size=2)
    model = make_model()
    result = train_dpo(model, tokenizer, [talk, long, PAIRS[0]], config, folder=tmp_path)
    assert result.num_too_long == 1
    assert "1 of 3" in caplog.text
    with pytest.raises(ValueError, match="too long"):
        train_dpo(model, tokenizer, [long], config, folder=tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["steps", "batch_size", "beta", "max_grad_norm"])
def test_config_is_checked(name):
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        replace(CONFIG, **{name: 0})

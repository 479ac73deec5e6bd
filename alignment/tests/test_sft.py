import math
from dataclasses import replace

import pytest
import torch

from lm_alignment.config import SFTConfig
from lm_alignment.examples import Conversation, Example, draw_examples
from lm_alignment.masking import gather_log_probs
from lm_alignment.sft import SFTRunConfig, encode_examples, train_sft
from lm_alignment.templates import ChatTemplate
from lm_basics.optim.config import AdamWConfig
from lm_shared.config import load_config
from lm_shared.runs import load_receipt, read_metrics

EXAMPLES = [Example(question=f"{a} {b}", answer=str(max(a, b))) for a in range(9) for b in range(9)]
CONFIG = SFTConfig(
    steps=9, batch_size=8, checkpoint_every=4, optimizer=AdamWConfig(lr=3e-3, weight_decay=0.0)
)


class KilledError(Exception):
    pass


def kill_after(steps: int):
    def on_step(step, _values):
        if step == steps:
            raise KilledError

    return on_step


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_first_loss_is_the_mean_over_answer_tokens(make_model, tokenizer, tmp_path):
    model = make_model()
    drawn = draw_examples(EXAMPLES, 8, seed=0, step=0)
    batch = encode_examples(tokenizer, drawn, ChatTemplate())
    with torch.no_grad():
        log_probs = gather_log_probs(model(batch.input_ids), batch.labels)
    expected = -log_probs[batch.response_mask].mean().item()
    train_sft(model, tokenizer, EXAMPLES, CONFIG, folder=tmp_path)
    first = read_metrics(tmp_path / "metrics.jsonl")[0]
    assert first["loss"] == pytest.approx(expected, rel=1e-5)
    assert first["loss"] == pytest.approx(math.log(tokenizer.vocab_size), rel=0.3)


def test_answer_ends_with_the_end_token(tokenizer):
    batch = encode_examples(tokenizer, EXAMPLES[:1], ChatTemplate())
    answer = batch.labels[0][batch.response_mask[0]].tolist()
    assert answer == [*tokenizer.encode("0"), tokenizer.special_token_ids["<|endoftext|>"]]


def test_all_turns_of_the_assistant_are_imitated_after_what_was_said(
    make_model, tokenizer, tmp_path
):
    template, model = ChatTemplate(), make_model()
    first, second = (Example(question=f"{a} {b}", answer=str(b)) for a, b in ((3, 7), (1, 2)))
    turns = (*first.messages, *second.messages)
    end = tokenizer.special_token_ids[template.end]
    log_probs = []
    for place in (1, 3):
        prompt = template.encode_prompt(tokenizer, turns[:place])
        answer = [*tokenizer.encode(turns[place].content), end]
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *answer[:-1]]]))[0, len(prompt) - 1 :]
        log_probs.append(gather_log_probs(logits, torch.tensor(answer)))
    config = replace(CONFIG, steps=1, batch_size=1, checkpoint_every=None)
    result = train_sft(model, tokenizer, [Conversation(messages=turns)], config, folder=tmp_path)
    assert result.final_loss == pytest.approx(-torch.cat(log_probs).mean().item(), rel=1e-5)


def test_loss_falls(make_model, tokenizer, tmp_path):
    config = replace(CONFIG, steps=30, checkpoint_every=None)
    result = train_sft(make_model(), tokenizer, EXAMPLES, config, folder=tmp_path)
    losses = [line["loss"] for line in read_metrics(tmp_path / "metrics.jsonl")]
    assert result.final_loss < 0.5 * losses[0]
    assert result.final_loss == pytest.approx(sum(losses[27:]) / 3)
    assert result.steps == 30


def test_the_final_loss_of_a_few_steps_is_that_of_the_last(make_model, tokenizer, tmp_path):
    config = replace(CONFIG, steps=3, checkpoint_every=None)
    result = train_sft(make_model(), tokenizer, EXAMPLES, config, folder=tmp_path)
    assert result.final_loss == read_metrics(tmp_path / "metrics.jsonl")[-1]["loss"]


@pytest.mark.parametrize("killed_after", [2, 4, 7])
def test_resumed_run_equals_uninterrupted(make_model, tokenizer, tmp_path, killed_after):
    straight = make_model()
    train_sft(straight, tokenizer, EXAMPLES, CONFIG, folder=tmp_path / "straight")
    with pytest.raises(KilledError):
        train_sft(
            make_model(),
            tokenizer,
            EXAMPLES,
            CONFIG,
            folder=tmp_path / "killed",
            on_step=kill_after(killed_after),
        )
    resumed = make_model()
    train_sft(resumed, tokenizer, EXAMPLES, CONFIG, folder=tmp_path / "killed")
    torch.testing.assert_close(weights(resumed), weights(straight), rtol=0, atol=0)
    losses = [
        [line["loss"] for line in read_metrics(tmp_path / name / "metrics.jsonl")]
        for name in ("straight", "killed")
    ]
    assert losses[0] == losses[1]


def test_run_folder_holds_config_and_receipt(make_model, tokenizer, tmp_path):
    train_sft(make_model(), tokenizer, EXAMPLES, CONFIG, folder=tmp_path)
    assert load_config(SFTRunConfig, tmp_path / "config.json").sft == CONFIG
    receipt = load_receipt(tmp_path)
    assert receipt.tokens > 0
    assert receipt.flops > 0


def test_another_model_is_refused_by_the_folder(make_model, tokenizer, tmp_path):
    train_sft(make_model(), tokenizer, EXAMPLES, CONFIG, folder=tmp_path)
    with pytest.raises(ValueError, match="another configuration"):
        train_sft(make_model(seed=1), tokenizer, EXAMPLES, CONFIG, folder=tmp_path)


def test_training_ends_at_the_target_loss_and_stays_ended(make_model, tokenizer, tmp_path):
    config = replace(CONFIG, steps=60, target_loss=3.5)
    model, again = make_model(), make_model()
    result = train_sft(model, tokenizer, EXAMPLES, config, folder=tmp_path)
    losses = [line["loss"] for line in read_metrics(tmp_path / "metrics.jsonl")]
    assert losses[-1] <= 3.5 < min(losses[:-1])
    assert result.steps == len(losses) < 60
    assert train_sft(again, tokenizer, EXAMPLES, config, folder=tmp_path).steps == len(losses)
    torch.testing.assert_close(weights(again), weights(model), rtol=0, atol=0)


def test_a_diverged_run_raises_and_leaves_no_receipt(make_model, tokenizer, tmp_path):
    config = replace(CONFIG, optimizer=AdamWConfig(lr=1e30, weight_decay=0.0))
    with pytest.raises(FloatingPointError, match=r"the loss is nan .* at step \d"):
        train_sft(make_model(), tokenizer, EXAMPLES, config, folder=tmp_path)
    assert not (tmp_path / "receipt.json").exists()


def test_examples_longer_than_the_context_are_left_out_and_counted(
    make_model, tokenizer, tmp_path, caplog
):
    context, template = make_model().config.context_length, ChatTemplate()
    room = context + 1 - len(template.encode_prompt(tokenizer, "")) - 1
    letters = "zq" * context
    # One that fits to the last place, one that takes one place more.
    full = Example(question=letters[: room - 3], answer=letters[:3])
    long = Example(question=letters[: room - 3], answer=letters[:4])
    assert len(tokenizer.encode(full.question)) == room - 3
    examples = [*EXAMPLES[:4], long, full, replace(long, origin="own.jsonl line 3")]
    result = train_sft(make_model(), tokenizer, examples, CONFIG, folder=tmp_path / "some")
    assert (result.num_too_long, result.steps) == (2, CONFIG.steps)
    assert load_config(SFTRunConfig, tmp_path / "some" / "config.json").start.num_too_long == 2
    (record,) = caplog.records
    assert record.getMessage() == (
        f"2 of 7 examples are too long and left out, the model has a context of {context}: "
        f"example 4 takes {context + 1} tokens, example 6 (own.jsonl line 3) takes {context + 1} "
        "tokens"
    )
    # The others are learned from as if it were not there.
    fitting = [*EXAMPLES[:4], full]
    train_sft(make_model(), tokenizer, fitting, CONFIG, folder=tmp_path / "without")
    losses = [
        [line["loss"] for line in read_metrics(tmp_path / name / "metrics.jsonl")]
        for name in ("some", "without")
    ]
    assert losses[0] == losses[1]


def test_a_run_whose_examples_are_all_too_long_does_not_begin(make_model, tokenizer, tmp_path):
    long = Example(question="zq" * 40, answer="1")
    with pytest.raises(ValueError, match=r"all 2 examples are too long.* example 0 takes \d+ tok"):
        train_sft(make_model(), tokenizer, [long, long], CONFIG, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_without_examples_claims_no_folder(make_model, tokenizer, tmp_path):
    with pytest.raises(ValueError, match="at least one example"):
        train_sft(make_model(), tokenizer, [], CONFIG, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps must be positive"),
        ({"batch_size": 0}, "batch_size must be positive"),
        ({"max_grad_norm": float("nan")}, "max_grad_norm must be positive"),
        ({"checkpoint_every": 0}, "checkpoint_every must be positive or None"),
        ({"keep_checkpoints": 0}, "keep_checkpoints must be positive"),
        ({"seed": -1}, "seed must not be negative"),
        ({"target_loss": float("nan")}, "target_loss must be a number"),
    ],
)
def test_config_is_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **wrong)

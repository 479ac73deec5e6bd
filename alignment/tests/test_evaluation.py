from dataclasses import replace

import pytest

from lm_alignment.config import EvaluationConfig
from lm_alignment.evaluation import evaluate_reward
from lm_alignment.tasks import SortTask, split_task
from lm_alignment.verifiers import ExactAnswer
from lm_systems.inference.engine import Engine


@pytest.fixture
def evaluate(make_model, tokenizer):
    examples = split_task(SortTask(num_digits=3)).validation
    engine = Engine(make_model(), tokenizer)

    def run(config: EvaluationConfig):
        return evaluate_reward(engine, tokenizer, examples, ExactAnswer(), config)

    return run


def test_evaluation_asks_the_first_questions_and_repeats_exactly(evaluate):
    config = EvaluationConfig(num_examples=5, samples_per_example=2, max_new_tokens=3)
    first, second = evaluate(config), evaluate(config)
    assert first == second
    assert len(first.rollouts) == 10
    assert first.low <= first.reward <= first.high


def test_greedy_answers_do_not_depend_on_the_seed(evaluate):
    config = EvaluationConfig(num_examples=5, temperature=0.0, max_new_tokens=3)
    texts = [
        [rollout.text for rollout in evaluate(replace(config, seed=seed)).rollouts]
        for seed in (0, 1)
    ]
    assert texts[0] == texts[1]


def test_no_examples_are_refused(make_model, tokenizer):
    engine = Engine(make_model(), tokenizer)
    with pytest.raises(ValueError, match="at least one example"):
        evaluate_reward(engine, tokenizer, [], ExactAnswer())


def test_answers_to_one_question_are_one_trial(evaluate):
    # Greedy answers to one question are all the same: asking again must not add certainty.
    config = EvaluationConfig(num_examples=5, temperature=0.0, max_new_tokens=3)
    once, often = evaluate(config), evaluate(replace(config, samples_per_example=8))
    assert (often.low, often.high) == (once.low, once.high)


@pytest.mark.parametrize(
    "wrong",
    [{"num_examples": 0}, {"temperature": -1.0}, {"temperature": float("nan")}, {"seed": -1}],
)
def test_config_is_checked(wrong):
    with pytest.raises(ValueError, match="must"):
        EvaluationConfig(**wrong)

import pytest

from alignment.tests.reference import PlainGenerator
from lm_alignment.examples import Example
from lm_alignment.rl.rollouts import collect_rollouts
from lm_alignment.templates import ChatTemplate
from lm_alignment.verifiers import Reward
from lm_basics.sampling_config import SamplingConfig
from lm_systems.inference.engine import Engine

EXAMPLES = [Example(question="3 7", answer="7"), Example(question="1 2 4", answer="4")]


def judge(prompt: str, completion: str, reference: str) -> Reward:
    reason = f"{prompt}|{completion}|{reference}"
    return Reward(value=float(len(completion)), parts={}, reason=reason)


@pytest.fixture
def sampling(tokenizer):
    end = tokenizer.special_token_ids["<|endoftext|>"]
    return SamplingConfig(max_new_tokens=5, stop_token_ids=(end,), seed=3)


@pytest.mark.parametrize("generator_class", [PlainGenerator, Engine])
def test_groups_stand_together_and_are_judged(make_model, tokenizer, sampling, generator_class):
    rollouts = collect_rollouts(
        generator_class(make_model(), tokenizer),
        tokenizer,
        EXAMPLES,
        judge,
        template=ChatTemplate(),
        sampling=sampling,
        group_size=3,
    )
    assert [rollout.example for rollout in rollouts] == [e for e in EXAMPLES for _ in range(3)]
    for rollout in rollouts:
        example = rollout.example
        assert rollout.prompt_ids == ChatTemplate().encode_prompt(tokenizer, example.question)
        assert rollout.reward.reason == f"{example.question}|{rollout.text}|{example.answer}"
        assert len(rollout.log_probs) == len(rollout.token_ids)
        is_ended = rollout.token_ids[-1] == sampling.stop_token_ids[0]
        assert rollout.is_truncated is not is_ended
        assert tokenizer.decode(rollout.token_ids) == rollout.text + "<|endoftext|>" * is_ended
    assert len({tuple(rollout.token_ids) for rollout in rollouts}) > 2


def test_sampling_must_stop_at_the_end_token(make_model, tokenizer):
    with pytest.raises(ValueError, match="must stop at the template's end token"):
        collect_rollouts(
            PlainGenerator(make_model(), tokenizer),
            tokenizer,
            EXAMPLES,
            judge,
            template=ChatTemplate(),
            sampling=SamplingConfig(),
        )

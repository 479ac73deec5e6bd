import pytest

from lm_alignment.verifiers import BOXED, ExactAnswer, Reward, describe_verifier


def judge(prompt: str, completion: str, reference: str) -> Reward:
    return Reward(value=1.0, parts={}, reason="all is well")


class Judge:
    def __call__(self, prompt: str, completion: str, reference: str) -> Reward:
        return judge(prompt, completion, reference)


def test_settings_tell_verifiers_apart():
    assert describe_verifier(ExactAnswer()) == describe_verifier(ExactAnswer())
    assert describe_verifier(ExactAnswer()) != describe_verifier(ExactAnswer(pattern=BOXED))
    assert describe_verifier(ExactAnswer()).startswith("lm_alignment.verifiers.ExactAnswer {")


@pytest.mark.parametrize(("verifier", "name"), [(judge, "judge"), (Judge(), "Judge")])
def test_other_verifiers_go_by_their_name(verifier, name):
    assert describe_verifier(verifier) == f"{__name__}.{name}"

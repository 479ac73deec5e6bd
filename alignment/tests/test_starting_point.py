import torch

from lm_alignment.examples import Example
from lm_alignment.starting_point import StartingPoint, hash_weights
from lm_alignment.templates import ChatTemplate
from lm_shared.config import from_dict, to_dict


def test_hash_sees_every_weight(make_model):
    model = make_model()
    before = hash_weights(model)
    assert before == hash_weights(make_model())
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.view(-1)[-1] += 1e-3
        after = hash_weights(model)
        assert after != before
        before = after


def test_description_survives_a_round_trip(make_model):
    examples = [Example(question="q", answer="a")]
    start = StartingPoint.from_parts(make_model(), ChatTemplate(), examples)
    assert from_dict(StartingPoint, to_dict(start)) == start

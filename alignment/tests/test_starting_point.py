import pytest
import torch

from lm_alignment.examples import Example
from lm_alignment.starting_point import StartingPoint, add_chat_tokens, hash_weights
from lm_alignment.templates import ChatTemplate
from lm_basics.model_config import uniform_transformer
from lm_basics.tokenizer import Tokenizer
from lm_basics.transformer import TransformerLM
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


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("num_padding", [0, 1, 2, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_new_tokens_are_the_mean_of_the_known_and_all_else_stays(dtype, num_padding, tied):
    tokenizer = Tokenizer({byte: bytes([byte]) for byte in range(256)}, [], ["<|endoftext|>"])
    known = tokenizer.vocab_size
    config = uniform_transformer(
        vocab_size=known + num_padding,
        context_length=16,
        d_model=8,
        num_layers=1,
        num_heads=2,
        tie_embeddings=tied,
    )
    model = TransformerLM(config).to(dtype).eval()
    with torch.no_grad():
        model.output_weight[known:] = 100
    weights_before, ids = hash_weights(model), torch.tensor([tokenizer.encode("Sort 3 1.")])
    wider, grown = add_chat_tokens(model, tokenizer, ChatTemplate())
    assert grown.vocab_size == known + 2
    assert (
        wider.config.vocab_size == len(wider.output_weight) == max(known + 2, known + num_padding)
    )
    for rows, old in (
        (wider.output_weight, model.output_weight),
        (wider.token_embeddings.weight, model.token_embeddings.weight),
    ):
        assert torch.equal(rows[:known], old[:known])
        torch.testing.assert_close(rows[known : known + 2], old[:known].mean(0).expand(2, -1))
        assert torch.equal(rows[known + 2 :], old[known + 2 :])
    assert not wider.training
    assert {value.dtype for value in wider.parameters()} == {dtype}
    torch.testing.assert_close(wider(ids)[..., :known], model(ids)[..., :known])
    assert hash_weights(model) == weights_before

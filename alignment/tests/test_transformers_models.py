"""Models and tokenizers of transformers, where ours are taken; held to plain formulas.

Together in one file, because the first of a process imports seconds of transformers.
"""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from tokenizers import Tokenizer as Tokenizers, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from alignment.tests.reference import normalize_group
from lm_alignment.config import (
    ConstantSum,
    ImportanceWeighted,
    OnPolicy,
    SequenceClipped,
    SequenceMean,
    TokenClipped,
)
from lm_alignment.dpo import per_instance_dpo_loss
from lm_alignment.examples import Example
from lm_alignment.masking import label_log_probs, tokenize_prompt_and_output
from lm_alignment.packing import pack_examples
from lm_alignment.rl.text_step import TextStepConfig, compute_rollout_rewards, grpo_text_step
from lm_alignment.templates import alpaca_prompt

PROMPTS = ["two and two", "two and two", "one", "one"]
RESPONSES = ["is four", "is one", "is one and one", "two"]
TRUTHS = ["is four", "is four", "two", "two"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    words = ["<pad>", "<s>", "</s>", "one", "two", "four", "and", "is"]
    inner = Tokenizers(models.WordLevel({word: id_ for id_, word in enumerate(words)}, "<pad>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    # Opens every text, as tokenizers of Llama do.
    inner.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def make_model(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=8,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=32,
            initializer_range=0.5,
        )
    )


def grade(response: str, truth: str) -> dict[str, float]:
    right = float(response == truth)
    return {"reward": right, "format_reward": float(response.startswith("is"))}


def test_tokens_of_documents_are_not_added(tokenizer):
    batch = tokenize_prompt_and_output(["two and"], ["one"], tokenizer, pad_token_id=0)
    assert [*batch.input_ids[0].tolist(), batch.labels[0, -1].item()] == [4, 6, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_label_is_scored_as_by_log_softmax(dtype):
    model = make_model().to(dtype)
    ids = torch.randint(8, (2, 6))
    scores = label_log_probs(model, ids[:, :-1], ids[:, 1:], with_entropy=True)
    log_p = torch.log_softmax(model(ids[:, :-1]).logits.float(), -1)
    expected = log_p.gather(-1, ids[:, 1:, None]).squeeze(-1)
    torch.testing.assert_close(scores.log_probs, expected)
    torch.testing.assert_close(scores.entropy, -(log_p.exp() * log_p).sum(-1))
    assert scores.log_probs.dtype == torch.float32


def test_rewards_and_means_of_rollouts():
    rewards, means = compute_rollout_rewards(grade, RESPONSES, TRUTHS)
    assert rewards.tolist() == [1, 0, 0, 1]
    assert means == {"reward": 0.5, "format_reward": 0.75}
    with pytest.raises(ValueError, match="as many ground truths"):
        compute_rollout_rewards(grade, RESPONSES, TRUTHS[:1])


def plain_loss(kind, aggregation, advantages, log_probs, old, mask):
    """Token by token; returns a number whose gradient torch knows."""
    total = torch.zeros(())
    for row, advantage in enumerate(advantages):
        ratio = (log_probs[row] - old[row]).exp()
        if kind == "gspo":
            ratio = (log_probs[row] - old[row])[mask[row]].mean().exp().expand_as(ratio)
        losses = {
            "none": -advantage * log_probs[row],
            "noclip": -advantage * ratio,
        }.get(kind, -torch.min(advantage * ratio, advantage * ratio.clamp(0.8, 1.2)))[mask[row]]
        if isinstance(aggregation, SequenceMean):
            total = total + losses.mean() / len(advantages)
        else:
            total = total + losses.sum() / 24
    return total


@pytest.mark.parametrize("micro_batch_size", [None, 1, 3])
@pytest.mark.parametrize("aggregation", [SequenceMean(), ConstantSum(constant=24)])
@pytest.mark.parametrize(
    ("kind", "objective"),
    [
        ("none", OnPolicy()),
        ("noclip", ImportanceWeighted()),
        ("grpo", TokenClipped(clip_range=0.2)),
        ("gspo", SequenceClipped(clip_range=0.2)),
    ],
)
@pytest.mark.parametrize(("baseline", "normalizer"), [("mean", "std"), ("none", "none")])
def test_a_step_equals_plain_formulas(
    tokenizer, baseline, normalizer, kind, objective, aggregation, micro_batch_size
):
    rewards, _ = compute_rollout_rewards(grade, RESPONSES, TRUTHS)
    batch = tokenize_prompt_and_output(PROMPTS, RESPONSES, tokenizer, pad_token_id=0)
    model, plain = make_model(), make_model()
    old = -3 * torch.rand(batch.labels.shape)
    advantages = [
        advantage
        for group in rewards.view(2, 2).tolist()
        for advantage in normalize_group(group, baseline, normalizer, 1e-6)
    ]
    log_probs = torch.log_softmax(plain(batch.input_ids).logits, -1)
    log_probs = log_probs.gather(-1, batch.labels[..., None]).squeeze(-1)
    loss = plain_loss(kind, aggregation, advantages, log_probs, old, batch.response_mask)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), math.inf)
    torch.optim.SGD(plain.parameters(), lr=0.1).step()
    result = grpo_text_step(
        model,
        tokenizer,
        torch.optim.SGD(model.parameters(), lr=0.1),
        PROMPTS,
        RESPONSES,
        rewards,
        TextStepConfig(
            group_size=2,
            objective=objective,
            aggregation=aggregation,
            baseline=baseline,
            normalizer=normalizer,
            micro_batch_size=micro_batch_size,
            max_grad_norm=None,
        ),
        pad_token_id=0,
        old_log_probs=old,
    )
    torch.testing.assert_close(dict(model.named_parameters()), dict(plain.named_parameters()))
    assert result["loss"] == pytest.approx(loss.item(), rel=1e-4, abs=1e-6)
    assert result["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_step_is_clipped_to_its_norm_and_starts_without_gradients(tokenizer):
    def moved(max_grad_norm, *, stale: bool = False):
        model = make_model()
        if stale:
            torch.nn.utils.parameters_to_vector(model.parameters()).sum().backward()
        before = torch.nn.utils.parameters_to_vector(model.parameters()).clone()
        grpo_text_step(
            model,
            tokenizer,
            torch.optim.SGD(model.parameters(), lr=1.0),
            PROMPTS,
            RESPONSES,
            torch.tensor([1.0, 0.0, 0.0, 1.0]),
            replace(TextStepConfig(group_size=2), max_grad_norm=max_grad_norm),
            pad_token_id=0,
        )
        return torch.nn.utils.parameters_to_vector(model.parameters()) - before

    free = moved(None)
    assert free.norm() > 0.01
    torch.testing.assert_close(moved(0.01), free * 0.01 / free.norm(), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(moved(None, stale=True), free)


def test_the_preference_loss_of_one_pair_is_the_plain_one(tokenizer):
    policy, reference = make_model(), make_model(1)
    loss = per_instance_dpo_loss(
        policy, reference, tokenizer, "two", "is four", "one", beta=0.5, end_token_id=2
    )

    def log_prob(model, answer: str) -> torch.Tensor:
        text = alpaca_prompt("two") + answer
        ids = torch.tensor([[*tokenizer(text)["input_ids"], 2]])
        assert ids[0, 0] == 1
        log_p = torch.log_softmax(model(ids[:, :-1]).logits, -1)
        return log_p.gather(-1, ids[:, 1:, None]).sum()

    gain = log_prob(policy, "is four") - log_prob(reference, "is four")
    loss_of_other = log_prob(policy, "one") - log_prob(reference, "one")
    torch.testing.assert_close(loss, -torch.sigmoid(0.5 * (gain - loss_of_other)).log())
    loss.backward()
    assert all(parameter.grad is not None for parameter in policy.parameters())
    assert all(parameter.grad is None for parameter in reference.parameters())


def test_packed_documents_open_and_end_as_the_tokenizer_has_it(tokenizer):
    dataset = pack_examples(
        [Example(question="two", answer="four")] * 3, tokenizer, seq_length=2, end_token_id=2
    )
    ids = torch.cat([dataset[index]["input_ids"] for index in range(len(dataset))]).tolist()
    assert ids[0] == 1
    assert all(after == 1 for before, after in pairwise(ids) if before == 2)
    assert ids.count(2) == 2

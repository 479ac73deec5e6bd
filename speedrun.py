"""Raw web pages to an aligned, served language model: the whole pipeline, top to bottom.

``uv run speedrun.py`` runs the stages below in their order. A stage that is finished is not done
again and one that was interrupted goes on, so running the command again resumes. Everything lands
in ``runs/speedrun``; open ``report.html`` there.
"""

import sys

from lm_shared.command_line import run_command

if __name__ == "__main__":
    # Here and not below: help and refused options need nothing of what the stages import.
    sys.exit(run_command("speedrun.py", "pipeline.command:main"))

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from lm_alignment.evaluation import evaluate_reward
from lm_alignment.rl.grpo import train_grpo
from lm_alignment.sft import train_sft
from lm_alignment.tasks import split_task
from lm_alignment.templates import ChatTemplate
from lm_alignment.verifiers import ExactAnswer
from lm_basics.accounting import count_parameters
from lm_basics.export import load_model, save_model
from lm_basics.model_config import TransformerConfig
from lm_basics.perplexity import bits_per_byte
from lm_basics.sampling_config import SamplingConfig
from lm_basics.token_files import encode_documents, open_token_file
from lm_basics.tokenizer import Tokenizer, compile_kernels, train_bpe_from_texts
from lm_basics.training import TrainingConfig
from lm_basics.training.evaluation import HeldOutLoss, evaluate_loss
from lm_basics.training.loop import train
from lm_basics.transformer import TransformerLM
from lm_data.baselines import ngram_bits_per_byte, xz_bits_per_byte
from lm_data.pipeline.run import curate
from lm_data.pipeline.steps import CurateConfig
from lm_data.sample_crawl.audit import compare_with_truth
from lm_data.sample_crawl.crawl import TRUTH_NAME, write_sample_crawl
from lm_data.sample_crawl.pages import SampleCrawlConfig
from lm_data.shards import iterate_texts
from lm_scaling.backends import TrainerBackend, run_sweep
from lm_scaling.experiment import effective_parameters, flops_per_token, isoflop_experiments
from lm_scaling.planner import Candidate, plan
from lm_shared.config import from_dict, to_dict
from lm_shared.display import progress
from lm_shared.stages import Stage, StageRunner
from lm_shared.tensors import choose_device, choose_dtype, seed_everything
from lm_systems.inference.engine import Engine
from lm_systems.kernels.ops import get_ops
from pipeline.recipes import (
    AlignRecipe,
    EvaluationRecipe,
    PlanRecipe,
    PretrainRecipe,
    Recipe,
    ServingRecipe,
    Shape,
    TokenizerRecipe,
)
from pipeline.report import compare_answers
from pipeline.summary import announce_stage, tell_stage

Result = dict[str, Any]
TEMPLATE = ChatTemplate()
REWARD = ExactAnswer()
WORKERS = 1


def run_pipeline(recipe: Recipe, folder: Path) -> list[Stage]:
    """Do every stage, each in its own folder, and return them in order."""
    runner = StageRunner(folder, on_start=announce_stage, on_end=tell_stage)

    def run(function: Callable[..., Result], config: Any, *reads: Stage) -> Stage:
        work = partial(_call, function, config, reads)
        return runner.run(function.__name__, work, config=config, reads=reads)

    crawl = run(write_crawl, recipe.crawl)
    documents = run(curate_pages, recipe.curate, crawl)
    tokens = run(tokenize_documents, recipe.tokenizer, documents)
    planned = run(plan_pretraining, recipe.plan, tokens)
    base = run(pretrain, recipe.pretrain, tokens, planned)
    run(evaluate_base, recipe.evaluation, documents, tokens, base)
    aligned = run(align, recipe.alignment, tokens, base)
    run(serve, recipe.serving, tokens, aligned)
    return runner.stages


def write_crawl(config: SampleCrawlConfig, folder: Path) -> Result:
    """1. A crawl in WARC files: prose, boilerplate, duplicates, junk, and the truth about them."""
    with progress(counted=["rendering", "writing"]) as report:
        receipt = write_sample_crawl(folder / "warc", config, report=report)
    return {
        "pages": receipt.num_pages,
        "bytes": receipt.num_bytes,
        "pages_by_kind": receipt.pages_by_kind,
    }


def curate_pages(config: CurateConfig, folder: Path, crawl: Stage) -> Result:
    """2. Pages to documents: the good ones, once each, and for all others the reason."""
    with progress() as report:
        receipt = curate(
            crawl.folder / "warc", folder / "documents", config, workers=WORKERS, report=report
        )
    audit = compare_with_truth(folder / "documents", crawl.folder / "warc" / TRUTH_NAME)
    return {"receipt": to_dict(receipt), "audit": to_dict(audit)}


def tokenize_documents(config: TokenizerRecipe, folder: Path, documents: Stage) -> Result:
    """3. A byte-level BPE trained on the kept text, and the text as token files."""
    texts = partial(iterate_texts, documents.folder / "documents")
    compile_kernels()
    vocab, merges = train_bpe_from_texts(texts("train"), config.vocab_size, TEMPLATE.special_tokens)
    tokenizer = Tokenizer(vocab, merges, TEMPLATE.special_tokens)
    tokenizer.save(folder / "tokenizer", chat_template=TEMPLATE.to_jinja())
    files = {
        split: encode_documents(tokenizer, texts(split), folder / f"{split}.bin")
        for split in ("train", "validation")
    }
    return {
        "vocab_size": tokenizer.vocab_size,
        "num_tokens": {split: file.num_tokens for split, file in files.items()},
        "num_bytes": {split: file.num_bytes for split, file in files.items()},
    }


def plan_pretraining(config: PlanRecipe, folder: Path, tokens: Stage) -> Result:
    """4. Many tiny training runs, a scaling law through them, and the best use of the budget."""
    data, device = Tokens(tokens), choose_device(config.device)
    backend = TrainerBackend(
        data.train.tokens,
        data.validation.tokens[: config.validation_tokens],
        folder / "sweep",
        first_context=data.end_of_text,
        ops=get_ops("fused"),
        device=device,
    )
    experiments = isoflop_experiments(
        [shape.config(data.train.vocab_size) for shape in config.sweep_shapes],
        config.sweep_flops,
        config.rule.training,
    )
    with progress(counted=["sweep"]) as report:
        done = itertools.count(1)
        results = run_sweep(
            backend,
            experiments,
            on_result=lambda *_: report("sweep", next(done), len(experiments)),
        )
    points = [result.point() for result in results]
    chosen = plan(
        points,
        [_candidate(shape, data.train.vocab_size) for shape in config.candidates],
        budget_flops=config.budget_flops(_kind_of_machine(device)),
        unique_tokens=data.train.num_tokens,
        max_epochs=config.max_epochs,
        tokens_multiple=config.rule.batch_size * config.candidates[0].context_length,
    )
    model = config.shape(chosen.chosen).config(data.train.vocab_size)
    return {
        "plan": to_dict(chosen),
        "points": [to_dict(point) for point in points],
        "model": to_dict(model),
        "training": to_dict(config.rule.training(model, chosen.tokens)),
        "validation_tokens": config.validation_tokens,
        "flops": sum(result.flops for result in results),
        "tokens": sum(result.tokens for result in results),
    }


def pretrain(config: PretrainRecipe, folder: Path, tokens: Stage, planned: Stage) -> Result:
    """5. The transformer that the plan chose, on the tokens that it allows."""
    data, device = Tokens(tokens), choose_device(config.device)
    shape = from_dict(TransformerConfig, planned.result["model"])
    training = replace(
        from_dict(TrainingConfig, planned.result["training"]),
        validate_every=config.validate_every,
        checkpoint_every=config.checkpoint_every,
    )
    seed_everything(training.seed)
    model = TransformerLM(shape, ops=get_ops(config.kernels)).to(device)
    held_out = data.validation.tokens[: planned.result["validation_tokens"]]
    with progress(counted=["pretrain"]) as report:
        result = train(
            model,
            data.train.tokens,
            training,
            folder=folder / "run",
            validate=lambda model: {"val_loss": data.loss(model, held_out).nats_per_token},
            on_step=lambda told: report("pretrain", told.step, told.steps, f"loss {told.loss:.4f}"),
        )
    save_model(model, folder / "model", tokenizer=data.tokenizer)
    return {
        "parameters": count_parameters(shape),
        "steps": result.steps,
        "tokens": result.tokens,
        "flops": result.flops,
        "train_loss": result.final_loss,
        "val_loss": result.validation["val_loss"],
        "dtype": str(choose_dtype("auto", device)).removeprefix("torch."),
    }


def evaluate_base(
    config: EvaluationRecipe, folder: Path, documents: Stage, tokens: Stage, base: Stage
) -> Result:
    """6. Bits per byte of held-out documents, beside a compressor and a 5-gram model."""
    data = Tokens(tokens)
    model = load_model(base.folder / "model", ops=get_ops("fused")).to(choose_device(config.device))
    loss = data.loss(model, data.validation.tokens, stride=model.config.context_length // 2)
    train_text, held_out_text = (
        "\n\n".join(iterate_texts(documents.folder / "documents", split)).encode()
        for split in ("train", "validation")
    )
    sampling = SamplingConfig(
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        stop_token_ids=(data.end_of_text,),
        seed=config.seed,
    )
    completions = Engine(model, data.tokenizer).generate(config.prompts, sampling)
    return {
        "val_bits_per_byte": bits_per_byte(loss.total_nats, data.validation.num_bytes or 0),
        "xz_bits_per_byte": xz_bits_per_byte(train_text, held_out_text),
        "ngram_bits_per_byte": ngram_bits_per_byte(data.train, data.validation),
        "samples": [[x, y.text] for x, y in zip(config.prompts, completions, strict=True)],
    }


def align(config: AlignRecipe, folder: Path, tokens: Stage, base: Stage) -> Result:
    """7. The instruction format by imitation, then the task itself by reward alone."""
    recipe, tokenizer = config.recipe, Tokens(tokens).tokenizer
    model = load_model(base.folder / "model", ops=get_ops("fused")).to(choose_device(config.device))
    engine = Engine(model, tokenizer, max_batch_size=config.batch_size)
    task = split_task(recipe.task, seed=config.seed)
    shown, unshown = (
        task.train[: recipe.num_sft_examples],
        task.train[recipe.num_sft_examples :],
    )
    ask = partial(evaluate_reward, engine, tokenizer, task.validation, REWARD, recipe.evaluation)
    before = ask()
    with progress(counted=["fine-tune"]) as report:
        train_sft(
            model,
            tokenizer,
            shown,
            recipe.sft,
            folder=folder / "sft",
            on_step=lambda step, values: report(
                "fine-tune", step, recipe.sft.steps, f"loss {values['loss']:.4f}"
            ),
        )
    imitated = ask()
    with progress(counted=["reinforce"]) as report:
        train_grpo(
            model,
            tokenizer,
            engine,
            unshown,
            REWARD,
            recipe.grpo,
            folder=folder / "grpo",
            on_step=lambda step, values: report(
                "reinforce", step, recipe.grpo.steps, f"reward {values['reward']:.3f}"
            ),
        )
    reinforced = ask()
    save_model(model, folder / "model", tokenizer=tokenizer, chat_template=TEMPLATE.to_jinja())
    phases = {"base": before, "sft": imitated, "rl": reinforced}
    return {
        "rewards": {name: found.reward for name, found in phases.items()},
        "intervals": {name: [found.low, found.high] for name, found in phases.items()},
        "num_problems": {
            "sft": len(shown),
            "rl": len(unshown),
            "validation": len(task.validation),
        },
        "samples": compare_answers(*(found.rollouts for found in phases.values())),
    }


def serve(config: ServingRecipe, folder: Path, tokens: Stage, aligned: Stage) -> Result:
    """8. Answers to a fixed list of questions, and the proof that the export is the model."""
    data = Tokens(tokens)
    model = load_model(aligned.folder / "model")
    sampling = SamplingConfig(
        max_new_tokens=config.max_new_tokens,
        temperature=0.0,
        stop_token_ids=(data.end_of_text,),
    )
    prompts = [TEMPLATE.encode_prompt(data.tokenizer, question) for question in config.questions]
    completions = Engine(model, data.tokenizer).generate(prompts, sampling)
    # This run has progress bars of its own.
    disable_progress_bar()
    theirs = AutoModelForCausalLM.from_pretrained(aligned.folder / "model")
    ids = torch.tensor(data.validation.tokens[: model.config.context_length].astype("int64"))
    with torch.no_grad():
        difference = (theirs(ids[None]).logits - model(ids[None])).abs().max().item()
    return {
        "answers": [[x, y.text] for x, y in zip(config.questions, completions, strict=True)],
        "hf_logits_max_diff": difference,
    }


class Tokens:
    """What later stages need of the tokens."""

    def __init__(self, stage: Stage) -> None:
        self.tokenizer = Tokenizer.from_folder(stage.folder / "tokenizer")
        self.train = open_token_file(stage.folder / "train.bin")
        self.validation = open_token_file(stage.folder / "validation.bin")
        self.end_of_text = TEMPLATE.end_token_id(self.tokenizer)

    def loss(
        self, model: TransformerLM, tokens: NDArray[np.integer], *, stride: int | None = None
    ) -> HeldOutLoss:
        """Return the loss of ``model`` on held-out ``tokens``."""
        dtype = choose_dtype("auto", model.output_weight.device)
        return evaluate_loss(
            model, tokens, first_context=self.end_of_text, stride=stride, dtype=dtype
        )


def _call(
    function: Callable[..., Result], config: Any, reads: Sequence[Stage], folder: Path
) -> Result:
    return function(config, folder, *reads)


def _candidate(shape: Shape, vocab_size: int) -> Candidate:
    model = shape.config(vocab_size)
    return Candidate(
        name=shape.name,
        parameters=effective_parameters(model),
        flops_per_token=flops_per_token(model),
    )


def _kind_of_machine(device: torch.device) -> str:
    """Return which reference machine a device is like."""
    has_bfloat16 = device.type == "cpu" and choose_dtype("auto", device) == torch.bfloat16
    return "cpu-bfloat16" if has_bfloat16 else device.type

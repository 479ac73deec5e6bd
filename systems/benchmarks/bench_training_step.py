"""Forward and backward of a training step: our operations against Llama in ``transformers``.

Needs only torch, numpy, einops, jaxtyping, safetensors, regex, numba and transformers::

    PYTHONPATH=shared/src:basics/src:systems/src python systems/benchmarks/bench_training_step.py
"""

import argparse
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from lm_basics.model_config import TransformerConfig, uniform_transformer
from lm_basics.transformer import TransformerLM
from lm_shared.config import to_dict
from lm_shared.files import write_json
from lm_shared.receipt import describe_hardware
from lm_shared.tensors import choose_device, choose_dtype
from lm_systems.kernels.ops import OpsName, get_ops
from lm_systems.profiling.timing import time_call, time_interleaved

# (d_model, layers, heads, context, batch, vocabulary): a laptop's model, and one that fills a GPU.
SHAPES = {"cpu": (256, 6, 4, 256, 8, 4096), "cuda": (1024, 12, 16, 1024, 16, 32_768)}
OURS: tuple[OpsName, ...] = ("reference", "fused", "compiled")


def main() -> None:
    """Measure, print a table and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--skip-compiled", action="store_true")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("high")
    device = choose_device()
    shape = SHAPES[device.type]
    functions = _candidates(shape, device)
    if options.skip_compiled:
        functions = {name: one for name, one in functions.items() if "compiled" not in name}
    first_call_s = {name: time_call(one, device) for name, one in functions.items()}
    for function in functions.values():
        function()
    elapsed_s = time_interleaved(functions, rounds=options.rounds, device=device)
    best_s = {name: min(values) for name, values in elapsed_s.items()}
    tokens = shape[3] * shape[4]
    print(f"{'':24}{'s/step':>10}{'tokens/s':>12}{'relative':>10}{'first call s':>14}")
    for name, seconds in best_s.items():
        relative = best_s["transformers eager"] / seconds
        print(
            f"{name:24}{seconds:10.4f}{tokens / seconds:12.0f}{relative:10.2f}"
            f"{first_call_s[name]:14.1f}"
        )
    folder = device.type if device.type == "cpu" else torch.cuda.get_device_name().replace(" ", "-")
    write_json(
        options.results / folder / "training_step.json",
        {
            "clock": "processor time" if device.type == "cpu" else "wall time",
            "shape": dict(
                zip(
                    ("d_model", "num_layers", "num_heads", "context_length", "batch", "vocab_size"),
                    shape,
                    strict=True,
                )
            ),
            "dtype": str(choose_dtype("auto", device)),
            "threads": options.threads,
            "best_s": best_s,
            "all_s": elapsed_s,
            "first_call_s": first_call_s,
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "hardware": to_dict(describe_hardware()),
        },
    )


def _candidates(shape: tuple[int, ...], device: torch.device) -> dict[str, Callable[[], None]]:
    d_model, num_layers, num_heads, context_length, batch, vocab_size = shape
    config = uniform_transformer(
        vocab_size=vocab_size,
        context_length=context_length,
        d_model=d_model,
        num_layers=num_layers,
        num_heads=num_heads,
        tie_embeddings=True,
    )
    token_ids = torch.randint(0, vocab_size, (batch, context_length + 1), device=device)
    steps: dict[str, Callable[[], None]] = {}
    for name in OURS:
        torch.manual_seed(0)
        model = TransformerLM(config, ops=get_ops(name)).to(device)
        loss = model.ops.compile_step(model.loss)
        steps[f"ours {name}"] = _make_step(model, loss, (token_ids[:, :-1], token_ids[:, 1:]))
    for name in ("eager", "compiled"):
        llama = _make_llama(config)
        llama.to(device)

        def llama_loss(inputs: Tensor, labels: Tensor, llama: Any = llama) -> Tensor:
            return llama(input_ids=inputs, labels=labels, use_cache=False).loss

        loss = torch.compile(llama_loss, dynamic=False) if name == "compiled" else llama_loss
        steps[f"transformers {name}"] = _make_step(
            llama, loss, (token_ids[:, :-1], token_ids[:, :-1])
        )
    return steps


def _make_llama(config: TransformerConfig) -> torch.nn.Module:
    """Return the same shape; its attention is torch's fused one by default."""
    block = config.block(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=block.feedforward.d_ff,
            num_hidden_layers=config.num_layers,
            num_attention_heads=block.attention.num_heads,
            max_position_embeddings=config.context_length,
            tie_word_embeddings=config.tie_embeddings,
        )
    )


def _make_step(
    model: torch.nn.Module, loss: Callable[..., Tensor], batch: tuple[Tensor, Tensor]
) -> Callable[[], None]:
    device = batch[0].device
    dtype = choose_dtype("auto", device)

    def step() -> None:
        model.zero_grad()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            value = loss(*batch)
        value.backward()

    return step


if __name__ == "__main__":
    main()

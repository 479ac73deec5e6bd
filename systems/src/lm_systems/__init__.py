"""Kernels, parallelism and an inference engine, from scratch."""

from lm_basics.sampling_config import SamplingConfig
from lm_systems.inference.engine import Engine
from lm_systems.inference.protocol import Completion, Generator, TextCodec
from lm_systems.kernels.ops import OpsName, get_ops

__all__ = [
    "Completion",
    "Engine",
    "Generator",
    "OpsName",
    "SamplingConfig",
    "TextCodec",
    "get_ops",
]

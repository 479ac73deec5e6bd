"""The patterns that the kernels know."""

from collections.abc import Mapping

from lm_basics.tokenizer.kernels.records import GPT2, GPT4
from lm_basics.tokenizer.patterns import GPT2_PATTERN, GPT4_PATTERN

KERNEL_PATTERNS: Mapping[str, int] = {GPT2_PATTERN: GPT2, GPT4_PATTERN: GPT4}
"""What the kernels call a pattern."""

"""Kernels compiled for a Hopper GPU, which takes none, in a process that does not interpret."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from lm_shared.testing.processes import run_python

SHARED_BYTES = 232_448
"""Shared memory that a program may have."""
# How a tensor's pointer or a number is told to the compiler, and that it is divisible by 16.
_DIVISIBLE = [["tt.divisibility", 16]]


class Compiled(NamedTuple):
    """What came out."""

    ptx: str
    shared_bytes: int
    stack_bytes: int
    """Of a thread: registers that did not suffice."""


def run_on_compiler(program: str) -> str:
    """Run a program in which Triton compiles, and return what it printed."""
    path = os.pathsep.join(filter(None, sys.path))
    result = run_python(["-c", program], environment={"TRITON_INTERPRET": "0", "PYTHONPATH": path})
    assert result.returncode == 0, result.stderr
    return result.stdout


def compile_for_hopper(
    kernel: Any, types: dict[str, str], constants: dict[str, Any], **options: int
) -> Compiled:
    """Compile a kernel for arguments of these types, to be called where Triton compiles.

    Args:
        kernel: One of ``triton.jit``.
        types: Triton's name of the type of each argument that is no constant; with a ``!`` after
            it, the number or the address is divisible by 16.
        constants: Values of the others.
        options: Of the compiler: ``num_warps``, ``num_stages``.
    """
    names = {name: types.get(name, "constexpr").rstrip("!") for name in kernel.arg_names}
    divisible = {
        (i,): _DIVISIBLE for i, name in enumerate(names) if types.get(name, "").endswith("!")
    }
    source = ASTSource(kernel, names, constants, divisible)
    code: Any = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(code.asm["cubin"])
        tool = triton.knobs.nvidia.cuobjdump.path  # pyright: ignore[reportAttributeAccessIssue]
        usage = subprocess.run(
            [tool, "--dump-resource-usage", path], capture_output=True, text=True, check=True
        ).stdout
    (stack,) = re.findall(r"STACK:(\d+)", usage)
    return Compiled(code.asm["ptx"], code.metadata.shared, int(stack))

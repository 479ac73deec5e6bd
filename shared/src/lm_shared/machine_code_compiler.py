"""The process that compiles a library of ``lm_shared.machine_code``.

Numba gives the intermediate code of each function (``inspect_llvm``), LLVM links the parts,
optimizes them for this processor and writes an object file. Only public interfaces are used.
"""

import importlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba

from lm_shared.machine_code import symbol_name


def compile_functions(functions: Mapping[str, Sequence[str]]) -> bytes:
    """Return the object file of some functions.

    Args:
        functions: Types of the arguments by ``module:function``.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly("")
    for name, arguments in functions.items():
        module.link_in(_to_llvm(name, arguments))
    module.link_in(llvm.parse_assembly(_define_missing(module)))
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="static",
        codemodel="jitdefault",
        jit=True,
    )
    return machine.emit_object(module)


def _to_llvm(name: str, arguments: Sequence[str]) -> llvm.ModuleRef:
    """Return the optimized intermediate code of one function under its own symbol."""
    module_name, _, function_name = name.partition(":")
    function = getattr(importlib.import_module(module_name), function_name)
    signature = numba.types.int64(*(_to_numba(argument) for argument in arguments))
    # The error model of numpy divides without a check for zero, which would raise.
    compiled = numba.cfunc(signature, error_model="numpy")(function)
    text = compiled.inspect_llvm()
    for written in (f'"{compiled.native_name}"', compiled.native_name):
        text = text.replace(written, symbol_name(name))
    return llvm.parse_assembly(text)


def _define_missing(module: llvm.ModuleRef) -> str:
    """Define what the code refers to and the object file lacks, as traps.

    Numba's wrapper around every function can report an exception to Python. The functions raise
    none, but the loader resolves either every name or, silently, no name at all.
    """
    parts = ["declare void @llvm.trap()"]
    for function in module.functions:
        declaration = re.match(r"declare (.*\))", str(function).strip())
        if declaration and not function.name.startswith("llvm."):
            parts.append(f"define {declaration[1]} {{\ncall void @llvm.trap()\nunreachable\n}}")
    for variable in module.global_variables:
        if variable.is_declaration:
            parts.append(f'@"{variable.name}" = global ptr null')
    return "\n".join(parts)


def _to_numba(argument: str) -> Any:
    kind = getattr(numba.types, argument.removesuffix("*"))
    return numba.types.CPointer(kind) if argument.endswith("*") else kind


def _main() -> None:
    functions, output = sys.argv[1:]
    Path(output).write_bytes(compile_functions(json.loads(functions)))


if __name__ == "__main__":
    _main()

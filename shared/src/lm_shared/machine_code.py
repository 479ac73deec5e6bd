"""Numba functions as machine code that is compiled once and later loaded without numba.

Importing numba costs more than a second in every process, even when nothing is compiled. So a
*library* of functions over plain C types is compiled once, in a process of its own, and kept as an
object file in the user's cache folder. Later processes hand that file to LLVM's loader, which takes
milliseconds. Calls go through ``ctypes`` and release the interpreter's lock, so that threads run
side by side.

The functions see numbers and pointers only: they allocate nothing and raise nothing, and what they
touch must stay alive for the time of the call. The object file's name holds a hash of the
functions' text, of the compilers' versions and of the processor, so no file is ever out of date.
"""

import ctypes
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_shared.files import write_bytes

Function = Callable[..., int]
"""Takes integers, addresses and ``bytes``; returns an integer."""

_C_TYPES: Mapping[str, Any] = {"int64": ctypes.c_int64, "uint64": ctypes.c_uint64}
# LLVM turns loops that copy or fill memory into calls of these.
_MEMORY_FUNCTIONS = ("bcmp", "memcmp", "memcpy", "memmove", "memset")
_COMPILER = "lm_shared.machine_code"
_CACHE_NAME = "lm-from-scratch"
_DIGEST_BYTES = 32

logger = logging.getLogger(__name__)


class MachineCodeError(RuntimeError):
    """The functions cannot be compiled or loaded here; a slower way has to do."""


class Library:
    """Functions that are compiled together, loaded when the first one is asked for.

    Args:
        functions: Types of the arguments by ``module:function``: ``int64``, ``uint64``, or a
            pointer such as ``uint8*``. Every function returns ``int64``.
        sources: Modules whose text decides the code.
        cache_folder: Where object files are kept; the user's cache folder by default.
    """

    def __init__(
        self,
        functions: Mapping[str, Sequence[str]],
        sources: Sequence[str],
        *,
        cache_folder: Path | None = None,
    ) -> None:
        self.functions = functions
        self.sources = sources
        self._cache_folder = cache_folder or user_cache_folder()
        self._lock = threading.Lock()
        self._loaded: dict[str, Function] = {}
        self._failure: MachineCodeError | None = None

    def __getitem__(self, name: str) -> Function:
        """Return a function; see ``load``."""
        if not self._loaded:
            self.load()
        return self._loaded[name]

    def load(self) -> None:
        """Load the library, or compile it where that is still to do.

        Raises:
            MachineCodeError: that is impossible here.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._loaded:
                return
            try:
                self._loaded = self._link(self._read_or_compile())
            except (ImportError, OSError, RuntimeError) as error:
                self._failure = MachineCodeError(f"no machine code for this computer: {error}")
                raise self._failure from error

    def is_compiled(self) -> bool:
        """Return whether using the library costs milliseconds, and not the time of compiling."""
        if self._loaded:
            return True
        try:
            return self.object_path().is_file()
        except ImportError:
            return False

    def object_path(self) -> Path:
        """Return where the object file for this machine lies, or will lie."""
        import llvmlite.binding as llvm  # noqa: PLC0415

        digest = hashlib.sha256(json.dumps(_to_plain(self.functions)).encode())
        for module in (_COMPILER, *self.sources):
            spec = importlib.util.find_spec(module)
            if spec is None or spec.origin is None:
                raise ImportError(f"{module} has no source file")
            digest.update(Path(spec.origin).read_bytes())
        for package in ("numba", "llvmlite"):
            digest.update(importlib.metadata.version(package).encode())
        digest.update(llvm.get_process_triple().encode())
        digest.update(llvm.get_host_cpu_name().encode())
        digest.update(llvm.get_host_cpu_features().flatten().encode())
        return self._cache_folder / f"kernels-{digest.hexdigest()[:16]}.o"

    def _read_or_compile(self) -> bytes:
        path = self.object_path()
        if (code := _read_code(path)) is not None:
            return code
        logger.info("Compiling %d functions, once; later they are loaded.", len(self.functions))
        code = _compile_elsewhere(self.functions)
        # Sources that changed meanwhile have another name, and their code may be in this one.
        if self.object_path() != path:
            return code
        try:
            write_bytes(path, code + hashlib.sha256(code).digest())
        except OSError as error:
            logger.warning("%s cannot be written, every process will compile: %s", path, error)
        return code

    def _link(self, code: bytes) -> dict[str, Function]:
        import llvmlite.binding as llvm  # noqa: PLC0415

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        for name in _MEMORY_FUNCTIONS:
            pointer = ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p)
            llvm.add_symbol(name, pointer.value)
        machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(jit=True)
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
        engine.finalize_object()
        functions: dict[str, Function] = {}
        for name, arguments in self.functions.items():
            address = engine.get_function_address(symbol_name(name))
            if not address:
                raise MachineCodeError(f"the object file lacks {name}")
            types = [_C_TYPES.get(argument, ctypes.c_void_p) for argument in arguments]
            function: Any = ctypes.CFUNCTYPE(ctypes.c_int64, *types)(address)
            # The loader frees the code when it is collected: functions may outlive the library.
            function.loader = engine
            functions[name] = function
        return functions


def user_cache_folder() -> Path:
    """Return our folder among the caches of the user; it need not exist."""
    try:
        from platformdirs import user_cache_path  # noqa: PLC0415 - GPU images often lack it
    except ImportError:
        return Path.home() / ".cache" / _CACHE_NAME
    return user_cache_path(_CACHE_NAME)


def symbol_name(name: str) -> str:
    """Return the name of ``module:function`` in the object file."""
    return "lm_" + name.replace(":", "_").replace(".", "_")


def address_of(array: NDArray[Any]) -> int:
    """Return the address of the first element; the array must be contiguous and stay alive."""
    return array.ctypes.data


def zeros_at_cache_lines(length: int, dtype: Any) -> NDArray[Any]:
    """Return zeros whose first element starts a cache line of 64 bytes."""
    itemsize = np.dtype(dtype).itemsize
    spare = 64 // itemsize
    array = np.zeros(length + spare, dtype=dtype)
    skipped = -array.ctypes.data % 64 // itemsize
    return array[skipped : skipped + length]


def _read_code(path: Path) -> bytes | None:
    """Return what an object file holds, ``None`` where it is missing or damaged.

    Damaged code ends the process, in LLVM or later, so a hash of it stands behind it.
    """
    try:
        data = path.read_bytes()
    except OSError:
        return None
    code, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def _compile_elsewhere(functions: Mapping[str, Sequence[str]]) -> bytes:
    """Compile in another process, whose memory and import hooks are its own."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "kernels.o"
        command = [sys.executable, "-m", _COMPILER, json.dumps(_to_plain(functions)), str(output)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        finished = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        if finished.returncode != 0 or not output.is_file():
            raise MachineCodeError(f"compiling failed: {finished.stderr.strip()[-2000:]}")
        return output.read_bytes()


def _to_plain(functions: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {name: list(arguments) for name, arguments in functions.items()}


def compile_functions(functions: Mapping[str, Sequence[str]]) -> bytes:
    """Return the object file of some functions; this process keeps numba loaded.

    Numba gives the intermediate code of each function (``inspect_llvm``), LLVM links the parts,
    optimizes them for this processor and writes an object file. Only public interfaces are used.

    Args:
        functions: Types of the arguments by ``module:function``.
    """
    import llvmlite.binding as llvm  # noqa: PLC0415

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


def _to_llvm(name: str, arguments: Sequence[str]) -> Any:
    """Return the optimized intermediate code of one function under its own symbol."""
    import llvmlite.binding as llvm  # noqa: PLC0415
    import numba  # noqa: PLC0415

    module_name, _, function_name = name.partition(":")
    function = getattr(importlib.import_module(module_name), function_name)
    signature = numba.types.int64(*(_to_numba(argument) for argument in arguments))
    # The error model of numpy divides without a check for zero, which would raise.
    compiled = numba.cfunc(signature, error_model="numpy")(function)
    text = compiled.inspect_llvm()
    for written in (f'"{compiled.native_name}"', compiled.native_name):
        text = text.replace(written, symbol_name(name))
    return llvm.parse_assembly(text)


def _define_missing(module: Any) -> str:
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
    import numba  # noqa: PLC0415

    kind = getattr(numba.types, argument.removesuffix("*"))
    return numba.types.CPointer(kind) if argument.endswith("*") else kind


def _main() -> None:
    functions, output = sys.argv[1:]
    Path(output).write_bytes(compile_functions(json.loads(functions)))


if __name__ == "__main__":
    _main()

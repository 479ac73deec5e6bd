"""The fast path of byte-pair encoding: functions over plain memory, compiled by numba.

The modules beside this one import numba, which takes more than a second; this one, ``records`` and
``KERNELS`` do not. The modules of ``lm_basics.tokenizer.fast`` call the kernels.
"""

import logging

from lm_shared.machine_code import Function, Library, MachineCodeError

logger = logging.getLogger(__name__)

_PACKAGE = "lm_basics.tokenizer.kernels"
_MODULES = (
    "encoding",
    "long_words",
    "merge_loop",
    "merge_tables",
    "pair_heap",
    "primitives",
    "records",
    "scanner",
    "word_counts",
    "word_merging",
    "words",
)
_RECORD = "int64*"
_FUNCTIONS = {
    "primitives:find_invalid_utf8": ("uint8*", "int64", "int64"),
    "scanner:find_ends": ("int64", "uint8*", "int64", "int64", "uint8*", "int64*"),
    "scanner:find_last_end": ("int64", "uint8*", "int64", "uint8*"),
    "words:move_entries": ("uint64*", "int64", "uint64*", "int64"),
    "word_counts:count_words": (_RECORD, "uint8*", "int64*", "int64*", "int64"),
    "word_counts:add_word_counts": (_RECORD, _RECORD),
    "word_counts:lay_out_words": (_RECORD, "int32*", "int32*", "int64*"),
    "merge_loop:count_byte_pairs": ("int32*", "int64", "int32*", "int64*", "int64*", "int64*"),
    "merge_loop:enter_byte_pairs": (_RECORD, "int64", "int64*", "int64*"),
    "merge_loop:move_pairs": (_RECORD, "uint64*", "int64"),
    "merge_loop:merge_pairs": (_RECORD, "int64"),
    "merge_tables:enter_ranks": (_RECORD, "uint32*", "uint32*", "int64"),
    "merge_tables:enter_units": (
        *(_RECORD, "uint8*", "int32*", "uint32*", "uint32*", "int64"),
        *("uint32*", "uint32*", "int64*"),
    ),
    "encoding:encode_text_16": (_RECORD, "uint8*", "int64", "uint16*"),
    "encoding:encode_text_32": (_RECORD, "uint8*", "int64", "uint32*"),
    "encoding:encode_segments_16": (_RECORD, "uint8*", "int64", "uint16*"),
    "encoding:encode_segments_32": (_RECORD, "uint8*", "int64", "uint32*"),
    "encoding:measure_tokens": ("uint32*", "int64", "int32*", "int64"),
    "encoding:copy_tokens": ("uint32*", "int64", "int32*", "uint8*", "uint8*"),
}

KERNELS = Library(
    {f"{_PACKAGE}.{name}": arguments for name, arguments in _FUNCTIONS.items()},
    [f"{_PACKAGE}.{module}" for module in _MODULES],
)
"""The compiled functions, by ``module:function``."""


def kernel(name: str) -> Function:
    """Return a compiled function by ``module:function``, the module without its package."""
    return KERNELS[f"{_PACKAGE}.{name}"]


def compile_kernels() -> bool:
    """Compile or load the functions now; return whether this computer can.

    Without this call that happens where there is enough text to be worth the seconds it takes.
    """
    try:
        KERNELS.load()
    except MachineCodeError as error:
        logger.warning("The tokenizer stays in plain Python, which is slower: %s", error)
        return False
    return True

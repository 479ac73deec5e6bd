"""Blocks of 64 bytes, words of 8 and typed pointers: what the kernels are made of.

Numba has neither vectors nor loads from unaligned addresses, so these few functions write LLVM
instructions themselves. All of them assume the little-endian order of bytes.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic as numba_intrinsic

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_BLOCK = ir.VectorType(_I8, 64)
_RANKS = ir.VectorType(_I32, 16)


def intrinsic(function: Callable[..., Any]) -> Any:
    """Let kernels call ``function`` without its first argument, the context of typing."""
    return numba_intrinsic(function)


@intrinsic
def byte_masks(typing_context, text, position):
    """Classify ``text[position : position + 64]``; bit ``k`` of each mask speaks of byte ``k``.

    Returns six masks: ASCII letters, digits, whitespace, spaces, apostrophes, bytes of 128 and up.
    """
    signature = types.UniTuple(types.uint64, 6)(text, types.int64)

    def generate(context, builder, signature, arguments):
        block = _load(builder, arguments, _BLOCK)

        def constant(value):
            return ir.Constant(_BLOCK, [value] * 64)

        def in_range(bytes_, first, count):
            # Unsigned: what lies below the first wraps around to a large number.
            distance = builder.sub(bytes_, constant(first))
            return builder.icmp_unsigned("<", distance, constant(count))

        def equals(value):
            return builder.icmp_unsigned("==", block, constant(value))

        is_letter = in_range(builder.or_(block, constant(0x20)), ord("a"), 26)
        is_digit = in_range(block, ord("0"), 10)
        is_space = equals(ord(" "))
        is_whitespace = builder.or_(is_space, in_range(block, 9, 5))
        is_high = builder.icmp_unsigned(">=", block, constant(128))
        found = (is_letter, is_digit, is_whitespace, is_space, equals(ord("'")), is_high)
        masks = [builder.bitcast(mask, _I64) for mask in found]
        return context.make_tuple(builder, signature.return_type, masks)

    return signature, generate


@intrinsic
def smallest_of_16(typing_context, numbers, position):
    """Return the smallest of 16 numbers of 32 bits from ``position`` on."""
    signature = types.uint32(numbers, types.int64)

    def generate(context, builder, signature, arguments):
        vector = _load(builder, arguments, _RANKS)
        name = "llvm.vector.reduce.umin.v16i32"
        function = builder.module.globals.get(name)
        if function is None:
            function = ir.Function(builder.module, ir.FunctionType(_I32, [_RANKS]), name)
        return builder.call(function, [vector])

    return signature, generate


@intrinsic
def count_trailing_zeros(typing_context, value):
    """Return the place of the lowest bit that is set; 64 where none is."""
    signature = types.int64(types.uint64)

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return signature, generate


@intrinsic
def count_leading_zeros(typing_context, value):
    """Return how many bits are clear above the highest one that is set; 64 where none is."""
    signature = types.int64(types.uint64)

    def generate(context, builder, signature, arguments):
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return signature, generate


@intrinsic
def load_word(typing_context, text, position):
    """Return 8 bytes from ``text[position]`` on as one number, the first byte lowest."""
    signature = types.uint64(text, types.int64)

    def generate(context, builder, signature, arguments):
        return _load(builder, arguments, _I64)

    return signature, generate


@intrinsic
def store_word(typing_context, array, position, word):
    """Write 8 bytes from ``array[position]`` on, whatever the type of the array."""
    signature = types.void(array, types.int64, types.uint64)

    def generate(context, builder, signature, arguments):
        pointer = builder.gep(arguments[0], [arguments[1]])
        store = builder.store(arguments[2], builder.bitcast(pointer, _I64.as_pointer()))
        store.align = 1
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def prefetch(typing_context, array, position):
    """Ask for the cache line of ``array[position]``."""
    signature = types.void(array, types.int64)

    def generate(context, builder, signature, arguments):
        pointer = builder.gep(arguments[0], [arguments[1]])
        pointer = builder.bitcast(pointer, _I8.as_pointer())
        function_type = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], function_type)
        builder.call(function, [pointer, _I32(0), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return signature, generate


def _pointer_to(kind):
    """Return a function that takes an address and returns a pointer to numbers of one kind."""

    @intrinsic
    def pointer_at(typing_context, address):
        signature = types.CPointer(kind)(types.int64)

        def generate(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return signature, generate

    return pointer_at


uint8_at = _pointer_to(types.uint8)
int32_at = _pointer_to(types.int32)
uint32_at = _pointer_to(types.uint32)
int64_at = _pointer_to(types.int64)
uint64_at = _pointer_to(types.uint64)


def _load(builder, arguments, kind):
    """Load a value of another type, from any address: pointer and position."""
    place = builder.gep(arguments[0], [arguments[1]])
    value = builder.load(builder.bitcast(place, kind.as_pointer()))
    value.align = 1
    return value

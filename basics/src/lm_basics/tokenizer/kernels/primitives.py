"""Blocks of 64 bytes, words of 8 and typed pointers: what the kernels are made of.

Numba has neither vectors nor loads from unaligned addresses, so the first few functions write LLVM
instructions themselves. All of them assume the little-endian order of bytes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic as numba_intrinsic, models, register_model

from lm_basics.tokenizer.kernels.records import BUCKET, NUM_LANES, RANK_BITS

_HIGH_BIT_OF_EACH = np.uint64(0x8080808080808080)
_NONE = np.uint64(0)
_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_BLOCK = ir.VectorType(_I8, 64)
_BUCKET = ir.VectorType(_I64, BUCKET)
_LANES = ir.VectorType(_I32, NUM_LANES)


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


class Lanes(types.Type):
    """32 unsigned numbers of 32 bits in vector registers."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


_lanes = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, data_model_manager, kind) -> None:
        super().__init__(data_model_manager, kind, _LANES)


@intrinsic
def load_lanes(typing_context, numbers, position):
    """Return 32 numbers from ``numbers[position]`` on."""
    signature = _lanes(numbers, types.int64)

    def generate(context, builder, signature, arguments):
        return _load(builder, arguments, _LANES)

    return signature, generate


@intrinsic
def store_lanes(typing_context, numbers, position, lanes):
    """Write 32 numbers to ``numbers[position]`` and behind."""
    signature = types.void(numbers, types.int64, lanes)

    def generate(context, builder, signature, arguments):
        place = builder.gep(arguments[0], [arguments[1]])
        store = builder.store(arguments[2], builder.bitcast(place, _LANES.as_pointer()))
        store.align = 4
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def set_lane(typing_context, lanes, place, number):
    """Return the lanes with another number in one place."""
    signature = _lanes(lanes, types.int64, types.uint32)

    def generate(context, builder, signature, arguments):
        lanes, place, number = arguments
        places = ir.Constant(_LANES, list(range(NUM_LANES)))
        wanted = _repeat(builder, builder.trunc(place, _I32), NUM_LANES)
        is_place = builder.icmp_unsigned("==", places, wanted)
        return builder.select(is_place, _repeat(builder, number, NUM_LANES), lanes)

    return signature, generate


@intrinsic
def smallest_lane(typing_context, lanes):
    """Return the smallest of the numbers."""
    signature = types.uint32(lanes)

    def generate(context, builder, signature, arguments):
        return _smallest(builder, arguments[0])

    return signature, generate


@intrinsic
def rank_in_bucket(typing_context, entries, position, key):
    """Return the rank of the one of 8 entries, from ``position`` on, that holds ``key``.

    An entry is the key above ``RANK_BITS`` bits of the rank. Without the key all bits are set.
    """
    signature = types.uint64(entries, types.int64, types.uint64)

    def generate(context, builder, signature, arguments):
        bucket = _load(builder, arguments, _BUCKET)
        rank_bits = ir.Constant(_BUCKET, [RANK_BITS] * BUCKET)
        no_rank = ir.Constant(_BUCKET, [(1 << RANK_BITS) - 1] * BUCKET)
        key = _repeat(builder, arguments[2], BUCKET)
        is_key = builder.icmp_unsigned("==", builder.lshr(bucket, rank_bits), key)
        rank = builder.select(is_key, builder.and_(bucket, no_rank), no_rank)
        return _smallest(builder, rank)

    return signature, generate


@intrinsic
def count_trailing_zeros(typing_context, value):
    """Return the place of the lowest bit that is set; 64 where none is."""
    signature = types.int64(types.uint64)

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

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


def _repeat(builder, number, times):
    """Return a vector of the same number everywhere."""
    vector = ir.VectorType(number.type, times)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), number, _I32(0))
    return builder.shuffle_vector(
        first, first, ir.Constant(ir.VectorType(_I32, times), [0] * times)
    )


def _smallest(builder, vector):
    """Return the smallest of the unsigned numbers of a vector."""
    name = f"llvm.vector.reduce.umin.v{vector.type.count}{vector.type.element.intrinsic_name}"
    function = builder.module.globals.get(name)
    if function is None:
        kind = ir.FunctionType(vector.type.element, [vector.type])
        function = ir.Function(builder.module, kind, name)
    return builder.call(function, [vector])


def _load(builder, arguments, kind):
    """Load a value of another type, from any address: pointer and position."""
    place = builder.gep(arguments[0], [arguments[1]])
    value = builder.load(builder.bitcast(place, kind.as_pointer()))
    value.align = 1
    return value


def find_invalid_utf8(text, start, end):
    """Return the place of the first byte that starts no valid character, ``end`` if all are.

    Surrogates, overlong forms and what lies above U+10FFFF are invalid (Unicode 16, table 3-7).
    Nothing behind the end is read.
    """
    place = start
    while place < end:
        if place + 8 <= end and load_word(text, place) & _HIGH_BIT_OF_EACH == _NONE:
            place += 8
            continue
        length = character_length(text, place, end)
        if length == 0:
            return place
        place += length
    return end


@njit(inline="always")
def character_length(text, place, end):
    """Return the bytes of the character at ``place``, 0 if it is not valid."""
    lead = text[place]
    if lead < 0x80:
        return 1
    length = 2 + (lead >= 0xE0) + (lead >= 0xF0)
    if lead < 0xC2 or lead > 0xF4 or place + length > end:
        return 0
    for offset in range(1, length):
        if text[place + offset] & 0xC0 != 0x80:
            return 0
    second = text[place + 1]
    is_overlong = (lead == 0xE0 and second < 0xA0) or (lead == 0xF0 and second < 0x90)
    is_too_large = (lead == 0xED and second > 0x9F) or (lead == 0xF4 and second > 0x8F)
    return 0 if is_overlong or is_too_large else length

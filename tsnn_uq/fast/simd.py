"""Vectors for numba kernels: eight 32-bit words of bits, and 32 lanes of bytes, integers or floats.

numba has no vector types, and LLVM's loop vectorizer cannot vectorize a carry-save counter. The types here are LLVM
vectors with the operators ``&``, ``+``, ``>=`` and so on, which LLVM compiles to the instructions of the processor
(AVX2, AVX-512, NEON). Lane i of 32 corresponds to bit i of a word.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

__all__ = [
    "bit_count",
    "fill",
    "fill_words",
    "join_bytes",
    "load",
    "minus_ones",
    "multiply_add",
    "row_offsets",
    "select",
    "signed_integers",
    "store",
    "to_bits",
    "to_floats",
    "to_lanes",
    "unsigned_integers",
    "zero_bytes",
    "zero_words",
]

ELEMENTS = {"bit": ir.IntType(1), "byte": ir.IntType(8), "int": ir.IntType(32), "word": ir.IntType(32)}
ELEMENTS["float"] = ir.FloatType()


class Vector(types.Type):
    """A number of lanes of one element type, a name in `ELEMENTS`."""

    def __init__(self, element: str, lanes: int) -> None:
        self.element, self.lanes = element, lanes
        super().__init__(name=f"Vector({element}, {lanes})")

    @property
    def llvm(self) -> ir.VectorType:
        """The LLVM vector type."""
        return ir.VectorType(ELEMENTS[self.element], self.lanes)


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """Represent a vector by its LLVM type."""

    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, kind.llvm)


WORDS = Vector("word", 8)
BITS, BYTES, INTS, FLOATS = (Vector(element, 32) for element in ("bit", "byte", "int", "float"))


def _binary(operation: Any, operands: Vector, result: Vector, emit: Callable[[ir.IRBuilder, Any, Any], Any]) -> None:
    """Register a binary operator on two vectors of one type."""

    @intrinsic
    def apply(typing: Any, left: Any, right: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return emit(builder, *arguments)

        return result(operands, operands), generate

    @overload(operation, strict=False)
    def _typed(left: Any, right: Any) -> Any:
        if left == operands and right == operands:
            return lambda left, right: apply(left, right)
        return None


_build = ir.IRBuilder
for _operation, _emit in ((operator.and_, _build.and_), (operator.or_, _build.or_), (operator.xor, _build.xor)):
    _binary(_operation, WORDS, WORDS, _emit)
_binary(operator.add, WORDS, WORDS, _build.add)
_binary(operator.add, BYTES, BYTES, _build.add)
_binary(operator.sub, BYTES, BYTES, _build.sub)
_binary(operator.add, INTS, INTS, _build.add)
_binary(operator.sub, INTS, INTS, _build.sub)
_binary(operator.add, FLOATS, FLOATS, _build.fadd)
_binary(operator.sub, FLOATS, FLOATS, _build.fsub)
_binary(operator.mul, FLOATS, FLOATS, _build.fmul)
_binary(operator.ge, FLOATS, BITS, lambda builder, left, right: builder.fcmp_ordered(">=", left, right))


@intrinsic
def _not(typing: Any, words: Any) -> Any:
    ones = ir.Constant(WORDS.llvm, [2**32 - 1] * WORDS.lanes)
    return WORDS(WORDS), lambda context, builder, signature, arguments: builder.xor(arguments[0], ones)


@overload(operator.invert, strict=False)
def _invert(words: Any) -> Any:
    """Register ``~`` for words."""
    if words == WORDS:
        return lambda words: _not(words)
    return None


def _pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: ir.VectorType) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """Load eight words of a uint32 array, or 32 values of a float32 or int8 array, starting at `index`."""
    vector = {types.float32: FLOATS, types.int8: BYTES}.get(array.dtype, WORDS)
    align = array.dtype.bitwidth // 8

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, position = arguments
        return builder.load(_pointer(context, builder, signature.args[0], values, position, vector.llvm), align=align)

    return vector(array, types.intp), generate


@intrinsic
def fill_words(typing: Any, word: Any) -> Any:
    """Eight words that all are one uint32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _splat(builder, arguments[0], WORDS)

    return WORDS(types.uint32), generate


@intrinsic
def store(typing: Any, array: Any, index: Any, vector: Any) -> Any:
    """Store a vector in an array, starting at `index`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, position, value = arguments
        builder.store(value, _pointer(context, builder, signature.args[0], values, position, vector.llvm), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


def _zeros(vector: Vector) -> Any:
    return intrinsic(lambda typing: (vector(), lambda *_: ir.Constant(vector.llvm, None)))


zero_words, zero_bytes = _zeros(WORDS), _zeros(BYTES)


@intrinsic
def fill(typing: Any, value: Any) -> Any:
    """32 lanes that all are one float32 or int32."""
    vector, number = (INTS, types.int32) if isinstance(value, types.Integer) else (FLOATS, types.float32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _splat(builder, arguments[0], vector)

    return vector(number), generate


def _splat(builder: Any, value: Any, vector: Vector) -> Any:
    one = builder.insert_element(ir.Constant(vector.llvm, ir.Undefined), value, ir.IntType(32)(0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), None)
    return builder.shuffle_vector(one, one, lanes)


@intrinsic
def to_lanes(typing: Any, word: Any) -> Any:
    """Convert the bits of a uint32 to 32 lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], BITS.llvm)

    return BITS(types.uint32), generate


@intrinsic
def to_bits(typing: Any, lanes: Any) -> Any:
    """Convert 32 lanes of bits to a uint32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(BITS), generate


@intrinsic
def minus_ones(typing: Any, bits: Any) -> Any:
    """Convert bits to bytes: -1 where a bit is set and 0 elsewhere."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.sext(arguments[0], BYTES.llvm)

    return BYTES(BITS), generate


@intrinsic
def join_bytes(typing: Any, low: Any, high: Any) -> Any:
    """Join unsigned low and high bytes to 32 integers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        small, large = (builder.zext(argument, INTS.llvm) for argument in arguments)
        eight = ir.Constant(INTS.llvm, [8] * 32)
        return builder.or_(small, builder.shl(large, eight))

    return INTS(BYTES, BYTES), generate


@intrinsic
def unsigned_integers(typing: Any, low: Any) -> Any:
    """Convert unsigned bytes to 32 integers."""
    return INTS(BYTES), lambda context, builder, signature, arguments: builder.zext(arguments[0], INTS.llvm)


@intrinsic
def signed_integers(typing: Any, values: Any) -> Any:
    """Convert signed bytes to 32 integers."""
    return INTS(BYTES), lambda context, builder, signature, arguments: builder.sext(arguments[0], INTS.llvm)


@intrinsic
def to_floats(typing: Any, values: Any) -> Any:
    """Convert 32 integers to floats."""
    return FLOATS(INTS), lambda context, builder, signature, arguments: builder.sitofp(arguments[0], FLOATS.llvm)


@intrinsic
def select(typing: Any, bits: Any, where_set: Any, elsewhere: Any) -> Any:
    """Select for each lane: `where_set` if the bit is set, else `elsewhere`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(*arguments)

    return FLOATS(BITS, FLOATS, FLOATS), generate


@intrinsic
def multiply_add(typing: Any, left: Any, right: Any, more: Any) -> Any:
    """Compute left * right + more for each lane, rounded once if the processor has a fused instruction."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(FLOATS.llvm, [FLOATS.llvm] * 3)
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{FLOATS.lanes}f32")
        return builder.call(function, arguments)

    return FLOATS(FLOATS, FLOATS, FLOATS), generate


@intrinsic
def row_offsets(typing: Any, table: Any, index: Any, first: Any, stride: Any) -> Any:
    """Eight words (first + byte) * stride, for the eight bytes of a table that start at `index`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bytes_, position, start, factor = arguments
        eight = ir.VectorType(ELEMENTS["byte"], WORDS.lanes)
        pointer = _pointer(context, builder, signature.args[0], bytes_, position, eight)
        places = builder.zext(builder.load(pointer, align=1), WORDS.llvm)
        return builder.mul(builder.add(places, _splat(builder, start, WORDS)), _splat(builder, factor, WORDS))

    return WORDS(table, types.intp, types.uint32, types.uint32), generate


@intrinsic
def bit_count(typing: Any, word: Any) -> Any:
    """Number of set bits of a uint32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint32(types.uint32), generate

"""The contents of NumPy arrays and pandas frames, at the speed of memory. Neither package is imported here.

An array is its type of elements, its shape, and its elements in C order, whichever way they lie in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from harmony.core.scribe import Part, Scribe, Unidentified, Writer, seal, type_name
from harmony.core.values import attributes, write_buffer

#: Bytes of an array that are copied at a time where it does not lie in C order.
_BLOCK = 2**20
#: Kinds of elements that are their bytes.
_RAW = frozenset("biufcmMSU")


def writer_for(kind: type) -> Writer | None:
    """Return what writes a type of NumPy's or pandas's, or one derived from these."""
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None:
        if issubclass(kind, numpy.ma.MaskedArray):
            return _masked
        if issubclass(kind, numpy.ndarray):
            return _array
        if issubclass(kind, numpy.generic):
            return _scalar
        if issubclass(kind, numpy.dtype):
            return lambda scribe, value: seal("dtype", _dtype(scribe, value))
    if pandas is not None:
        for base, writer in ((pandas.DataFrame, _frame), (pandas.Series, _series), (pandas.Index, _index)):
            if issubclass(kind, base):
                return writer
        if issubclass(kind, pandas.api.extensions.ExtensionArray):
            return lambda scribe, value: seal("extension", _column(scribe, value))
    return None


# -- NumPy ----------------------------------------------------------------------------------------------


def _dtype(scribe: Scribe, dtype: Any) -> Part:
    if dtype.names is not None:
        fields = [[name, _dtype(scribe, dtype.fields[name][0]), dtype.fields[name][1]] for name in dtype.names]
        return ["fields", fields, dtype.itemsize]
    if dtype.subdtype is not None:
        return ["sub", _dtype(scribe, dtype.subdtype[0]), list(dtype.subdtype[1])]
    return [dtype.str, dtype.name]


def _array(scribe: Scribe, value: Any) -> bytes:
    numpy = sys.modules["numpy"]
    kind = type(value)
    plain = value.view(numpy.ndarray)
    if kind in (numpy.ndarray, numpy.memmap):
        return _elements(scribe, plain)
    state = getattr(value, "__dict__", None)
    return scribe.named("array", kind, attributes(scribe, kind, [plain, state]))


def _elements(scribe: Scribe, array: Any) -> bytes:
    dtype = array.dtype
    parts = [_dtype(scribe, dtype), list(array.shape)]
    if dtype.names is not None:
        fields = [(_elements(scribe, array[name]),) for name in dtype.names]  # what pads them has no meaning
        return seal("structured", [parts, fields])
    if dtype.kind == "V" and dtype.isbuiltin != 2 and not dtype.hasobject:
        return write_buffer(scribe, "ndarray", parts, list(_blocks(scribe, array)))
    if dtype.kind not in _RAW and dtype.kind != "V":
        return scribe.sequence("array", [parts, array.reshape(-1).tolist()])
    if dtype.kind in "fc" and dtype.char in "gG":
        array = _without_padding(array)
    return _stream(scribe, parts, array)


def _without_padding(array: Any) -> Any:
    """Return the bytes of extended floats that mean something: 10 of 16 where they are x87's."""
    numpy = sys.modules["numpy"]
    if numpy.finfo(numpy.longdouble).nmant != 63:
        return array
    size = numpy.dtype(numpy.longdouble).itemsize
    return numpy.ascontiguousarray(array).reshape(-1).view("u1").reshape(-1, size)[:, :10]


def _stream(scribe: Scribe, parts: Part, array: Any) -> bytes:
    from xxhash import xxh3_128

    scribe.spend(array.nbytes)
    state = xxh3_128(seal("ndarray", parts))
    for block in _blocks(scribe, array):
        state.update(block)
    return state.digest()


def _blocks(scribe: Scribe, array: Any) -> Iterator[Any]:
    """Yield the elements as bytes in C order; not copied where they lie so, else by the block."""
    numpy = sys.modules["numpy"]
    if not array.size:
        return
    if array.flags.c_contiguous:
        yield array.reshape(-1).view("u1")
        return
    row = array.nbytes // len(array)
    if row > _BLOCK and array.ndim > 1:
        for part in array:
            yield from _blocks(scribe, part)
        return
    step = max(1, _BLOCK // max(row, 1))
    for start in range(0, len(array), step):
        yield numpy.ascontiguousarray(array[start : start + step]).reshape(-1).view("u1")


def _scalar(scribe: Scribe, value: Any) -> bytes:
    return scribe.named("scalar", type(value), (_elements(scribe, sys.modules["numpy"].asarray(value)),))


def _masked(scribe: Scribe, value: Any) -> bytes:
    """Write a masked array; what lies under the mask has no meaning."""
    numpy = sys.modules["numpy"]
    mask = numpy.ma.getmaskarray(value)
    data = numpy.ma.getdata(value).view(numpy.ndarray).copy()
    data[mask] = numpy.zeros((), data.dtype)
    return scribe.named("masked", type(value), scribe.parts([data, mask, value.fill_value]))


# -- pandas ---------------------------------------------------------------------------------------------


def _frame(scribe: Scribe, value: Any) -> bytes:
    columns = []
    for position, name in enumerate(value.columns):
        try:
            columns.append((seal("column", _column(scribe, value.iloc[:, position].array)),))
        except Unidentified as error:
            raise error.inside(f"in column {name!r} of a frame") from None
    return scribe.named("frame", type(value), [*_labels(scribe, value, [value.columns, value.index]), columns])


def _series(scribe: Scribe, value: Any) -> bytes:
    labels = _labels(scribe, value, [value.name, value.index])
    return scribe.named("series", type(value), [*labels, _column(scribe, value.array)])


def _labels(scribe: Scribe, value: Any, labels: list[Any]) -> list[Part]:
    extra = {name: getattr(value, name, None) for name in value._metadata if name not in ("_name", "name")}
    return list(attributes(scribe, type(value), [*labels, extra, dict(value.attrs)]))


def _index(scribe: Scribe, value: Any) -> bytes:
    names = scribe.parts(list(value.names))
    if hasattr(value, "levels"):
        levels = [_column(scribe, value.get_level_values(number).array) for number in range(value.nlevels)]
        return scribe.named("index", type(value), [names, levels])
    if type(value).__name__ == "RangeIndex":
        return scribe.named("index", type(value), [names, [value.start, value.stop, value.step]])
    return scribe.named("index", type(value), [names, getattr(value, "freqstr", None), _column(scribe, value.array)])


def _column(scribe: Scribe, array: Any) -> Part:
    """Return the elements of a column, and which are missing; what lies where one is missing has no meaning."""
    numpy = sys.modules["numpy"]
    dtype = array.dtype
    name = [type_name(type(dtype)), str(dtype)]
    if isinstance(dtype, numpy.dtype) and not hasattr(array, "asi8"):
        return [name, scribe.part(numpy.asarray(array))]
    if hasattr(array, "asi8"):  # times
        return [name, scribe.part(numpy.asarray(array.asi8))]
    if hasattr(array, "categories"):
        return [
            "categories",
            bool(dtype.ordered),
            scribe.part(numpy.asarray(array.codes)),
            scribe.part(dtype.categories),
        ]
    missing = numpy.asarray(array.isna())
    plain = getattr(dtype, "numpy_dtype", None)
    if isinstance(plain, numpy.dtype) and plain.kind in "biuf":
        filled = array.to_numpy(dtype=plain, na_value=plain.type(0))
        return [name, scribe.part(missing), scribe.part(filled)]
    elements = array.astype(object)
    elements = numpy.asarray(elements, dtype=object).copy()
    elements[missing] = None
    return [name, scribe.part(missing), scribe.part(elements.tolist())]

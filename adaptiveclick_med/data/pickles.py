"""Pickles that come from strangers: read without running anything that they name."""

from __future__ import annotations

import io
import math
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptiveclick_med.data.files import UnreadableFileError

__all__ = ["load_plain_pickle"]

_PLAIN_CODE = re.compile(r"b1|[iu][1248]|f[248]|c8|c16|[SU][1-9]\d{0,5}")
_LATIN = ("latin1", "latin-1")
_MOST_DIMENSIONS = 32


def load_plain_pickle(path: str | Path) -> Any:
    """Read a pickle of plain data.

    Admitted are dictionaries, lists, tuples, sets, frozen sets, ``OrderedDict``, numbers, strings, bytes, ``None``, and
    NumPy arrays, scalars and dtypes of booleans, numbers and strings; of protocols 0 to 5, written by NumPy 1 or 2.
    A pickle is a program that calls what it names. Here each name that it may use stands for a function of this module
    that builds plain data and nothing else; any other name ends the reading. A file made to harm can still ask for much
    memory.

    Args:
        path: the file.

    Returns:
        what the file holds, as Python's and NumPy's own types.

    Raises:
        UnreadableFileError: when there is no such file, it is no pickle or is cut short, or it names anything else; the
            message names the file and what was refused.
    """
    try:
        unpickler = _PlainUnpickler(io.BytesIO(Path(path).read_bytes()))
        content = unpickler.load()
        return _finished(content, {}) if unpickler.has_names else content
    except FileNotFoundError as error:
        raise _unreadable(path, "there is no such file") from error
    except Exception as error:
        raise _unreadable(path, str(error).strip().rstrip(".") or type(error).__name__) from error


def _unreadable(path: str | Path, reason: str) -> UnreadableFileError:
    return UnreadableFileError(f"cannot read {path}: {reason}.", path, reason)


class _PlainUnpickler(pickle.Unpickler):
    """Gives stand-ins for the few names that plain data need, and refuses all others."""

    has_names = False

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in of a name."""
        self.has_names = True
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise _refused(f"it names {module}.{name}, which is no plain data") from None

    def persistent_load(self, pid: Any) -> Any:
        """Refuse objects that lie outside the file."""
        raise _refused("it refers to objects outside the file")


def _refused(reason: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(reason)


class _StandIn:
    """A name that a pickle may use; it can be called, and not changed."""

    __slots__ = ("_function", "name")

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise _refused(f"it changes {self.name}")


class _Dtype:
    """A dtype of plain values while it is built."""

    __slots__ = ("_dtype",)

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        if not isinstance(code, str) or not _PLAIN_CODE.fullmatch(code):
            raise _refused(f"it has the dtype {code!r:.40}; only booleans, numbers and strings are plain data")
        self._dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order, extras, metadata = state[1], state[2:5], state[8:]
        if state[0] not in (3, 4) or order not in ("<", ">", "=", "|") or any(part is not None for part in extras):
            raise _refused(f"it has a dtype {self._dtype} with fields or an unknown state")
        if any(metadata) or state[5] not in (-1, self._dtype.itemsize):
            raise _refused(f"it has a dtype {self._dtype} with metadata or another size")
        self._dtype = self._dtype.newbyteorder(order)

    def get(self) -> np.dtype[Any]:
        """Return the dtype."""
        return self._dtype


class _Array:
    """An array while it is built."""

    __slots__ = ("_array",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: NDArray[Any] | None = None) -> None:
        self._array = array

    def __setstate__(self, state: Any) -> None:
        version, shape, dtype, fortran, raw = state
        if version != 1 or self._array is not None:
            raise _refused("it has an array with an unknown state")
        self._array = _values(dtype, shape, raw, "F" if fortran else "C")

    def get(self) -> NDArray[Any]:
        """Return the array."""
        if self._array is None:
            raise _refused("it has an array without values")
        return self._array


def _values(dtype: Any, shape: Any, raw: Any, order: str) -> NDArray[Any]:
    """Return an array of raw values, after a check that they are what the array needs."""
    if not isinstance(dtype, _Dtype):
        raise _refused(f"it has an array whose dtype is {type(dtype).__name__}")
    if (
        not isinstance(shape, tuple)
        or len(shape) > _MOST_DIMENSIONS
        or any(type(length) is not int or length < 0 for length in shape)
    ):
        raise _refused(f"it has an array of shape {shape!r:.50}")
    plain = dtype.get()
    if not isinstance(raw, bytes | bytearray) or len(raw) != math.prod(shape) * plain.itemsize:
        found = f"{len(raw)} bytes" if isinstance(raw, bytes | bytearray) else type(raw).__name__
        raise _refused(f"it has an array of shape {list(shape)} and dtype {plain} that comes with {found} of values")
    layout: Any = order
    array: NDArray[Any] = np.ndarray(shape, plain, buffer=bytes(raw), order=layout).copy(order=layout)
    return array.view(np.uint8) != 0 if plain.kind == "b" else array


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    if kind is not _NDARRAY:
        raise _refused("it has an array of an unknown kind")
    return _Array()


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> _Array:
    if order == "K" and axes is not None:
        return _Array(_values(dtype, shape, raw, "C").transpose(axes))
    if order not in ("C", "F"):
        raise _refused(f"it has an array of order {order!r:.20}")
    return _Array(_values(dtype, shape, raw, order))


def _scalar(dtype: Any, raw: Any) -> Any:
    return _values(dtype, (), raw, "C")[()]


def _no_array(*arguments: Any) -> Any:
    raise _refused("it makes an array by numpy.ndarray itself")


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in _LATIN:
        raise _refused(f"it encodes by {encoding!r:.20}; only latin1 is allowed")
    return text.encode("latin1")


def _bytes(*arguments: Any) -> bytes:
    if arguments:
        raise _refused("it makes bytes from something else")
    return b""


def _bytearray(raw: Any = b"", *encoding: Any) -> bytearray:
    return bytearray(raw if isinstance(raw, bytes) else _encode(raw, *encoding))


def _complex(real: Any, imaginary: Any) -> complex:
    if not isinstance(real, int | float) or not isinstance(imaginary, int | float):
        raise _refused("it has a complex number that is not made of two numbers")
    return complex(real, imaginary)


def _container(kind: Callable[[Any], Any], name: str) -> Callable[..., Any]:
    def make(members: Any = ()) -> Any:
        if not isinstance(members, list | tuple):
            raise _refused(f"it makes a {name} of {type(members).__name__}")
        return kind(members)

    return make


_NDARRAY = _StandIn("numpy.ndarray", _no_array)


def _stand_ins() -> dict[tuple[str, str], _StandIn]:
    """Return the stand-in of each (module, name)."""
    found = {
        ("numpy", "ndarray"): _NDARRAY,
        ("numpy", "dtype"): _StandIn("numpy.dtype", _Dtype),
        ("_codecs", "encode"): _StandIn("_codecs.encode", _encode),
        ("collections", "OrderedDict"): _StandIn("OrderedDict", _container(OrderedDict, "OrderedDict")),
    }
    for core in ("numpy.core", "numpy._core"):
        found[f"{core}.multiarray", "_reconstruct"] = _StandIn("_reconstruct", _reconstruct)
        found[f"{core}.multiarray", "scalar"] = _StandIn("scalar", _scalar)
        found[f"{core}.numeric", "_frombuffer"] = _StandIn("_frombuffer", _from_buffer)
    for builtins in ("builtins", "__builtin__"):
        found[builtins, "bytes"] = _StandIn("bytes", _bytes)
        found[builtins, "bytearray"] = _StandIn("bytearray", _bytearray)
        found[builtins, "complex"] = _StandIn("complex", _complex)
        found[builtins, "set"] = _StandIn("set", _container(set, "set"))
        found[builtins, "frozenset"] = _StandIn("frozenset", _container(frozenset, "frozenset"))
    return found


_STAND_INS = _stand_ins()
_SIMPLE = (type(None), bool, int, float, complex, str, bytes, bytearray, np.generic)


def _finished(value: Any, done: dict[int, Any]) -> Any:
    """Return plain data with the arrays and dtypes that were built.

    Args:
        value: what the pickle made.
        done: containers that were met, by identity, so that what is shared stays shared; ``_OPEN`` while one is
            rebuilt.
    """
    if isinstance(value, _SIMPLE):
        return value
    if isinstance(value, _Array | _Dtype):
        return value.get()
    kind = type(value)
    if kind not in (list, tuple, set, frozenset, dict, OrderedDict):
        raise _refused(f"it holds {getattr(value, 'name', kind.__name__)} itself, which is no plain data")
    if id(value) not in done:
        done[id(value)] = _OPEN
        if kind in (dict, OrderedDict):
            done[id(value)] = kind((_finished(key, done), _finished(entry, done)) for key, entry in value.items())
        else:
            done[id(value)] = kind(_finished(entry, done) for entry in value)
    if done[id(value)] is _OPEN:
        raise _refused("it holds a container that contains itself")
    return done[id(value)]


_OPEN = object()

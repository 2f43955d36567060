from __future__ import annotations

import builtins
import io
import json
import os
import pickle
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptiveclick_med.data.files import UnreadableFileError
from adaptiveclick_med.data.pickles import load_plain_pickle

PROTOCOLS = range(6)
MULTIARRAY = "numpy._core.multiarray"


def dump(content: Any, protocol: int = 4, *, numpy_1: bool = False) -> bytes:
    """Pickle in Python, so that module names can be those that NumPy 1 wrote."""

    class OldNames(pickle._Pickler):  # type: ignore[name-defined]
        def save_global(self, obj: Any, name: str | None = None) -> None:
            module = getattr(obj, "__module__", None) or ""
            if numpy_1 and module.startswith("numpy._core"):
                module, name = module.replace("numpy._core", "numpy.core"), name or obj.__qualname__
                if protocol >= 4:
                    self.save(module)
                    self.save(name)
                    self.write(pickle.STACK_GLOBAL)
                else:
                    self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
                self.memoize(obj)
            else:
                super().save_global(obj, name)

        dispatch = pickle._Pickler.dispatch.copy()  # type: ignore[attr-defined]
        dispatch[type(dump)] = save_global
        dispatch[type] = save_global

    buffer = io.BytesIO()
    OldNames(buffer, protocol).dump(content)
    return buffer.getvalue()


def write(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_python_data(tmp_path: Path, protocol: int) -> None:
    shared = [1, 2]
    content = {
        "numbers": [0, -1, 2**70, 1.5, float("inf"), 1 + 2j, True, None],
        "text": ("a", "ü", b"", b"\x00\xff", bytearray(b"xyz")),
        3: {1, 2},
        (4, "k"): frozenset({5}),
        "ordered": OrderedDict([("b", 1), ("a", OrderedDict())]),
        "shared": [shared, shared],
    }
    loaded = load_plain_pickle(write(tmp_path / "a.pickle", pickle.dumps(content, protocol)))
    assert loaded == content and list(loaded["ordered"]) == ["b", "a"]
    assert type(loaded["ordered"]) is OrderedDict and type(loaded["text"][4]) is bytearray
    assert loaded["shared"][0] is loaded["shared"][1]


@pytest.mark.parametrize("numpy_1", [False, True])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_data(tmp_path: Path, protocol: int, numpy_1: bool) -> None:
    random = np.random.RandomState(0)
    arrays = [
        random.randint(0, 256, (3, 4)).astype(np.uint8),
        np.asfortranarray(random.rand(2, 3)),
        random.rand(4, 5, 6).transpose(1, 0, 2),
        random.rand(6, 8)[::2, ::3],
        np.array([[True, False]]),
        np.arange(5, dtype=">i4"),
        np.zeros((0, 2), dtype=np.float32),
        np.array(7, dtype=np.int64),
        np.array(["ab", "c"]),
        np.array([b"ab", b"c"]),
        np.array([1 + 2j], dtype=np.complex64),
    ]
    scalars = [np.float64(0.25), np.int32(-3), np.bool_(True), np.str_("ab")]
    content = {"arrays": arrays, "scalars": tuple(scalars), np.int64(3): np.dtype(">f4"), "again": arrays[0]}
    raw = dump(content, protocol, numpy_1=numpy_1)
    assert (b"numpy.core" in raw) is numpy_1 and (b"numpy._core" in raw) is not numpy_1
    loaded = load_plain_pickle(write(tmp_path / "a.pickle", raw))
    for array, expected in zip(loaded["arrays"], arrays, strict=True):
        assert type(array) is np.ndarray and array.dtype == expected.dtype and array.shape == expected.shape
        assert array.tolist() == expected.tolist() and array.flags.writeable
    for scalar, expected in zip(loaded["scalars"], scalars, strict=True):
        assert type(scalar) is type(expected) and scalar == expected
    assert loaded[3] == np.dtype(">f4") and isinstance(loaded[3], np.dtype)
    assert loaded["again"] is loaded["arrays"][0]


def test_an_array_is_as_good_as_any(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    loaded = load_plain_pickle(write(tmp_path / "a.pickle", pickle.dumps([array])))[0]
    loaded[0, 0] = 9
    assert (loaded @ loaded.T).shape == (3, 3) and loaded.tobytes()[0] == 9


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("call", "name"),
    [
        ((os.system, "touch {marker}"), f"{os.system.__module__}.system"),
        ((builtins.eval, "open('{marker}', 'w')"), "eval"),
        ((builtins.getattr, "a", "upper"), "getattr"),
        ((builtins.open, "{marker}", "w"), "open"),
        ((np.save, "{marker}", 3), "numpy.save"),
        ((np.load, "{marker}"), "numpy.load"),
        ((Counter, "aab"), "collections.Counter"),
    ],
)
def test_calls_are_refused(tmp_path: Path, protocol: int, call: tuple, name: str) -> None:
    marker = tmp_path / "marker"
    call = tuple(part.format(marker=marker) if isinstance(part, str) else part for part in call)
    file = write(tmp_path / "evil.pickle", pickle.dumps({"a": [Calls(*call)]}, protocol))
    with pytest.raises(
        UnreadableFileError, match=rf"cannot read .*evil\.pickle: it names \S*{name}, which is no plain"
    ):
        load_plain_pickle(file)
    assert [path.name for path in tmp_path.iterdir()] == ["evil.pickle"]


class Own:
    """A class that the loader does not know."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_and_odd_dtypes_are_refused(tmp_path: Path, protocol: int) -> None:
    for content, reason in (
        (Own(), "no plain data"),
        (Own, "no plain data"),
        (Path("a"), "no plain data"),
        (np.array([1, "a"], dtype=object), "dtype 'O8'"),
        (np.dtype("O"), "dtype 'O8'"),
        (np.zeros(2, dtype=[("a", "u1"), ("b", "f4")]), "dtype 'V5'"),
        (np.array(["2020-01-01"], dtype="M8[D]"), "dtype 'M8'"),
        (np.dtype("f4", metadata={"a": 1}), "with metadata"),
        (np.ma.masked_array([1, 2], [True, False]), "no plain data"),
    ):
        file = write(tmp_path / "a.pickle", pickle.dumps(content, protocol))
        with pytest.raises(UnreadableFileError, match=reason) as caught:
            load_plain_pickle(file)
        assert str(file) in str(caught.value) and caught.value.path == str(file)


def named(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def called(function: bytes, *arguments: bytes) -> bytes:
    return function + pickle.MARK + b"".join(arguments) + pickle.TUPLE + pickle.REDUCE


def plain(content: Any) -> bytes:
    return pickle.dumps(content, 2)[2:-1]


DTYPE = called(named("numpy", "dtype"), plain("u1"), plain(False), plain(True))
EMPTY = called(named(MULTIARRAY, "_reconstruct"), named("numpy", "ndarray"), plain((0,)), plain(b"b"))


def built(thing: bytes, *state: bytes) -> bytes:
    return thing + pickle.MARK + b"".join(state) + pickle.TUPLE + pickle.BUILD


def array(shape: Any = (2,), raw: Any = b"ab", dtype: bytes = DTYPE) -> bytes:
    return built(EMPTY, plain(1), plain(shape), dtype, plain(False), plain(raw))


FORGED = {
    "scalar of an object dtype": (
        called(named(MULTIARRAY, "scalar"), called(named("numpy", "dtype"), plain("O")), plain(1)),
        "dtype 'O'",
    ),
    "dtype of a class": (called(named("numpy", "dtype"), named("numpy", "ndarray")), "it has the dtype <"),
    "dtype with fields": (
        built(DTYPE, plain(3), plain("|"), plain(None), plain(("a",)), plain({}), plain(-1), plain(-1), plain(0)),
        "with fields",
    ),
    "dtype as an object": (
        built(DTYPE, plain(3), plain("O"), plain(None), plain(None), plain(None), plain(-1), plain(-1), plain(0)),
        "unknown state",
    ),
    "dtype of another size": (
        built(DTYPE, plain(3), plain("|"), plain(None), plain(None), plain(None), plain(99), plain(-1), plain(0)),
        "another size",
    ),
    "too few values": (array((1000,), b"ab"), r"shape \[1000\] and dtype uint8 that comes with 2 bytes"),
    "negative shape": (array((-1, -2)), r"array of shape \(-1, -2\)"),
    "shape of truths": (array((True, 2)), r"array of shape \(True, 2\)"),
    "values that are a list": (array((2,), [1, 2]), "comes with list of values"),
    "a dtype that is text": (array((2,), b"ab", plain("u1")), "whose dtype is str"),
    "an array built twice": (
        built(array(), plain(1), plain((2,)), DTYPE, plain(False), plain(b"cd")),
        "array with an unknown state",
    ),
    "an array without values": (EMPTY, "array without values"),
    "an array of another class": (
        called(named(MULTIARRAY, "_reconstruct"), named("numpy", "dtype"), plain((0,)), plain(b"b")),
        "unknown kind",
    ),
    "numpy.ndarray called": (called(named("numpy", "ndarray"), plain((2,))), "by numpy.ndarray itself"),
    "numpy.ndarray as data": (named("numpy", "ndarray"), "it holds numpy.ndarray itself"),
    "a function as data": (plain([]) + named(MULTIARRAY, "scalar") + pickle.APPEND, "it holds scalar itself"),
    "a stand-in changed": (built(named("numpy", "dtype"), plain({"_function": 1})), "it changes numpy.dtype"),
    "new object of a stand-in": (named("numpy", "ndarray") + plain(()) + pickle.NEWOBJ, "NEWOBJ"),
    "another encoding": (called(named("_codecs", "encode"), plain("a"), plain("rot13")), "it encodes by 'rot13'"),
    "huge bytes": (called(named("builtins", "bytes"), plain(10**9)), "bytes from something else"),
    "huge bytearray": (called(named("builtins", "bytearray"), plain(10**9)), "it encodes by"),
    "set of a string": (called(named("builtins", "set"), plain("abc")), "makes a set of str"),
    "complex of text": (called(named("builtins", "complex"), plain("1"), plain(2)), "not made of two numbers"),
    "dotted name": (named("numpy", "ndarray.tofile"), "numpy.ndarray.tofile"),
    "persistent object": (pickle.PERSID + b"7\n", "outside the file"),
    "order of a buffer": (
        called(named("numpy._core.numeric", "_frombuffer"), plain(b"ab"), DTYPE, plain((2,)), plain("X")),
        "order 'X'",
    ),
    "itself": (
        pickle.EMPTY_LIST + pickle.BINPUT + b"\x00" + pickle.BINGET + b"\x00" + pickle.APPEND + array() + pickle.APPEND,
        "contains itself",
    ),
}


@pytest.mark.parametrize("case", list(FORGED))
def test_forged_pickles_are_refused(tmp_path: Path, case: str) -> None:
    body, reason = FORGED[case]
    file = write(tmp_path / "forged.pickle", pickle.PROTO + b"\x02" + body + pickle.STOP)
    with pytest.raises(UnreadableFileError, match=rf"forged\.pickle: .*{reason}"):
        load_plain_pickle(file)


def test_the_building_blocks_of_the_forged_pickles_are_sound(tmp_path: Path) -> None:
    file = write(tmp_path / "a.pickle", pickle.PROTO + b"\x02" + array() + pickle.STOP)
    assert load_plain_pickle(file).tolist() == [97, 98]


def test_booleans_are_0_or_1(tmp_path: Path) -> None:
    dtype = called(named("numpy", "dtype"), plain("b1"))
    file = write(tmp_path / "a.pickle", pickle.PROTO + b"\x02" + array((3,), b"\x00\x01\x07", dtype) + pickle.STOP)
    loaded = load_plain_pickle(file)
    assert loaded.view(np.uint8).tolist() == [0, 1, 1]


def test_damaged_files(tmp_path: Path) -> None:
    whole = pickle.dumps({"a": [np.arange(100, dtype=np.uint8)], "b": "text"})
    for length in range(len(whole)):
        with pytest.raises(UnreadableFileError, match=r"cannot read .*cut\.pickle"):
            load_plain_pickle(write(tmp_path / "cut.pickle", whole[:length]))
    for raw in (b"", b"not a pickle", json.dumps({"a": 1}).encode(), b"\x89PNG\r\n", b"\x80\x09."):
        with pytest.raises(UnreadableFileError, match=r"cannot read .*bad\.pickle"):
            load_plain_pickle(write(tmp_path / "bad.pickle", raw))
    with pytest.raises(UnreadableFileError, match=r"none\.pickle: there is no such file"):
        load_plain_pickle(tmp_path / "none.pickle")
    with pytest.raises(UnreadableFileError, match="cannot read"):
        load_plain_pickle(tmp_path)


def test_random_damage_never_gives_anything_but_plain_data(tmp_path: Path) -> None:
    whole = bytearray(dump({"a": np.arange(6, dtype=np.int16), 1: np.float32(2), "s": {1}}, 3))
    random = np.random.RandomState(0)
    allowed = (dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, complex, np.ndarray, np.generic)
    for _ in range(300):
        raw = whole.copy()
        raw[random.randint(len(raw))] = random.randint(256)
        try:
            loaded = load_plain_pickle(write(tmp_path / "a.pickle", raw))
        except UnreadableFileError:
            continue
        stack = [loaded]
        while stack:
            value = stack.pop()
            assert value is None or isinstance(value, (*allowed, np.dtype))
            if isinstance(value, dict):
                stack += [*value.keys(), *value.values()]
            elif isinstance(value, list | tuple | set | frozenset):
                stack += list(value)

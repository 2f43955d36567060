"""Compressed streams of mostly empty volumes, made without going through the empty part.

A volume of 512 x 512 x 300 voxels in which one slice is not empty takes a compressor a third of a second. Here empty
slices are a piece of compressed data that is made once and repeated, so it takes a few milliseconds.
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache

__all__ = ["ZeroRunStream"]

_ONES = 0xFFFFFFFF
_ADLER = 65521
_LEVEL = 1
_END = b"\x03\x00"
"""An empty last block."""


class ZeroRunStream:
    """One compressed stream, put together from blocks of data and of zeros of one size.

    Args:
        block: bytes in a block.
    """

    def __init__(self, block: int) -> None:
        self._block = block
        self._pieces: list[bytes] = []
        self._head = 0
        self._blocks = 0
        self._crc = 0
        self._adler = 1

    def start(self, data: bytes) -> None:
        """Begin with data of any size, such as a header; before any block."""
        self._crc, self._adler = zlib.crc32(data, self._crc), zlib.adler32(data, self._adler)
        self._pieces.append(_piece(data))
        self._head = len(data)

    def data(self, block: bytes) -> None:
        """Add one block of data.

        Raises:
            ValueError: when it has another size.
        """
        if len(block) != self._block:
            raise ValueError(f"block must have {self._block} bytes, got {len(block)}.")
        self._pieces.append(_piece(block))
        self._crc, self._adler = zlib.crc32(block, self._crc), zlib.adler32(block, self._adler)
        self._blocks += 1

    def zeros(self, count: int) -> None:
        """Add so many blocks of zeros."""
        if count <= 0:
            return
        piece, columns = _zero_block(self._block)
        self._pieces.append(piece * count)
        for _ in range(count):
            self._crc = _after_zeros(self._crc, columns)
        low, high = self._adler & 0xFFFF, self._adler >> 16
        self._adler = (high + low * self._block * count) % _ADLER << 16 | low
        self._blocks += count

    def gzip(self) -> bytes:
        """Return a gzip file."""
        size = (self._head + self._blocks * self._block) & _ONES
        head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
        return b"".join([head, *self._pieces, _END, struct.pack("<II", self._crc, size)])

    def zlib(self) -> bytes:
        """Return a zlib stream."""
        return b"".join([b"\x78\x01", *self._pieces, _END, struct.pack(">I", self._adler)])


def _piece(data: bytes, level: int = _LEVEL) -> bytes:
    """Return deflated data that ends at a whole byte and stands on its own."""
    deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflate.compress(data) + deflate.flush(zlib.Z_FULL_FLUSH)


@lru_cache(maxsize=64)
def _zero_block(size: int) -> tuple[bytes, tuple[int, ...]]:
    """Return a deflated block of zeros, and what it does to each bit of a CRC's register (which is linear)."""
    zeros = bytes(size)
    columns = tuple(zlib.crc32(zeros, (1 << bit) ^ _ONES) ^ _ONES for bit in range(32))
    return _piece(zeros, 9), columns


def _after_zeros(crc: int, columns: tuple[int, ...]) -> int:
    register, after = crc ^ _ONES, 0
    for bit, column in enumerate(columns):
        if register >> bit & 1:
            after ^= column
    return after ^ _ONES

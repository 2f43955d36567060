"""Finding the image files of DICOM series: headers without pixels, and files that are not whole.

The headers are read by pydicom up to the pixels. Whether the pixels are all there is told by the lengths that the file
itself states, so a file that was copied or written only in part is found without decoding it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["DicomFile", "find_images", "series_texts"]

_IMAGES = ("Image Storage", "Volume Storage")  # what the names of image SOP classes hold, SEG and RTSTRUCT do not
_PIXELS = {b"\xe0\x7f\x10\x00", b"\xe0\x7f\x08\x00", b"\xe0\x7f\x09\x00"}  # (7FE0,0010), (7FE0,0008), (7FE0,0009)
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


@dataclass(frozen=True, eq=False)
class DicomFile:
    """An image file of a series.

    Args:
        path: the file.
        header: its pydicom data set up to the pixels.
        problem: why the file is not whole; empty when it is.
    """

    path: Path
    header: Any
    problem: str = ""

    @property
    def series(self) -> str:
        """The SeriesInstanceUID; empty when the file does not tell."""
        return str(self.header.get("SeriesInstanceUID", "") or "")


def find_images(path: str | Path) -> tuple[list[DicomFile], list[str]]:
    """Return the DICOM images of a folder (not of the folders in it), or of one file.

    Args:
        path: a folder or a file.

    Returns:
        The images in the order of their names, and what else is there: ``"name (what it is)"`` for each other file.
    """
    path = Path(path)
    images: list[DicomFile] = []
    others: list[str] = []
    for file in sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]:
        found = _examine(file)
        if isinstance(found, DicomFile):
            images.append(found)
        else:
            others.append(f"{file.name} ({found})")
    return images, others


def series_texts(images: list[DicomFile]) -> Iterator[str]:
    """Describe each series among the images: UID, modality, description and number of files."""
    for uid in dict.fromkeys(image.series for image in images):
        members = [image for image in images if image.series == uid]
        header = members[0].header
        count = f"{len(members)} file{'s' if len(members) != 1 else ''}"
        text = [str(header.get("Modality", "") or "no modality"), repr(str(header.get("SeriesDescription", "") or ""))]
        yield f"{uid or 'no UID'} ({', '.join([*text, count])})"


def _examine(path: Path) -> DicomFile | str:
    """Return the image, or what the file is instead."""
    import pydicom
    from pydicom.uid import UID

    with path.open("rb") as file:
        start = file.read(132)
        preamble = start[128:132] == b"DICM"
        if not preamble and start[:2] not in (b"\x08\x00", b"\x02\x00"):
            if len(start) < 132 and path.suffix.lower() in (".dcm", ".ima"):
                return DicomFile(path, pydicom.Dataset(), f"it holds {len(start) or 'no'} bytes")
            return "not DICOM"
        file.seek(0)
        try:
            header: Any = pydicom.dcmread(file, stop_before_pixels=True, force=not preamble)
            syntax = UID(header.file_meta.get("TransferSyntaxUID", "") or "1.2.840.10008.1.2")
            kind = UID(header.get("SOPClassUID", "") or header.file_meta.get("MediaStorageSOPClassUID", "") or "")
            known = bool(kind) and kind.name != kind
            if known and not any(part in kind.name for part in _IMAGES):
                return str(kind.name)
            problem = "" if syntax.is_deflated else _cut(file, header, syntax)
        except Exception as error:  # whatever a damaged header makes pydicom raise
            if not preamble:
                return "not DICOM"
            return DicomFile(path, pydicom.Dataset(), f"its header cannot be read: {error}")
    if not known and problem and "Rows" not in header:
        return "not DICOM" if not preamble else DicomFile(path, header, problem)
    return DicomFile(path, header, problem)


def _cut(file: BinaryIO, header: Any, syntax: Any) -> str:
    """Return what is missing of the pixels; ``file`` stands at their tag, or at its end."""
    start = file.tell()
    total = file.seek(0, 2)
    file.seek(start)
    tag = file.read(4)
    order = "little" if syntax.is_little_endian else "big"
    if (tag if order == "little" else tag[1::-1] + tag[:1:-1]) not in _PIXELS:
        return "it ends before its pixels"
    if not syntax.is_implicit_VR:
        file.read(4)  # OB or OW, and two bytes that say nothing
    length = int.from_bytes(file.read(4), order)  # type: ignore[arg-type]
    if length == 0xFFFFFFFF:
        return "" if _ends(file, total) else "it ends within its compressed pixels"
    values = int(header.get("NumberOfFrames", 1) or 1) * int(header.get("SamplesPerPixel", 1) or 1)
    expected = (values * int(header.Rows) * int(header.Columns) * int(header.BitsAllocated) + 7) // 8
    if "422" in str(header.get("PhotometricInterpretation", "")):
        expected = expected * 2 // 3
    there = min(total - file.tell(), length)
    return "" if there >= expected else f"it holds {there} of {expected} bytes of pixels"


def _ends(file: BinaryIO, total: int) -> bool:
    """Tell whether encapsulated pixels go on to their end mark."""
    while True:
        tag, length = file.read(4), int.from_bytes(file.read(4), "little")
        if tag == _END:
            return True
        if tag != _ITEM or file.tell() + length > total:
            return False
        file.seek(length, 1)

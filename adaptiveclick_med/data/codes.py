"""Codes of what a segment shows: SNOMED CT concepts by name, from the DICOM context groups that pydicom carries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

__all__ = ["ConceptCode", "SegmentCodes", "find_codes", "parse_code"]


class ConceptCode(NamedTuple):
    """A code: value, scheme designator (``"SCT"``, ``"99LOCAL"``, ...) and meaning."""

    value: str
    scheme: str
    meaning: str

    def __str__(self) -> str:
        return ":".join(self)


@dataclass(frozen=True)
class SegmentCodes:
    """What a segment shows.

    Args:
        category: anatomical structure, morphologically abnormal structure, or tissue.
        type: the structure.
        side: left or right, where the name says so and the type does not.
        region: the anatomy in which an abnormal structure lies, where the name says so.
    """

    category: ConceptCode
    type: ConceptCode
    side: ConceptCode | None = None
    region: ConceptCode | None = None


# context groups of DICOM PS3.16
_ANATOMY = (7153, 7152, 7154, 7155, 7156, 7160, 7192, 9514, 7140, 6300, 4211, 7304, 4028, 4031, 4)
_THINGS = (7157, 7158, 7159, 7161, 7165, 7166)  # segments that are not anatomy
_TISSUES = 7166
_LESIONS = {
    "tumor": "Neoplasm",
    "neoplasm": "Neoplasm",
    "cancer": "Neoplasm",
    "carcinoma": "Neoplasm",
    "glioma": "Neoplasm",
    "metastasis": "NeoplasmSecondary",
    "lesion": "Lesion",
    "mass": "Mass",
    "nodule": "Nodule",
    "cyst": "Cyst",
    "edema": "Edema",
    "necrosis": "Necrosis",
    "hemorrhage": "Hemorrhage",
    "abscess": "Abscess",
}
_SPELLINGS = {
    "tumour": "tumor",
    "oedema": "edema",
    "haemorrhage": "hemorrhage",
    "metastases": "metastasis",
    "kidneys": "kidney",
    "lungs": "lung",
}
_SIDES = ("left", "right")


def parse_code(text: str) -> ConceptCode:
    """Read a code that is written as ``"VALUE:SCHEME:MEANING"``; the meaning may hold colons.

    Raises:
        ValueError: when a part is missing or longer than DICOM allows (16, 16 and 64 characters).
    """
    parts = [part.strip() for part in text.split(":", 2)]
    if len(parts) != 3 or not all(0 < len(part) <= most for part, most in zip(parts, (16, 16, 64), strict=True)):
        raise ValueError(
            f"code must be VALUE:SCHEME:MEANING of at most 16, 16 and 64 characters (10200004:SCT:Liver), got {text!r}."
        )
    return ConceptCode(*parts)


def find_codes(name: str) -> SegmentCodes:
    """Find the codes for the name of a segment: ``"liver"``, ``"left kidney"``, ``"kidney_left"``, ``"liver tumour"``.

    Names of lesions give a morphologically abnormal structure; names of organs and their parts an anatomical
    structure. Where nothing is found, category and type are the generic ``Tissue``.

    Args:
        name: any text; case, ``_`` and ``-`` do not matter.
    """
    words = [_SPELLINGS.get(word, word) for word in re.findall(r"[a-z0-9]+", name.lower())]
    plain = [word.removesuffix("s") if word.removesuffix("s") in _LESIONS else word for word in words]
    lesions = [word for word in plain if word in _LESIONS]
    if lesions:
        rest = find_codes(" ".join(word for word in plain if word not in _LESIONS))
        known = rest.category == _anatomical()
        return SegmentCodes(_abnormal(), _lesion(lesions[-1]), rest.side, rest.type if known else None)
    sides = [word for word in words if word in _SIDES]
    whole, without = "".join(words), "".join(word for word in words if word not in _SIDES)
    if whole in _anatomy():
        return SegmentCodes(_anatomical(), _anatomy()[whole])
    side = _side(sides[0]) if len(sides) == 1 else None
    if without in _anatomy():
        return SegmentCodes(_anatomical(), _anatomy()[without], side)
    if without in _tissues():
        return SegmentCodes(_tissue(), _tissues()[without], side)
    return SegmentCodes(_tissue(), _tissue(), side)


@cache
def _anatomy() -> dict[str, ConceptCode]:
    others = {code.value for group in _THINGS for code in _group(group).values()}
    found: dict[str, ConceptCode] = {}
    for group in _ANATOMY:
        for key, code in _group(group).items():
            if code.value not in others:
                found.setdefault(key, code)
    return found


@cache
def _tissues() -> dict[str, ConceptCode]:
    return _group(_TISSUES)


def _group(number: int) -> dict[str, ConceptCode]:
    """Return the SNOMED CT codes of a context group by keyword and by meaning, letters and digits in lower case."""
    from pydicom.sr.codedict import codes

    found: dict[str, ConceptCode] = {}
    group = getattr(codes, f"cid{number}")
    for keyword in group.dir():
        try:
            code = getattr(group, keyword)
        except (AttributeError, RuntimeError):  # older dictionaries hold a few keywords with none or several codes
            continue
        if code.scheme_designator == "SCT":
            concept = ConceptCode(code.value, code.scheme_designator, code.meaning)
            found.setdefault(_key(keyword), concept)
            found.setdefault(_key(code.meaning), concept)
    return found


def _key(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _lesion(word: str) -> ConceptCode:
    from pydicom.sr.codedict import codes

    name = _LESIONS[word]
    code = getattr(codes.SCT if name == "Lesion" else codes.cid7159, name)
    return ConceptCode(code.value, code.scheme_designator, code.meaning)


def _category(name: str) -> ConceptCode:
    from pydicom.sr.codedict import codes

    code = getattr(codes.cid7150, name)
    return ConceptCode(code.value, code.scheme_designator, code.meaning)


def _anatomical() -> ConceptCode:
    return _category("AnatomicalStructure")


def _abnormal() -> ConceptCode:
    return _category("MorphologicallyAbnormalStructure")


def _tissue() -> ConceptCode:
    return _category("Tissue")


def _side(word: str) -> ConceptCode:
    return ConceptCode("7771000", "SCT", "Left") if word == "left" else ConceptCode("24028007", "SCT", "Right")

"""Codes for the names of segments."""

from __future__ import annotations

import pytest

from adaptiveclick_med.data.codes import ConceptCode, find_codes, parse_code


@pytest.mark.parametrize(
    ("name", "category", "value", "side", "region"),
    [
        ("liver", "Anatomical Structure", "10200004", None, None),
        ("Spleen", "Anatomical Structure", "78961009", None, None),
        ("left kidney", "Anatomical Structure", "64033007", "Left", None),
        ("kidney_right", "Anatomical Structure", "64033007", "Right", None),
        ("Kidneys", "Anatomical Structure", "64033007", None, None),
        ("left ventricle", "Anatomical Structure", "87878005", None, None),
        ("hippocampus", "Anatomical Structure", "5366008", None, None),
        ("prostate", "Anatomical Structure", "41216001", None, None),
        ("tibia", "Anatomical Structure", "12611008", None, None),
        ("inferior-vena-cava", "Anatomical Structure", "64131007", None, None),
        ("cartilage", "Tissue", "309312004", None, None),
        ("liver tumour", "Morphologically Abnormal Structure", "108369006", None, "Liver"),
        ("Tumor", "Morphologically Abnormal Structure", "108369006", None, None),
        ("right lung nodules", "Morphologically Abnormal Structure", "27925004", "Right", "Lung"),
        ("lesions", "Morphologically Abnormal Structure", "52988006", None, None),
        ("oedema", "Morphologically Abnormal Structure", "79654002", None, None),
        ("mitochondrion", "Tissue", "85756007", None, None),
        ("label 1", "Tissue", "85756007", None, None),
        ("table", "Tissue", "85756007", None, None),
    ],
)
def test_names(name: str, category: str, value: str, side: str | None, region: str | None) -> None:
    codes = find_codes(name)
    assert codes.category.meaning == category and (codes.type.value, codes.type.scheme) == (value, "SCT")
    assert (codes.side and codes.side.meaning) == side and (codes.region and codes.region.meaning) == region


def test_codes_as_text() -> None:
    code = parse_code(" 123 : 99LOCAL : Part: one")
    assert code == ConceptCode("123", "99LOCAL", "Part: one") and str(code) == "123:99LOCAL:Part: one"
    for text in ("liver", "1:SCT", "1:SCT:", ":SCT:x", "1" * 17 + ":SCT:x", "1:SCT:" + "x" * 65):
        with pytest.raises(ValueError, match="code must be VALUE:SCHEME:MEANING"):
            parse_code(text)

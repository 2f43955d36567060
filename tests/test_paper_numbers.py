"""The paper's numbers as data: well-formed, equal to what was published, and linked to the configs that train them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from adaptiveclick_med.data import source_names

CONFIGS = Path(__file__).parents[1] / "configs"
NATURAL = ("grabcut", "berkeley", "sbd", "davis", "pascal_voc")
MEDICAL = ("sstem", "brats", "oaizib")
COSTS = ("params_M", "flops_G", "memory_G", "spc_ms")
TABLES = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV")
ROWS = dict(zip(TABLES, (17, 18, 4, 5, 8, 8, 8, 12, 10, 4, 4, 9, 4, 5, 5), strict=True))
FOLDERS = {f"table_{number}": table for number, table in enumerate(TABLES[9:], start=10)}

# NoC@85 and NoC@90 on GrabCut, Berkeley, SBD, DAVIS, Pascal VOC; then on ssTEM, BraTS, OAIZIB.
VIT_B_SBD = [1.38, 1.46, 1.38, 2.18, 3.22, 5.22, 4.00, 5.14, 2.25, 2.66]
VIT_B_SBD_MEDICAL = [3.17, 4.56, 10.79, 14.39, 17.43, 19.62]
VIT_H_COCO = [1.32, 1.38, 1.32, 1.64, 2.84, 4.68, 3.19, 4.60, 1.74, 1.96]
VIT_H_COCO_MEDICAL = [3.95, 4.97, 6.51, 9.77, 12.65, 16.69]
VIT_B_COCO = [1.34, 1.48, 1.40, 1.83, 3.29, 5.40, 3.39, 4.82, 2.03, 2.31]
FL_SBD = [1.62, 1.84, 1.69, 2.82, 4.11, 6.51, 4.94, 6.50, 2.81, 3.35]
OWN_SETTING = {
    "VI": {"loss": "AFL"},
    "VIII": {"AFL": True},
    "X": {"CAMD": True, "AFL": True},
    "XI": {"ADA": True, "AGR": True},
    "XII": {"lambda_click": 2, "lambda_afl": 5, "lambda_dice": 5, "num_queries": 10},
    "XIII": {"lambda_mask": 1},
    "XIV": {"delta": 0.4},
    "XV": {"alpha": 1},
}


@pytest.fixture(scope="module")
def entries() -> list[dict[str, Any]]:
    return yaml.safe_load((CONFIGS / "paper.yaml").read_text(encoding="utf-8"))


def the_row(entries: list[dict[str, Any]], table: str, method: str = "AdaptiveClick", **setting: Any) -> dict[str, Any]:
    found = [
        entry
        for entry in entries
        if entry["table"] == table and entry["method"] == method and entry.get("setting", {}) == setting
    ]
    assert len(found) == 1, (table, method, setting)
    return found[0]


def numbers(entry: dict[str, Any], datasets: tuple[str, ...] = NATURAL) -> list[float]:
    assert tuple(entry["results"]) == datasets
    return [entry["results"][dataset][key] for dataset in datasets for key in ("NoC@85", "NoC@90")]


def test_every_row_of_every_table_is_there(entries: list[dict[str, Any]]) -> None:
    assert Counter(entry["table"] for entry in entries) == ROWS
    assert list(dict.fromkeys(entry["table"] for entry in entries)) == list(ROWS)


def test_every_entry_is_well_formed(entries: list[dict[str, Any]]) -> None:
    assert {*NATURAL, *MEDICAL} <= set(source_names())
    for entry in entries:
        keys = {"table", "method", "backbone", "results"} | ({"trained_on"} if entry["table"] != "V" else set())
        assert keys <= set(entry) <= {*keys, "setting", "configs", "average"}, entry
        if entry["table"] == "V":
            assert {"params_M", "flops_G", "spc_ms"} <= set(entry["results"]) <= set(COSTS), entry
            assert all(value > 0 for value in entry["results"].values())
            continue
        assert entry["trained_on"] in ("SBD", "COCO-LVIS", "Augmented VOC")
        columns = MEDICAL if entry["table"] in ("III", "IV") else NATURAL
        assert list(entry["results"]) == [name for name in columns if name in entry["results"]], entry
        assert ("average" in entry) <= (entry["table"] in ("I", "II"))
        for found in (*entry["results"].values(), entry.get("average", {"NoC@85": 1})):
            assert found
            assert list(found) == [key for key in ("NoC@85", "NoC@90") if key in found]
            assert all(1 <= value <= 20 for value in found.values()), entry
            assert found.get("NoC@85", 1) <= found.get("NoC@90", 20), entry


def test_no_two_rows_of_a_table_are_the_same_but_one_setting_is_printed_twice(entries: list[dict[str, Any]]) -> None:
    keys = ("table", "method", "backbone", "setting")
    names = Counter(json.dumps([entry.get(key) for key in keys]) for entry in entries)
    setting = {"lambda_click": 2.0, "lambda_afl": 5.0, "lambda_dice": 5.0, "num_queries": 5}
    twice = json.dumps(["XII", "AdaptiveClick", "ViT-B", setting])
    assert {name: count for name, count in names.items() if count > 1} == {twice: 2}
    whole = Counter(json.dumps(entry) for entry in entries)
    assert set(whole.values()) == {1}


def test_the_numbers_of_adaptiveclick(entries: list[dict[str, Any]]) -> None:
    first = the_row(entries, "I")
    assert (first["backbone"], first["trained_on"], numbers(first)) == ("ViT-B", "SBD", VIT_B_SBD)
    assert first["average"] == {"NoC@85": 2.45, "NoC@90": 3.33}
    second = the_row(entries, "II")
    assert (second["backbone"], second["trained_on"], numbers(second)) == ("ViT-H", "COCO-LVIS", VIT_H_COCO)
    assert second["average"] == {"NoC@85": 2.08, "NoC@90": 2.85}
    assert numbers(the_row(entries, "III"), MEDICAL) == VIT_B_SBD_MEDICAL
    assert numbers(the_row(entries, "IV"), MEDICAL) == VIT_H_COCO_MEDICAL
    for table, setting in (("VII", {"loss": "AFL"}), ("IX", {"AFL": True})):
        row = the_row(entries, table, **setting)
        assert (row["backbone"], row["trained_on"], numbers(row)) == ("ViT-B", "COCO-LVIS", VIT_B_COCO)


@pytest.mark.parametrize("table", OWN_SETTING)
def test_the_papers_own_setting_has_the_same_numbers_in_every_table(entries: list[dict[str, Any]], table: str) -> None:
    assert numbers(the_row(entries, table, **OWN_SETTING[table])) == VIT_B_SBD


def test_the_rows_that_two_tables_share(entries: list[dict[str, Any]]) -> None:
    assert numbers(the_row(entries, "VI", loss="FL")) == FL_SBD
    assert numbers(the_row(entries, "XI", ADA=False, AGR=False)) == FL_SBD
    normalised = numbers(the_row(entries, "VI", loss="NFL"))
    assert normalised == [1.40, 1.50, 1.32, 2.24, 3.25, 5.28, 4.03, 5.24, 2.30, 2.75]
    assert numbers(the_row(entries, "VIII", AFL=False)) == normalised
    assert numbers(the_row(entries, "X", CAMD=True, AFL=False)) == normalised
    for table, other in (("I", "VIII"), ("II", "IX")):
        simple = the_row(entries, table, "SimpleClick")
        assert simple["results"] == the_row(entries, other, "SimpleClick", AFL=False)["results"]


def test_numbers_across_the_tables(entries: list[dict[str, Any]]) -> None:
    assert numbers(the_row(entries, "I", "SimpleClick")) == [1.40, 1.54, 1.44, 2.46, 3.28, 5.24, 4.10, 5.48, 2.38, 2.81]
    assert the_row(entries, "I", "DIOS")["results"] == {
        "grabcut": {"NoC@90": 6.04},
        "berkeley": {"NoC@90": 8.65},
        "davis": {"NoC@90": 12.58},
        "pascal_voc": {"NoC@85": 6.88},
    }
    assert the_row(entries, "I", "IA-SA")["results"]["davis"] == {"NoC@85": 5.16}
    assert the_row(entries, "II", "SAM")["results"] == {
        "sbd": {"NoC@85": 6.50, "NoC@90": 9.76},
        "pascal_voc": {"NoC@85": 3.30, "NoC@90": 4.20},
    }
    assert numbers(the_row(entries, "IV", "SimpleClick"), MEDICAL) == [4.27, 5.45, 6.73, 10.27, 14.93, 18.95]
    assert numbers(the_row(entries, "VII", loss="WBCE"))[-4:] == [5.26, 8.79, 3.32, 4.03]
    assert numbers(the_row(entries, "IX", "SimpleClick", AFL=True))[-4:] == [3.23, 4.75, 1.72, 1.93]
    assert numbers(the_row(entries, "X", CAMD=False, AFL=True))[:4] == [1.42, 1.60, 1.58, 2.35]
    assert numbers(the_row(entries, "XI", ADA=False, AGR=True))[:4] == [1.56, 1.68, 1.54, 2.40]
    queries = {"lambda_click": 2, "lambda_afl": 5, "lambda_dice": 5, "num_queries": 100}
    assert numbers(the_row(entries, "XII", **queries))[-4:] == [4.08, 5.40, 2.29, 2.74]
    assert numbers(the_row(entries, "XIII", lambda_mask=2))[-4:] == [4.31, 5.60, 2.34, 2.81]
    assert numbers(the_row(entries, "XIV", delta=0))[:4] == [1.36, 1.46, 1.41, 2.31]
    assert numbers(the_row(entries, "XV", alpha=2))[-4:] == [4.06, 5.38, 2.30, 2.76]


def test_the_costs(entries: list[dict[str, Any]]) -> None:
    size = {"image_size": 448}
    ours = the_row(entries, "V", **size)
    assert ours["backbone"] == "ViT-B"
    assert ours["results"] == dict(zip(COSTS, (116.41, 269.81, 1.28, 74), strict=True))
    assert the_row(entries, "V", "SimpleClick", **size)["results"] == dict(
        zip(COSTS, (96.46, 169.78, 0.87, 54), strict=True)
    )
    assert "memory_G" not in the_row(entries, "V", "iCMFormer", image_size=512)["results"]


def test_printed_averages_are_the_means_of_their_rows_but_for_one(entries: list[dict[str, Any]]) -> None:
    odd, checked = {}, 0
    for entry in entries:
        for key, printed in entry.get("average", {}).items():
            mean = sum(entry["results"][dataset][key] for dataset in NATURAL) / len(NATURAL)
            checked += 1
            if abs(mean - printed) > 0.005 + 1e-9:
                odd[entry["table"], entry["method"], entry["backbone"], key] = (printed, round(mean, 2))
    assert checked == 24
    assert odd == {("II", "FocalClick", "SegF-B3", "NoC@90"): (3.56, 3.36)}


def test_every_file_of_a_table_has_its_row(entries: list[dict[str, Any]]) -> None:
    for folder, table in FOLDERS.items():
        used = [entry["configs"] for entry in entries if entry["table"] == table]
        assert all(configs[0] == "sbd_vit_b.json" and len(configs) == 2 for configs in used)
        files = {f"{folder}/{path.name}" for path in (CONFIGS / folder).glob("*.json")}
        assert {configs[1] for configs in used} == files, table
        assert len(used) == len(files) + (table == "XII")
    for table in ("VI", "VII"):
        used = [entry["configs"][1] for entry in entries if entry["table"] == table]
        assert sorted(used) == sorted(f"table_06_07/{path.name}" for path in (CONFIGS / "table_06_07").glob("*.json"))


def test_the_rows_with_configs_are_those_of_networks_that_are_here(entries: list[dict[str, Any]]) -> None:
    base = {("SBD", "ViT-B"): "sbd_vit_b.json", ("COCO-LVIS", "ViT-B"): "coco_lvis_vit_b.json"}
    base["COCO-LVIS", "ViT-H"] = "coco_lvis_vit_h.json"
    for entry in entries:
        ours = entry["table"] != "V" and entry["method"] in ("AdaptiveClick", "SimpleClick")
        assert ("configs" in entry) == ours, entry
        if ours:
            assert entry["configs"][0] == base[entry["trained_on"], entry["backbone"]]
            assert all((CONFIGS / name).is_file() for name in entry["configs"])
            plain = any("camd_off" in name for name in entry["configs"])
            without = entry["method"] == "SimpleClick" or entry.get("setting", {}).get("CAMD") is False
            assert plain == without

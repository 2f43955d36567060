"""The configs of the paper's trainings: they merge onto the bundle's train.json and mean what the tables say."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from monai.transforms import Compose

from adaptiveclick_med import losses
from adaptiveclick_med.data import source_names
from adaptiveclick_med.evaluation import read_choices
from adaptiveclick_med.losses import MaskAdaptiveLoss, MaskLoss
from adaptiveclick_med.networks import AdaptiveClickOutput, preset_arguments
from adaptiveclick_med.transforms import RandSelectTargetd, RandSimulateClicksd

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "configs"
TRAIN = ROOT / "bundles" / "adaptiveclick" / "configs" / "train.json"
NAMES = sorted(path.relative_to(STUDIES).as_posix() for path in STUDIES.glob("**/*.json"))
WITH_VALUES_OF_THEIR_OWN = ("distillation.json", "default_weights.json")
TRAININGS = ("sbd_vit_b.json", "coco_lvis_vit_b.json", "coco_lvis_vit_h.json")
SMALL = {"preset": "nano", "image_size": 32, "pretrained_encoder": "$None"}
AFL = {"gamma": 2.0, "delta": 0.4, "alpha": 1.0, "adaptive_difficulty": True, "adaptive_gradient": True}
NORMALISED = {**AFL, "delta": 0.0, "alpha": 0.0, "adaptive_difficulty": False}
TABLE_06_07 = {
    "bce": ("BinaryCrossEntropyLoss", {"gamma": 0.0, "class_balance": None}),
    "wbce": ("WeightedCrossEntropyLoss", {"positive_weight": 3.0, "negative_weight": 1.0}),
    "balanced_ce": ("BalancedCrossEntropyLoss", {"positive_weight": 3.0, "negative_weight": 1.0}),
    "soft_iou": ("SoftIoULoss", {}),
    "fl": ("FocalLoss", {"gamma": 2.0, "class_balance": 0.5}),
    "nfl": ("NormalizedFocalLoss", {"gamma": 2.0, "class_balance": 0.5}),
    "pl": ("PolyLoss", {"gamma": 2.0, "class_balance": 0.5, "alpha": 1.0}),
    "afl": ("AdaptiveFocalLoss", {**AFL, "class_balance": 0.5}),
}


def merged(*names: str, **overrides: Any) -> ConfigParser:
    """What MONAI reads from train.json and files of ``configs``."""
    parser = ConfigParser(ConfigParser.load_config_files([str(TRAIN), *(str(STUDIES / name) for name in names)]))
    parser.update(overrides)
    return parser


def loss_of(*names: str) -> Any:
    return merged(*names).get_parsed_content("loss_function")


def numbers(loss: torch.nn.Module) -> dict[str, Any]:
    """All settings of a loss, those of its parts included."""
    found = {key: value for key, value in vars(loss).items() if value is None or isinstance(value, float | bool | str)}
    return {**found, **{name: (type(part), numbers(part)) for name, part in loss.named_children()}}


def files(folder: str) -> set[str]:
    return {path.stem for path in (STUDIES / folder).glob("*.json")}


def test_the_studies_are_those_of_the_paper() -> None:
    assert {name.split("/")[0] for name in NAMES if "/" in name} == {
        *("table_06_07", "table_10", "table_11", "table_12", "table_13", "table_14", "table_15")
    }
    assert set(TRAININGS) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_study_merges_and_parses(name: str) -> None:
    parser = merged(name)
    loss = parser.get_parsed_content("loss_function")
    output: Any = torch.linspace(-3, 3, 1024).reshape(1, 1, 32, 32)
    if parser["network_name"] == "AdaptiveClick":
        assert isinstance(loss, MaskAdaptiveLoss)
        queries = parser["network_arguments"].get("num_queries", 10)
        masks = output[..., ::4, ::4].expand(-1, queries, -1, -1)
        output = AdaptiveClickOutput(output, masks, torch.zeros(1, queries, 2))
    else:
        assert isinstance(loss, MaskLoss)
        assert loss.ignore_value == -1
    target = torch.zeros(1, 1, 32, 32)
    target[..., 8:24, 8:24] = 1.0
    target[..., :4] = -1.0
    assert 0 < float(loss(output, target)) < 1000
    assert isinstance(parser.get_parsed_content("train#preprocessing"), Compose)
    assert name == "default_weights.json" or set(parser["network_arguments"]) <= {"num_queries"}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITH_VALUES_OF_THEIR_OWN])
def test_every_study_changes_values_that_exist(name: str) -> None:
    known = merged()
    for key in ConfigParser.load_config_file(str(STUDIES / name)):
        parent = key.split("#")[0]
        assert parent in known, key
        assert key == parent or parent == "loss_function", key


def test_without_a_study_nothing_is_dropped_or_drawn_that_was_not_before() -> None:
    parser = merged()
    parts = parser.get_parsed_content("train#preprocessing").flatten().transforms
    (select,) = (part for part in parts if isinstance(part, RandSelectTargetd))
    assert select.min_box_fraction == select.stuff_probability == select.part_probability == 0.0
    assert (select.min_area, select.merge_probability) == (20, 0.15)
    (simulate,) = (part for part in parts if isinstance(part, RandSimulateClicksd))
    assert simulate.required_key == ("required",)
    assert simulate.decay == 0.8
    assert parser.get_parsed_content("network_def").arguments["num_queries"] == 10
    assert parser.get_parsed_content("loss_function").lambda_combined == 1.0


@pytest.mark.parametrize(
    ("name", "width", "values", "target"),
    [
        (
            "sbd_vit_b.json",
            (768, 12, 16),
            {"dataset": "sbd", "augmentation": "sbd", "batch_size": 48, "keep_empty": 0.01, "samples_per_epoch": None},
            {"min_area": 20, "min_box_fraction": 0.08, "stuff_probability": 0.0},
        ),
        (
            "coco_lvis_vit_b.json",
            (768, 12, 16),
            {"dataset": "coco_lvis", "augmentation": "coco_lvis", "batch_size": 48, "keep_empty": 0.05},
            {"min_area": 1000, "min_box_fraction": 0.0, "stuff_probability": 0.3},
        ),
        (
            "coco_lvis_vit_h.json",
            (1280, 32, 14),
            {"dataset": "coco_lvis", "augmentation": "coco_lvis", "batch_size": 24, "keep_empty": 0.05},
            {"min_area": 1000, "min_box_fraction": 0.0, "stuff_probability": 0.3},
        ),
    ],
)
def test_the_trainings_of_the_paper(
    name: str, width: tuple[int, int, int], values: dict[str, Any], target: dict[str, float]
) -> None:
    parser = merged(name)
    assert {key: parser[key] for key in values} == values
    assert parser["dataset"] in source_names()
    assert (parser["image_size"], parser["max_epochs"], parser["max_rounds"]) == (448, 60, 3)
    assert (parser["pretrained_encoder"], parser["network_name"]) == ("mae", "AdaptiveClick")
    assert parser["samples_per_epoch"] == (None if parser["dataset"] == "sbd" else 30000)
    arguments = preset_arguments(parser["preset"])
    assert tuple(arguments[key] for key in ("embed_dim", "depth", "patch_size")) == width

    parts = parser.get_parsed_content("train#preprocessing").flatten().transforms
    (select,) = (part for part in parts if isinstance(part, RandSelectTargetd))
    assert {key: getattr(select, key) for key in target} == target
    assert (select.merge_probability, select.part_probability) == (0.15, 0.0)

    small = merged(name, **SMALL)
    optimizer = small.get_parsed_content("optimizer")
    assert isinstance(optimizer, torch.optim.Adam)
    assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (5e-5, (0.9, 0.999))
    schedule = small.get_parsed_content("lr_scheduler")
    assert (dict(schedule.milestones), schedule.gamma) == ({40: 1}, 0.1)

    loss = small.get_parsed_content("loss_function")
    weights = ("lambda_mask", "lambda_afl", "lambda_dice", "lambda_click", "unclick_weight", "lambda_combined")
    assert [getattr(loss, key) for key in weights] == [1.0, 5.0, 5.0, 2.0, 0.1, 0.0]
    assert numbers(loss.mask_loss).items() >= AFL.items()
    assert loss.deep_supervision


def test_the_losses_of_tables_06_and_07() -> None:
    assert files("table_06_07") == set(TABLE_06_07)
    whole = numbers(loss_of("sbd_vit_b.json"))
    for name, (kind, values) in TABLE_06_07.items():
        for training in TRAININGS[:2]:
            loss = loss_of(training, f"table_06_07/{name}.json")
            assert type(loss.mask_loss) is getattr(losses, kind)
            assert numbers(loss.mask_loss).items() >= values.items(), name
            assert {**numbers(loss), "mask_loss": None} == {**whole, "mask_loss": None}
    assert numbers(loss_of("sbd_vit_b.json", "table_06_07/afl.json")) == whole


@pytest.mark.parametrize("camd", ["off", "on"])
@pytest.mark.parametrize("afl", ["off", "on"])
def test_table_10(camd: str, afl: str) -> None:
    parser = merged("sbd_vit_b.json", f"table_10/camd_{camd}_afl_{afl}.json")
    assert parser["network_name"] == {"off": "SimpleClick", "on": "AdaptiveClick"}[camd]
    loss = parser.get_parsed_content("loss_function")
    if camd == "on":
        assert isinstance(loss, MaskAdaptiveLoss)
        loss = loss.mask_loss
    else:
        assert loss.ignore_value == -1
    assert numbers(loss).items() >= (AFL if afl == "on" else NORMALISED).items()
    assert loss.class_balance == 0.5
    assert len(files("table_10")) == 4


@pytest.mark.parametrize("ada", [False, True])
@pytest.mark.parametrize("agr", [False, True])
def test_table_11(ada: bool, agr: bool) -> None:
    word = {False: "off", True: "on"}
    loss = loss_of("sbd_vit_b.json", f"table_11/ada_{word[ada]}_agr_{word[agr]}.json").mask_loss
    assert (loss.adaptive_difficulty, loss.adaptive_gradient) == (ada, agr)
    assert (loss.gamma, loss.delta, loss.alpha) == (2.0, 0.4, 1.0 if ada or agr else 0.0)
    assert len(files("table_11")) == 4


def test_without_both_parts_it_is_the_focal_loss() -> None:
    logits, target = torch.linspace(-4, 4, 48).reshape(1, 3, 4, 4), torch.arange(48).reshape(1, 3, 4, 4) % 2
    neither = loss_of("table_11/ada_off_agr_off.json").mask_loss
    focal = loss_of("table_06_07/fl.json").mask_loss
    assert torch.equal(neither(logits, target), focal(logits, target))


def test_table_12() -> None:
    rows = [(2, 3, 5, 5), (4, 3, 5, 5), (2, 4, 5, 5), (2, 5, 5, 5), (2, 5, 3, 5), (2, 5, 5, 10)]
    rows += [(2, 5, 5, 20), (2, 5, 5, 100)]
    names = [f"click_{row[0]}_afl_{row[1]}_dice_{row[2]}_queries_{row[3]}" for row in rows]
    assert files("table_12") == set(names)
    for name, (click, afl, dice, queries) in zip(names, rows, strict=True):
        parser = merged("sbd_vit_b.json", f"table_12/{name}.json")
        loss = parser.get_parsed_content("loss_function")
        assert (loss.lambda_click, loss.lambda_afl, loss.lambda_dice, loss.lambda_mask) == (click, afl, dice, 1.0)
        assert parser["network_arguments"] == {"num_queries": queries}
    small = {**SMALL, "network_arguments#depth": 1, "network_arguments#click_decoder_layers": 1}
    network = merged("table_12/click_2_afl_5_dice_5_queries_100.json", **small).get_parsed_content("network_def")
    assert network.predict(torch.zeros(1, 6, 32, 32)).click_logits.shape == (1, 100, 2)


@pytest.mark.parametrize(
    ("folder", "stem", "values"),
    [
        ("table_13", "lambda_mask", (0.5, 1.0, 1.5, 2.0)),
        ("table_14", "delta", (0.0, 0.1, 0.2, 0.4, 0.6)),
        ("table_15", "alpha", (0.0, 0.5, 1.0, 1.5, 2.0)),
    ],
)
def test_tables_13_to_15(folder: str, stem: str, values: tuple[float, ...]) -> None:
    assert files(folder) == {f"{stem}_{value}" for value in values}
    usual = loss_of("sbd_vit_b.json")
    for value in values:
        loss = loss_of("sbd_vit_b.json", f"{folder}/{stem}_{value}.json")
        changed = loss if stem == "lambda_mask" else loss.mask_loss
        assert getattr(changed, stem) == value
        same = value == {"lambda_mask": 1.0, "delta": 0.4, "alpha": 1.0}[stem]
        assert (numbers(loss) == numbers(usual)) == same
        setattr(changed, stem, getattr(usual if stem == "lambda_mask" else usual.mask_loss, stem))
        assert numbers(loss) == numbers(usual)


@pytest.mark.parametrize(
    "study",
    [
        *(("sbd_vit_b.json", f"table_06_07/{name}.json") for name in TABLE_06_07),
        ("sbd_vit_b.json", "table_10/camd_off_afl_off.json"),
        ("sbd_vit_b.json", "table_10/camd_off_afl_on.json"),
        ("sbd_vit_b.json", "table_12/click_2_afl_3_dice_5_queries_5.json"),
        ("coco_lvis_vit_h.json", "table_13/lambda_mask_0.5.json"),
    ],
    ids=lambda study: study[1],
)
def test_one_step_of_training(
    tmp_path: Path, run_bundle: Callable[..., None], small: dict[str, Any], study: tuple[str, ...]
) -> None:
    tiny = {**small, "preset": "nano", "dataset": "phantoms", "pretrained_encoder": "$None", "min_area": 20}
    tiny["dataset_options"] = {"num_volumes": 2, "size": (2, 64, 64)}
    tiny |= {"samples_per_epoch": 2, "max_rounds": 0, "val_interval": 2, "learning_rate": 1e-3}
    plain = "camd_off" in study[1]
    shallow = {"depth": 2} if plain else {"depth": 2, "click_decoder_layers": 3, "pixel_decoder_layers": 1}
    tiny |= {f"network_arguments#{name}": value for name, value in shallow.items()}
    run_bundle("training", ["train.json", *(str(STUDIES / name) for name in study)], tmp_path, **tiny)
    after = torch.load(tmp_path / "models" / "checkpoint_epoch=1.pt", weights_only=True)["network"]
    assert ("head.classifier.weight" in after) == plain
    if not plain:
        assert len(after["click_decoder.query_features"]) == (5 if "queries_5" in study[1] else 10)
    options = {key: tiny[key] for key in tiny if key in SMALL or "#" in key}
    before = merged(*study, **options).get_parsed_content("network_def").state_dict()
    assert before.keys() == after.keys()
    assert all(bool(tensor.isfinite().all()) for tensor in after.values())
    moved = max(float((after[name] - before[name]).abs().max()) for name in before)
    assert 5e-4 < moved < 2e-3  # one step of Adam


def test_every_row_has_its_command() -> None:
    page = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    commands = [line.split("#")[0].split() for line in page.splitlines() if re.match(r"train runs/\S+ \$", line)]
    trained = [tuple(command[3:]) for command in commands]
    assert all((STUDIES / name).is_file() for configs in trained for name in configs)
    entries = yaml.safe_load((STUDIES / "paper.yaml").read_text(encoding="utf-8"))
    needed = {tuple(entry["configs"]) for entry in entries if "configs" in entry}
    assert needed == set(trained)
    assert len({command[1] for command in commands}) == len(commands)
    assert {command[2] for command in commands if command[3].startswith("sbd")} == {"$SBD"}
    assert {command[2] for command in commands if command[3].startswith("coco")} == {"$COCO_LVIS"}
    evaluated = set(re.findall(r"evaluate (runs/[\w/]+)", page))
    loops = re.findall(r"for out in (runs/\w+)/\*; do evaluate \$out; done", page)
    assert all(out in evaluated or out.rpartition("/")[0] in loops for out in (command[1] for command in commands))


def test_the_shell_functions_call_what_the_page_says() -> None:
    page = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    (functions,) = re.findall(r"<!-- test: functions -->\n```bash\n(.*?)```", page, re.DOTALL)
    show = 'python() { printf "<%s>" python "$@"; }; adaptiveclick-med() { printf "<%s>" evaluate "$@"; }\n'
    calls = "train runs/x $SBD sbd_vit_b.json table_14/delta_0.2.json --batch_size 4\nevaluate runs/x\n"
    done = subprocess.run(
        ["bash", "-c", show + functions + calls],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=True,
    )
    names = ["bundles/adaptiveclick/configs/train.json", "configs/sbd_vit_b.json", "configs/table_14/delta_0.2.json"]
    assert re.findall("<(.*?)>", done.stdout) == [
        *("python", "-m", "monai.bundle", "run", "training", "--config_file", str(names).replace(" ", "")),
        *("--dataset_dir", "data/SBD", "--ckpt_dir", "runs/x", "--output_dir", "runs/x/logs", "--num_workers", "8"),
        *("--batch_size", "4"),
        *("evaluate", "evaluate", "--weights", "runs/x/model.safetensors", "--config", "configs/evaluation.yaml"),
        *("--output_dir", "runs/x/results"),
    ]


def test_the_example_of_an_evaluation_has_the_data_sets_of_the_paper() -> None:
    content = yaml.safe_load((STUDIES / "evaluation.yaml").read_text(encoding="utf-8"))
    assert list(content) == ["datasets"]
    assert [choice.name for choice in read_choices(STUDIES / "evaluation.yaml")] == [
        entry["dataset"] for entry in content["datasets"]
    ]
    datasets = {entry["dataset"]: entry for entry in content["datasets"]}
    natural, medical = ("grabcut", "berkeley", "sbd", "davis", "pascal_voc"), ("sstem", "brats", "oaizib")
    assert list(datasets) == [*natural, *medical, "coco_lvis"]
    assert set(datasets) <= set(source_names())
    optional = {"section", "options", "max_samples", "crop_size", "min_area", "max_clicks"}
    for entry in datasets.values():
        assert {"dataset", "dataset_dir"} <= set(entry) <= {"dataset", "dataset_dir", *optional}
        assert not Path(entry["dataset_dir"]).is_absolute()
        assert entry.get("section", "all") in ("training", "validation", "all")
    assert {name for name, entry in datasets.items() if "crop_size" in entry} == {"davis"}
    assert datasets["davis"]["crop_size"] == 672
    assert [name for name, entry in datasets.items() if entry.get("section") == "validation"] == [
        *("sbd", "pascal_voc", "coco_lvis")
    ]

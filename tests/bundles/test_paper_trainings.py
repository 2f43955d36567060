"""The paper's two recipes, trained and validated on data sets in the layouts of SBD and COCO-LVIS."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

STUDIES = Path(__file__).parents[2] / "configs"
SIZE = (72, 88)


def scene(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture, a map of two objects, and a part of the first."""
    objects, part = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    objects[8:44, 6 + number : 40 + number], objects[40:66, 50:84] = 1, 2
    part[10:26, 10 + number : 30 + number] = 1
    noise = np.random.RandomState(number).randint(0, 30, (*SIZE, 3))
    picture = np.clip(60 + 60 * objects[..., None] + 40 * part[..., None] + noise, 0, 255).astype(np.uint8)
    return picture, objects, part


def write_sbd(folder: Path) -> Path:
    for name in ("img", "inst"):
        (folder / name).mkdir(parents=True)
    names = [f"2008_{number:06d}" for number in range(4)]
    for number, name in enumerate(names):
        picture, objects, _ = scene(number)
        Image.fromarray(picture).save(folder / "img" / f"{name}.jpg")
        fields = {"Segmentation": objects, "Categories": np.array([[1], [2]], np.uint8)}
        scipy.io.savemat(folder / "inst" / f"{name}.mat", {"GTinst": fields})
    (folder / "train.txt").write_text("\n".join(names[:3]))
    (folder / "val.txt").write_text(names[3])
    (folder / "scores.json").write_text('[[0, "a", 0.2], [1, "b", 0.9], [2, "c", 0.5]]')
    return folder


def write_coco_lvis(folder: Path) -> Path:
    for section, numbers in (("train", (0, 1, 2)), ("val", (3,))):
        for name in ("images", "masks"):
            (folder / section / name).mkdir(parents=True)
        entries = {}
        for number in numbers:
            picture, objects, part = scene(number)
            sky = np.zeros(SIZE, np.uint8)
            sky[:6] = 1
            encoded = []
            for layer in (objects, part, sky):
                buffer = io.BytesIO()
                Image.fromarray(layer).save(buffer, format="PNG")
                encoded.append(np.frombuffer(buffer.getvalue(), np.uint8))
            name = f"{number:012d}"
            Image.fromarray(picture).save(folder / section / "images" / f"{name}.jpg")
            mapping = {0: (0, 1), 1: (0, 2), 2: (1, 1), 3: (2, 1)}
            (folder / section / "masks" / f"{name}.pickle").write_bytes(pickle.dumps((encoded, mapping)))
            tree = {
                0: {"parent": None, "children": [2], "node_level": 0},
                1: None,
                2: {"parent": 0, "children": [], "node_level": 1},
            }
            entries[name] = {"hierarchy": tree, "num_instance_masks": 3}
        (folder / section / "hannotation.pickle").write_bytes(pickle.dumps(entries))
    return folder


@pytest.mark.parametrize(
    ("study", "write", "options", "more"),
    [
        ("sbd_vit_b.json", write_sbd, {"sampling_scores": "scores.json"}, {}),
        ("coco_lvis_vit_b.json", write_coco_lvis, {}, {"part_probability": 0.5, "min_area": 30}),
    ],
    ids=["sbd", "coco_lvis"],
)
def test_training(
    tmp_path: Path,
    run_bundle: Callable[..., None],
    small: dict[str, Any],
    study: str,
    write: Callable[[Path], Path],
    options: dict[str, Any],
    more: dict[str, Any],
) -> None:
    tiny = {key: value for key, value in small.items() if key not in ("dataset", "dataset_options", "min_area")}
    tiny |= {
        "preset": "nano",
        "image_size": 64,
        "pretrained_encoder": "$None",
        "dataset_dir": str(write(tmp_path / "d")),
    }
    tiny |= {"dataset_options": options, "batch_size": 2, "samples_per_epoch": 4, "max_epochs": 1, "val_interval": 1}
    tiny |= {"val_max_samples": 1, "val_max_clicks": 2, "max_rounds": 1, **more}
    tiny |= {"network_arguments#depth": 2, "network_arguments#click_decoder_layers": 3}
    run_bundle("training", ["train.json", str(STUDIES / study)], tmp_path, **tiny)
    weights = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert all(bool(tensor.isfinite().all()) for tensor in weights.values())
    kept = torch.load(tmp_path / "models" / "checkpoint_epoch=1.pt", weights_only=True)
    assert kept["trainer"]["iteration"] == 2

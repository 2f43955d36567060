"""Small scans made on the fly, and the training of the bundle.

They stand in for your own data in the notebooks. Three organs, 64 x 64 pixels of 5 mm: easy, and no measure of how good
the method is.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from scipy import ndimage

_REPOSITORY = Path(os.path.relpath(Path(__file__).parents[1]))
RUNS = _REPOSITORY / "runs" / "notebooks"  # what the notebooks write
BUNDLE = _REPOSITORY / "bundles" / "adaptiveclick"

_SHAPE = (64, 64, 12)
_VALUES = {
    "CT": {"outside": -1000, "body": 20, "organs": (110, -90, 210), "noise": 15},  # Hounsfield units
    "MR": {"outside": 5, "body": 900, "organs": (420, 1300, 150), "noise": 40},  # arbitrary units
}


def make_scan(seed: int, kind: str = "CT") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return image [I, J, K] int16, label [I, J, K] uint8 (1, 2, 3: the organs) and affine 4 x 4 (voxel to RAS, mm)."""
    random = np.random.default_rng([seed, len(kind) + ord(kind[0])])
    values = _VALUES[kind]
    grid = np.stack(np.meshgrid(*map(np.arange, _SHAPE), indexing="ij"), -1).astype(float)
    turn = random.uniform(0, 0.7)
    image, label = np.full(_SHAPE, values["outside"], float), np.zeros(_SHAPE, np.uint8)
    image[_inside(grid, (32, 32, 6), (29, 24, 40))] = values["body"]
    for number, value in enumerate(values["organs"], start=1):
        angle = turn + number * 2.1
        centre = (32 + 16 * np.cos(angle), 32 + 13 * np.sin(angle), random.uniform(4, 8))
        organ = _inside(grid, centre, (random.uniform(8, 12), random.uniform(8, 11), random.uniform(3, 5)))
        image[organ], label[organ] = value, number
    image += random.normal(0, values["noise"], _SHAPE)
    affine = np.diag([-5.0, -5.0, 6.0, 1.0])  # i to the left, j to the back, k up
    affine[:3, 3] = (160, 140, -300)
    return image.round().astype(np.int16), label, affine


def _inside(grid: np.ndarray, centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    return (((grid - centre) / radii) ** 2).sum(-1) < 1


def with_margin(label: np.ndarray, margin: int) -> np.ndarray:
    """Return a label whose organs are larger by ``margin`` pixels in each slice."""
    grid = np.arange(-margin, margin + 1)
    disc = (grid[:, None] ** 2 + grid**2 <= margin**2)[:, :, None]
    return np.where(label > 0, label, ndimage.grey_dilation(label, footprint=disc))


def write_scans(folder: Path, count: int, kind: str = "CT", first: int = 0, margin: int = 0) -> Path:
    """Write ``images/scan_NN.nii.gz`` and ``labels/scan_NN.nii.gz``, the layout of the data set "folder"."""
    for number in range(first, first + count):
        image, label, affine = make_scan(number, kind)
        label = with_margin(label, margin)
        for part, array in (("images", image), ("labels", label)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, affine), folder / part / f"scan_{number:02d}.nii.gz")
    return folder


def train(output_dir: Path, watch: Callable[[Any], None] | None = None, **overrides: Any) -> Path:
    """Run the training of the bundle, as ``python -m monai.bundle run training`` does, and return the weight file.

    ``watch`` is called with the workflow after it was set up; ``overrides`` are those of the command line.
    """
    from monai.bundle import ConfigWorkflow

    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        workflow = ConfigWorkflow(
            config_file=str(BUNDLE / "configs" / "train.json"),
            workflow_type="train",
            logging_file=False,
            bundle_root=str(BUNDLE),
            ckpt_dir=str(output_dir),
            output_dir=str(output_dir / "logs"),
            progress=False,
            **overrides,
        )
        workflow.initialize()
        if watch is not None:
            watch(workflow)
        workflow.run()
        workflow.finalize()
    logging.disable(logging.NOTSET)
    return output_dir / "model.safetensors"

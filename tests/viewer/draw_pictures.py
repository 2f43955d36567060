"""Draws the pictures of docs/ohif.md: tests/viewer/alone PYTHON tests/viewer/draw_pictures.py docs/pictures."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom
from dicomweb_client.api import DICOMwebClient
from ohif_page import CHROMIUM, OhifPage
from playwright.sync_api import sync_playwright
from programs import start_orthanc, start_server
from viewer_network import train_quickly

from adaptiveclick_med.data.dicom_writing import write_dicom_series
from adaptiveclick_med.data.files import Volume
from adaptiveclick_med.data.phantoms import make_phantom

STEPS = 900


def main(pictures: Path, work: Path) -> None:
    """Start everything on a phantom, click on its largest organs, and keep what can be seen."""
    phantom = make_phantom(0, size=(20, 160, 160))
    organs = phantom.label[..., 1]
    affine = np.diag([-0.9, -0.9, 3.0, 1.0])
    print("loss", train_quickly(work / "organs.safetensors", phantom.image, organs, steps=STEPS, side=96)[-1])
    (work / "orthanc").mkdir()
    (work / "server").mkdir()
    orthanc = start_orthanc(work / "orthanc")
    volume = Volume(phantom.image, affine)
    files = write_dicom_series(
        work / "series", volume, patient_name="Phantom", study_description="Phantom", window=(0, 800)
    )
    DICOMwebClient(f"{orthanc.url}/dicom-web").store_instances([pydicom.dcmread(file) for file in files])
    server = start_server(
        f"{orthanc.url}/dicom-web", work / "server", work / "organs.safetensors", ["liver", "spleen"], port=8000
    )
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(**CHROMIUM)
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            draw(OhifPage(page, server.url), pictures, organs, affine)
            browser.close()
    finally:
        server.stop()
        orthanc.stop()


def draw(ohif: OhifPage, pictures: Path, organs: np.ndarray, affine: np.ndarray) -> None:
    """Go through the pages as a user does."""

    def place(voxel: np.ndarray) -> list[float]:
        return (np.diag([-1, -1, 1, 1]) @ affine @ [*voxel, 1])[:3].tolist()

    numbers, counts = np.unique(organs[organs > 0], return_counts=True)
    first, second = numbers[np.argsort(-counts)][:2]
    voxels = [np.argwhere(organs == number) for number in (first, second)]
    middles = [inside[((inside - inside.mean(0)) ** 2).sum(1).argmin()] for inside in voxels]
    ohif.open_list()
    ohif.page.get_by_text("Phantom").first.click()
    ohif.page.get_by_text("MONAI Label", exact=True).first.wait_for()
    ohif.page.mouse.move(640, 700)
    ohif.page.wait_for_timeout(500)
    ohif.picture(pictures / "ohif_list.png")
    ohif.page.get_by_text("Phantom").first.click()
    ohif.open_study("Phantom")
    ohif.connect()
    ohif.watch_segments()
    ohif.models()
    ohif.choose_label("liver")
    ohif.click("mpr-axial", place(middles[0]))
    print(ohif.run().params)
    ohif.page.wait_for_timeout(6000)  # until the notice of success is gone
    ohif.picture(pictures / "ohif_click.png")
    ohif.choose_model("adaptiveclick_3d")
    ohif.choose_label("spleen")
    ohif.click("mpr-axial", place(middles[1]))
    print(ohif.run().params)
    ohif.page.wait_for_timeout(6000)
    ohif.picture(pictures / "ohif_volume.png")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        main(target, Path(folder))

"""OHIF in a browser: what a user does there, by mouse, and what can be seen of the result."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page

__all__ = ["CHROMIUM", "Answer", "OhifPage"]

CHROMIUM: dict[str, Any] = {
    "executable_path": shutil.which("chromium"),
    "headless": True,
    "args": ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"],
}
"""Debian's Chromium, painting without a graphics card."""

PATIENCE = 90_000
"""Milliseconds after which a thing that does not happen is given up."""

_VIEWPORT = "window.cornerstone.getRenderingEngines()[0].getViewport(pane)"
_LOADED = f"""pane => {{
    const view = window.cornerstone?.getRenderingEngines?.()[0] && {_VIEWPORT};
    const volume = view?.getVolumeId?.() && window.cornerstone.cache.getVolume(view.getVolumeId());
    return Boolean(volume?.loadStatus?.loaded);
}}"""
_SCROLL = f"""([pane, world]) => {{
    const view = {_VIEWPORT}, camera = view.getCamera(), normal = camera.viewPlaneNormal;
    const off = [0, 1, 2].reduce((sum, a) => sum + normal[a] * (world[a] - camera.focalPoint[a]), 0);
    const moved = point => [0, 1, 2].map(a => point[a] + normal[a] * off);
    view.setCamera({{focalPoint: moved(camera.focalPoint), position: moved(camera.position)}});
    view.render();
}}"""
_PLACE = f"([pane, world]) => {_VIEWPORT}.worldToCanvas(world)"
_ACTIVE = "window.services.viewportGridService.getState().activeViewportId"
_LABELS = "() => Array.from(window.services.segmentationService.getLabelmapVolume('1')"
_LABELS += ".voxelManager.getCompleteScalarDataArray())"
_POINTS = """() => Object.values(
    window.cornerstoneTools.annotation.state.getAnnotationManager().saveAnnotations(null, 'ProbeMONAILabel') || {}
).reduce((sum, each) => sum + (each.ProbeMONAILabel || []).length, 0)"""
_READY = "() => Boolean(window.services.segmentationService.getLabelmapVolume('1'))"


class Answer:
    """What OHIF asked our server with a press on "Run", and what it got.

    Args:
        response: Playwright's response.
    """

    def __init__(self, response: Any) -> None:
        self.url: str = response.request.url
        self.status: int = response.status
        parts = response.request.post_data.split("\r\n\r\n")
        self.params: dict[str, Any] = json.loads(parts[1].split("\r\n")[0])
        self.body: bytes = response.body()


class OhifPage:
    """The page of OHIF that our server serves.

    Args:
        page: a browser's page.
        url: of our server.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        page.set_default_timeout(PATIENCE)
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.addresses: set[str] = set()
        page.on("request", self._note)

    def _note(self, request: Any) -> None:
        if request.url.startswith("http"):
            self.addresses.add(request.url.split("/")[2])

    def open_list(self) -> list[str]:
        """Open the list of studies; return the names of the patients."""
        self.page.goto(f"{self.url}/ohif/", wait_until="domcontentloaded")
        self.hide_notice()
        rows = self.page.locator("tr[role=row] td:nth-child(2) span.truncate, tbody tr td:nth-child(2) span.truncate")
        rows.first.wait_for()
        return [text.strip() for text in rows.all_inner_texts()]

    def hide_notice(self) -> None:
        """Close the notice that OHIF is for investigational use."""
        notice = self.page.get_by_text("Confirm and Hide")
        self.page.get_by_text("Study List").or_(notice).first.wait_for()
        if notice.count():
            notice.click()

    def open_study(self, patient: str) -> None:
        """From the list, open a patient's study in the mode "MONAI Label", and wait for its images."""
        self.page.get_by_text(patient).first.click()
        self.page.get_by_text("MONAI Label", exact=True).first.click()
        for pane in ("mpr-axial", "mpr-sagittal", "mpr-coronal"):
            self.page.wait_for_function(_LOADED, arg=pane)

    def connect(self) -> None:
        """Type our server's address into the panel and press the button beside it."""
        field = self.page.locator("#monailabelServerURL")
        field.fill(f"{self.url}/")
        self.page.locator(".settingsTable button").click()
        self.page.get_by_text("Point Prompts").wait_for()
        self.page.wait_for_function(_READY)

    def models(self) -> list[str]:
        """Open the tab for clicks; return the models that it offers."""
        self.page.get_by_text("Point Prompts").click()
        return [text.strip() for text in self._tab().locator("select option").all_inner_texts()]

    def labels(self) -> list[str]:
        """Return the names that the tab for clicks offers."""
        return [text.strip() for text in self.page.locator("tr.clickable-row").all_inner_texts()]

    def choose_model(self, name: str) -> None:
        """Choose a model in the tab for clicks."""
        self._tab().locator("select").select_option(name)

    def choose_label(self, name: str) -> None:
        """Choose what the next clicks are for."""
        self.page.locator("tr.clickable-row", has_text=name).click()

    def click(self, pane: str, world: Sequence[float]) -> tuple[float, float]:
        """Scroll a pane to a place and click on it.

        Args:
            pane: ``"mpr-axial"``, ``"mpr-sagittal"`` or ``"mpr-coronal"``.
            world: (x, y, z) in LPS millimetres.

        Returns:
            (x, y) of the click, in pixels of the page.
        """
        box = self.page.locator(f"[data-viewport-uid='{pane}']").bounding_box()
        assert box is not None
        if self.page.evaluate(_ACTIVE) != pane:  # the first click on another pane only chooses it
            self.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 150)
            self.page.wait_for_function(f"pane => {_ACTIVE} === pane", arg=pane)
        before = self._points()
        self.page.evaluate(_SCROLL, [pane, list(world)])
        left, top = self.page.evaluate(_PLACE, [pane, list(world)])
        x, y = box["x"] + left, box["y"] + top
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.up()
        self.page.wait_for_function(f"before => ({_POINTS})() > before", arg=before)
        return x, y

    def _points(self) -> int:
        return int(self.page.evaluate(_POINTS))

    def listed_modalities(self) -> set[str]:
        """Return the modalities of the studies that the left panel lists."""
        return {"CT", "MR"}.intersection(self.page.locator("[data-cy='studyBrowser-panel']").inner_text().split())

    def run(self) -> Answer:
        """Press "Run" and wait until the answer is in the picture."""
        before = self.page.evaluate("() => window.segmentsChanged || 0")
        with self.page.expect_response(lambda response: "/infer/" in response.url) as waiting:
            self.page.locator("button[title='Run PointPrompts']").click()
        answer = Answer(waiting.value)
        if answer.status == 200:
            self.page.wait_for_function("before => (window.segmentsChanged || 0) > before", arg=before)
            self.page.wait_for_timeout(300)  # one more frame, for the picture
        return answer

    def watch_segments(self) -> None:
        """Count from now on how often segments change."""
        self.page.evaluate(
            """() => window.cornerstone.eventTarget.addEventListener('CORNERSTONE_TOOLS_SEGMENTATION_DATA_MODIFIED',
                () => { window.segmentsChanged = (window.segmentsChanged || 0) + 1; })"""
        )

    def segments(self, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        """Return the label map [I, J, K] that the viewer holds."""
        return np.array(self.page.evaluate(_LABELS), dtype=np.uint8).reshape(shape, order="F")

    def place(self, pane: str, world: Sequence[float]) -> tuple[int, int]:
        """Return the pixel (x, y) of the page where a pane shows a place; the pane must be scrolled to it."""
        box = self.page.locator(f"[data-viewport-uid='{pane}']").bounding_box()
        assert box is not None
        left, top = self.page.evaluate(_PLACE, [pane, list(world)])
        return round(box["x"] + left), round(box["y"] + top)

    def picture(self, path: Path | None = None) -> NDArray[np.uint8]:
        """Return what can be seen, [height, width, 3]; also write it to a file."""
        png = self.page.screenshot()
        if path is not None:
            Image.open(io.BytesIO(png)).convert("RGB").quantize(128).save(path, optimize=True)
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

    def _tab(self) -> Any:
        return self.page.locator("div.tab", has_text="Point Prompts").last

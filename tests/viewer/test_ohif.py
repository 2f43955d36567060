"""OHIF in Chromium: what a user sees and gets who opens the server's address and clicks on an image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from ohif_page import CHROMIUM, OhifPage
from playwright.sync_api import Browser, sync_playwright
from scipy import ndimage

from adaptiveclick_med.data.files import read_volume

K = 7
"""The slice that is clicked on."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**CHROMIUM)
        yield browser
        browser.close()


def opened(browser: Browser, server, study) -> OhifPage:
    """The study's page, our server connected and the tab for clicks open."""
    ohif = OhifPage(browser.new_page(viewport={"width": 1400, "height": 800}), server.url)
    ohif.open_list()
    ohif.open_study(study.patient)
    ohif.connect()
    ohif.watch_segments()
    ohif.models()
    return ohif


def place(study, voxel) -> list[float]:
    """The place of a voxel in LPS millimetres, by the series' headers alone."""
    return (np.diag([-1, -1, 1, 1]) @ study.series.affine @ [*voxel, 1])[:3].tolist()


@pytest.fixture(scope="module")
def ohif(browser, server, upright) -> Iterator[OhifPage]:
    page = opened(browser, server, upright)
    yield page
    page.page.close()


@pytest.fixture(scope="module")
def ohif_tilted(browser, server, tilted) -> Iterator[OhifPage]:
    page = opened(browser, server, tilted)
    yield page
    page.page.close()


def answered_mask(answer, tmp_path):
    (tmp_path / "answer.nrrd").write_bytes(answer.body)
    return read_volume(tmp_path / "answer.nrrd").array > 0


def dice(mask, truth) -> float:
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def colour(picture, xy) -> int:
    """How far a pixel is from grey."""
    red, green, blue = picture[xy[1], xy[0]].astype(int)
    return max(red, green, blue) - min(red, green, blue)


def test_the_list_names_the_patients(browser, server, upright, tilted):
    page = OhifPage(browser.new_page(), server.url)
    assert {upright.patient, tilted.patient} <= set(page.open_list())
    page.page.close()


def test_only_the_patients_own_studies_are_listed(ohif, ohif_tilted):
    assert ohif.listed_modalities() == {"CT"}
    assert ohif_tilted.listed_modalities() == {"MR"}


def test_models_and_labels_are_offered(ohif):
    assert ohif.models() == ["adaptiveclick_2d", "adaptiveclick_3d"]
    assert ohif.labels() == ["background", "liver", "spleen"]


def test_a_click_gives_a_segment_where_it_was_made(ohif, upright, tmp_path):
    ohif.choose_model("adaptiveclick_2d")
    ohif.choose_label("liver")
    voxel = upright.middle(K)
    inside = ndimage.binary_erosion(upright.body[..., K], iterations=4)
    outside = ~ndimage.binary_dilation(upright.body[..., K], iterations=4)
    ohif.click("mpr-axial", place(upright, voxel))
    before = ohif.picture()
    answer = ohif.run()
    after = ohif.picture()

    assert answer.url.split("/infer/")[1] == f"adaptiveclick_2d?image={upright.series.uid}&output=image"
    assert (answer.status, answer.params["foreground"], answer.params["background"]) == (200, [list(voxel)], [])
    mask = answered_mask(answer, tmp_path)
    assert np.flatnonzero(mask.any((0, 1))).tolist() == [K]
    assert dice(mask[..., K], upright.body[..., K]) > 0.95
    segments = ohif.segments(upright.image.shape)
    np.testing.assert_array_equal(segments, mask.astype(np.uint8))
    for region, coloured in ((inside, True), (outside, False)):
        places = [(*at, K) for at in np.argwhere(region)[::97]]
        pixels = [ohif.place("mpr-axial", place(upright, at)) for at in places]
        changed = [colour(after, at) - colour(before, at) > 20 for at in pixels]
        assert changed == [coloured] * len(places)


def test_a_background_click_and_another_label_keep_to_themselves(ohif, upright):
    liver = ohif.segments(upright.image.shape) == 1
    ohif.choose_label("background")
    edge = np.argwhere(upright.body[..., 9])[0]
    ohif.click("mpr-axial", place(upright, (*edge, 9)))
    ohif.choose_label("spleen")
    voxel = upright.middle(9)
    ohif.click("mpr-axial", place(upright, voxel))
    answer = ohif.run()
    assert answer.params["foreground"] == [list(voxel)]
    assert answer.params["background"] == [[*edge.tolist(), 9]]
    segments = ohif.segments(upright.image.shape)
    np.testing.assert_array_equal(segments == 1, liver)
    assert np.flatnonzero((segments == 2).any((0, 1))).tolist() == [9]


@pytest.mark.parametrize("pane", ["mpr-axial", "mpr-sagittal", "mpr-coronal"])
def test_clicks_in_every_pane_of_a_tilted_series_reach_their_voxel(pane, ohif_tilted, tilted, tmp_path):
    ohif_tilted.choose_model("adaptiveclick_2d")
    ohif_tilted.choose_label("liver")
    k = {"mpr-axial": 6, "mpr-sagittal": 8, "mpr-coronal": 10}[pane]
    voxel = tilted.middle(k)
    ohif_tilted.click(pane, place(tilted, voxel))
    answer = ohif_tilted.run()
    assert answer.params["foreground"] == [list(voxel)]
    mask = answered_mask(answer, tmp_path)
    assert dice(mask[..., k], tilted.body[..., k]) > 0.95
    np.testing.assert_array_equal(ohif_tilted.segments(tilted.image.shape)[..., k] == 1, mask[..., k])


def test_a_whole_object_appears_in_all_slices(ohif_tilted, tilted):
    ohif_tilted.choose_model("adaptiveclick_3d")
    ohif_tilted.choose_label("spleen")
    ohif_tilted.click("mpr-axial", place(tilted, tilted.middle(8)))
    answer = ohif_tilted.run()
    assert answer.status == 200
    segments = ohif_tilted.segments(tilted.image.shape)
    assert dice(segments > 0, tilted.body) > 0.9


def test_only_this_machine_was_asked_for_images(ohif, server):
    fonts = {"fonts.googleapis.com"}
    assert ohif.addresses - fonts == {server.url.split("/")[2]}
    assert ohif.errors == []


def test_background_chosen_at_run_is_refused_with_a_reason(ohif, upright):
    segments = ohif.segments(upright.image.shape)
    ohif.choose_model("adaptiveclick_2d")
    ohif.choose_label("background")
    ohif.click("mpr-axial", place(upright, upright.middle(11)))
    answer = ohif.run()
    assert answer.params["foreground"] == answer.params["background"] == [list(upright.middle(11))]
    assert answer.status == 422
    ohif.page.get_by_text("Failed to Run Inference").wait_for()
    np.testing.assert_array_equal(ohif.segments(upright.image.shape), segments)

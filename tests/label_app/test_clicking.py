from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monailabel.client import MONAILabelClient

from adaptiveclick_med.data.files import read_volume
from adaptiveclick_med.inference import VolumeSession
from adaptiveclick_med.weights import load_network
from tests.label_app.conftest import AFFINE, LABELS, Server, scan

Ask = Callable[..., Any]


def test_the_models_have_a_click_panel_in_viewers(client: MONAILabelClient) -> None:
    info = client.info()
    assert info["labels"] == list(LABELS)
    assert {name: (model["type"], model["dimension"]) for name, model in info["models"].items()} == {
        "adaptiveclick_2d": ("deepgrow", 2),
        "adaptiveclick_3d": ("deepgrow", 3),
    }
    assert set(info["strategies"]) == {"never_seen", "least_confident", "random"}
    assert list(info["trainers"]) == ["adaptiveclick"]


def test_images_of_all_formats_are_listed_and_unfinished_ones_are_not(client: MONAILabelClient) -> None:
    found = set(client.datastore()["objects"])
    assert found >= {"head", "hip", "knee", "wrist", "ct_series", "cut_off"}
    assert not any(name.startswith(".") or "notes" in name or "writing" in name for name in found)


@pytest.mark.parametrize("k", [0, 3, 5])
def test_a_click_fills_its_slice_only_on_the_grid_of_the_image(ask: Ask, k: int) -> None:
    answer, known = ask("head", foreground=[[16, 14, k]], background=[], slice=k, label="tumor")
    assert answer.array.shape == (48, 40, 6)
    assert answer.array.dtype == np.uint8
    assert set(np.unique(answer.array)) == {0, 1}
    assert [index for index in range(6) if answer.array[:, :, index].any()] == [k] == known["slices"]
    np.testing.assert_array_equal(answer.affine, AFFINE.astype(np.float32))
    assert known["label_names"] == {"tumor": 1}
    assert len(known["candidates"]) == 10
    assert known["candidates"] == sorted(known["candidates"], reverse=True)
    assert set(known["latencies"]) == {"decode", "transforms", "network", "writing", "total"}


def test_the_answer_is_that_of_a_session_in_python(ask: Ask, server: Server) -> None:
    answer, _ = ask("head", foreground=[[16, 14, 2], [20, 18, 2]], background=[[40, 30, 2]])
    session = VolumeSession(load_network(server.work_dir / "model" / "model.safetensors"), second_look=True)
    session.set_volume(scan((48, 40, 6)), AFFINE)
    for point, positive in (((16, 14, 2), True), ((40, 30, 2), False), ((20, 18, 2), True)):
        session.click(point, positive, plane=session.acquisition_plane)
    np.testing.assert_array_equal(answer.array, session.mask())


def test_at_slice_0_only_points_of_slice_0_count_although_slicer_sends_all(ask: Ask) -> None:
    only, _ = ask("head", foreground=[[16, 14, 0]], background=[], slice=0)
    both, _ = ask("head", foreground=[[16, 14, 0], [16, 14, 3]], background=[[3, 3, 3]], slice=0)
    np.testing.assert_array_equal(only.array, both.array)


def test_without_a_slice_that_of_the_last_positive_click_counts(ask: Ask) -> None:
    answer, known = ask("head", foreground=[[16, 14, 1], [16, 14, 4]], background=[])
    assert known["slices"] == [4]
    assert answer.array[:, :, 4].any()


def test_taking_a_click_back_gives_the_same_bytes_without_asking_the_network(server: Server) -> None:
    def send(*background: list[int]) -> Any:
        return server.post(foreground=[[16, 14, 2]], background=list(background), slice=2, result_extension=".nrrd")

    before = send()
    other = send([40, 30, 2])
    after = send()
    assert before.status_code == other.status_code == after.status_code == 200
    part = [answer.content.split(b"NRRD0004", 1)[1].split(b"\r\n--", 1)[0] for answer in (before, other, after)]
    assert part[0] == part[2]
    assert b'"network": 0.0,' in after.content


def test_no_click_is_an_empty_answer(ask: Ask) -> None:
    answer, known = ask("head", foreground=[], background=[])
    assert not answer.array.any()
    assert known["slices"] == []


def test_a_candidate_can_be_chosen(ask: Ask) -> None:
    first, known = ask("head", foreground=[[16, 14, 2]], background=[], candidate=0)
    last, other = ask("head", foreground=[[16, 14, 2]], background=[], candidate="9")
    assert not np.array_equal(first.array, last.array)
    assert known["candidates"] == other["candidates"]


def test_a_region_cuts_the_answer(ask: Ask) -> None:
    whole, _ = ask("head", foreground=[[16, 14, 2]], background=[])
    cut, _ = ask("head", foreground=[[16, 14, 2]], background=[], roi=[30, 10, 5, 20, 0, 0])
    expected = np.zeros_like(whole.array)
    expected[10:31, 5:21] = whole.array[10:31, 5:21]
    np.testing.assert_array_equal(cut.array, expected)


def test_points_may_come_as_text_and_choices_as_lists(ask: Ask) -> None:
    plain, _ = ask("head", "adaptiveclick_3d", foreground=[[16, 14, 2]], background=[], direction="both")
    texts, _ = ask(
        "head", "adaptiveclick_3d", foreground="[[16, 14, 2]]", background="[]", direction=["both", "up"], until=""
    )
    np.testing.assert_array_equal(plain.array, texts.array)


def test_a_whole_object_is_carried_through_the_slices(ask: Ask) -> None:
    one, known = ask("head", "adaptiveclick_3d", foreground=[[16, 14, 2]], background=[], until=1)
    assert known["clicked_slices"] == [2]
    assert set(known["slices"]) <= {1, 2, 3}
    assert {(stop["from"], stop["direction"]) for stop in known["stops"]} == {(2, "up"), (2, "down")}
    alone, _ = ask("head", foreground=[[16, 14, 2]], background=[])
    np.testing.assert_array_equal(one.array[:, :, 2], alone.array[:, :, 2])
    up, known = ask("head", "adaptiveclick_3d", foreground=[[16, 14, 2]], background=[], direction="up")
    assert not up.array[:, :, :2].any()
    assert [stop["direction"] for stop in known["stops"]] == ["up"]


def test_a_negative_click_corrects_what_was_carried_to_its_slice(ask: Ask) -> None:
    carried, known = ask("head", "adaptiveclick_3d", foreground=[[16, 14, 2]], background=[])
    assert 4 in known["slices"]
    corrected, known = ask("head", "adaptiveclick_3d", foreground=[[16, 14, 2]], background=[[5, 5, 4]])
    assert known["clicked_slices"] == [2, 4]
    assert known["ignored_clicks"] == []
    assert not np.array_equal(carried.array[:, :, 4], corrected.array[:, :, 4])
    _, known = ask("head", "adaptiveclick_3d", foreground=[[16, 14, 2]], background=[[5, 5, 4]], until=1)
    assert known["ignored_clicks"] == [[5, 5, 4]]


def test_every_format_is_answered(client: MONAILabelClient) -> None:
    for image in ("head", "hip", "knee", "wrist", "ct_series"):
        answers = []
        for extension in (".nii.gz", ".nii", ".nrrd", ".mha", ".seg.nrrd"):
            params = {"foreground": [[14, 14, 2]], "background": [], "result_extension": extension}
            file, _ = client.infer("adaptiveclick_2d", image, params)
            assert file.endswith(extension)
            answers.append(read_volume(file))
        for other in answers[1:]:
            np.testing.assert_array_equal(answers[0].array, other.array)
            np.testing.assert_allclose(answers[0].affine, other.affine, atol=1e-5)


def test_a_session_image_is_clicked_on(client: MONAILabelClient, server: Server, ask: Ask) -> None:
    session = client.create_session(str(server.studies / "head.nii.gz"))["session_id"]
    params = {"foreground": [[16, 14, 2]], "background": []}
    file, _ = client.infer("adaptiveclick_2d", "head", dict(params), session_id=session)
    expected, _ = ask("head", **params)
    np.testing.assert_array_equal(read_volume(file).array, expected.array)
    assert Path(client.get_session(session)["path"]).is_relative_to(server.work_dir)
    file, _ = client.infer("adaptiveclick_2d", "", dict(params), file=str(server.studies / "head.nii.gz"))
    np.testing.assert_array_equal(read_volume(file).array, expected.array)
    client.remove_session(session)


def test_two_users_get_their_own_masks(server: Server, tmp_path: Path) -> None:
    asked = {
        "one": [{"foreground": [[16, 14, 1], [18, 15, 1]][:count], "background": [], "slice": 1} for count in (1, 2)],
        "two": [{"foreground": [[20, 12, 4]], "background": [[2, 2, 4]][:count], "slice": 4} for count in (0, 1)],
    }

    def click(user: str) -> list[Any]:
        client = server.client(tmp_path / user)
        return [read_volume(client.infer("adaptiveclick_2d", "head", dict(p))[0]).array for p in asked[user] * 3]

    alone = {user: click(user) for user in asked}
    together: dict[str, list[Any]] = {}
    threads = [threading.Thread(target=lambda user=user: together.update({user: click(user)})) for user in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for user, masks in alone.items():
        for mask, other in zip(masks, together[user], strict=True):
            np.testing.assert_array_equal(mask, other)


def test_nothing_is_left_in_the_home_folder(server: Server, ask: Ask) -> None:
    ask("head", foreground=[[16, 14, 2]], background=[])
    assert not [path.name for path in server.work_dir.parent.iterdir() if path.name.startswith(".")]
    assert (server.work_dir / "logs" / "app.log").is_file()

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from adaptiveclick_med.transforms.clicks import RandSelectTargetd, RandSimulateClicksd
from adaptiveclick_med.transforms.objects import LabelObject, ObjectTree

PERSON, HEAD, EYE, ARM, DOG, SKY = 1, 2, 3, 4, 5, 6
TREE = np.array([[PERSON, 0], [HEAD, PERSON], [EYE, HEAD], [ARM, PERSON], [DOG, 0]], dtype=np.int32)
AREAS = {PERSON: 144, HEAD: 36, EYE: 4, ARM: 24, DOG: 20, SKY: 96}


def label() -> np.ndarray:
    layers = np.zeros((3, 20, 24), dtype=np.int32)
    layers[0, 6:18, 2:14] = PERSON
    layers[1, 6:12, 4:10] = HEAD
    layers[2, 7:9, 5:7] = EYE
    layers[1, 13:17, 2:8] = ARM
    layers[0, 14:18, 16:21] = DOG
    layers[0, 0:4] = SKY
    return layers


def sample(**extra: Any) -> dict[str, Any]:
    return {"label": label(), "hierarchy": TREE, "num_instances": 5, **extra}


def shown(*numbers: int) -> np.ndarray:
    return np.isin(label(), numbers).any(axis=0)


def target_of(item: dict) -> int:
    """The number of the object that is the target."""
    mask = item["target"][0].numpy() == 1
    return next(number for number in AREAS if np.array_equal(shown(number), mask))


def selected(count: int, item: dict, **options: Any) -> list[dict]:
    select = RandSelectTargetd(**{"min_area": 1, "merge_probability": 0.0, **options}).set_random_state(0)
    return [select(item) for _ in range(count)]


def test_only_roots_are_targets_by_default() -> None:
    items = selected(60, sample())
    assert {target_of(item) for item in items} == {PERSON, DOG}
    for item in items:
        target = target_of(item)
        np.testing.assert_array_equal(item["others"][0] == 1, shown({PERSON: DOG}.get(target, PERSON)))
        assert item["required"].shape == (1, 20, 24) and item["required"].dtype == torch.uint8
        assert not item["required"].any()


def test_without_a_hierarchy_nothing_is_required_and_every_object_is_a_target() -> None:
    item = sample()
    del item["hierarchy"], item["num_instances"]
    items = selected(200, item, part_probability=1.0)
    assert {target_of(found) for found in items} == set(AREAS)
    assert all("required" not in found for found in items)


def test_the_same_draws_without_a_hierarchy() -> None:
    plain = RandSelectTargetd().set_random_state(3)
    other = RandSelectTargetd(part_probability=0.5, stuff_probability=0.3).set_random_state(3)
    for _ in range(20):
        assert torch.equal(plain({"label": label()})["target"], other({"label": label()})["target"])


def test_parts_parent_minus_part_and_others() -> None:
    cases = {
        EYE: (shown(HEAD) & ~shown(EYE), shown(ARM, DOG)),
        ARM: (shown(PERSON) & ~shown(ARM), shown(HEAD, EYE, DOG)),
        DOG: (np.zeros((20, 24), dtype=bool), shown(PERSON)),
    }
    items = selected(60, sample(), part_probability=1.0)
    assert {target_of(item) for item in items} == set(cases)
    for item in items:
        required, others = cases[target_of(item)]
        np.testing.assert_array_equal(item["required"][0] == 1, required)
        np.testing.assert_array_equal(item["others"][0] == 1, others)


def test_how_often_parts_are_targets() -> None:
    found = Counter(target_of(item) for item in selected(1600, sample(), part_probability=0.5))
    shares = {number: found[number] / 1600 for number in AREAS}
    expected = {DOG: 1 / 2, PERSON: 1 / 4, ARM: 1 / 8, HEAD: 1 / 16, EYE: 1 / 16, SKY: 0}
    for number, share in expected.items():
        assert shares[number] == pytest.approx(share, abs=0.035)


def test_the_head_keeps_its_eye_out_of_the_others() -> None:
    heads = [item for item in selected(200, sample(), part_probability=0.5) if target_of(item) == HEAD]
    assert heads
    for item in heads:
        np.testing.assert_array_equal(item["others"][0] == 1, shown(ARM, DOG))
        np.testing.assert_array_equal(item["required"][0] == 1, shown(PERSON) & ~shown(HEAD))


@pytest.mark.parametrize("drop_small", [True, False])
def test_small_objects_are_passed_over(drop_small: bool) -> None:
    """Without the head (too full of holes for its box), the eye is a part of the person itself."""
    thin = label()
    thin[1, 6:12, 4:10] = 0
    thin[1, 6, 4:10] = thin[1, 6:12, 4] = HEAD  # 11 of 36 pixels of its box
    item = {"label": thin, "hierarchy": TREE[:3]}
    select = RandSelectTargetd(
        min_area=1, min_box_fraction=0.5, merge_probability=0.0, part_probability=1.0, drop_small=drop_small
    ).set_random_state(0)
    eyes = 0
    for _ in range(30):
        found = select(item)
        if (found["target"] == 1).sum() == AREAS[EYE]:
            eyes += 1
            np.testing.assert_array_equal(found["required"][0] == 1, shown(PERSON) & ~shown(EYE))
            assert not found["others"][0, 6, 4:10].any()  # the head is what the eye is a part of
    assert eyes


def test_a_part_whose_ancestors_are_cropped_away_is_a_root() -> None:
    layers = label()
    layers[0][layers[0] == PERSON] = 0
    assert {target_of(item) for item in selected(60, sample(label=layers))} == {HEAD, ARM, DOG}
    small = selected(60, sample(), min_area=30, part_probability=0.0)
    assert {target_of(item) for item in small} == {PERSON}


def test_unions_are_of_roots_and_their_parts() -> None:
    for item in selected(10, sample(), merge_probability=1.0):
        np.testing.assert_array_equal(item["target"][0] == 1, shown(PERSON, DOG))
        assert not item["others"].any() and not item["required"].any()
    for item in selected(10, sample(), merge_probability=1.0, part_probability=1.0):
        part = ARM if item["target"][0, 14, 3] == 1 else EYE
        np.testing.assert_array_equal(item["target"][0] == 1, shown(part, DOG))
        whole = PERSON if part == ARM else HEAD
        np.testing.assert_array_equal(item["required"][0] == 1, shown(whole) & ~shown(part))


def test_how_often_stuff_takes_part() -> None:
    never = selected(50, sample(), drop_small=False)
    assert all(target_of(item) != SKY and not item["others"][0, 0:4].any() for item in never)
    always = selected(50, sample(), stuff_probability=1.0)
    assert {target_of(item) for item in always} == {PERSON, DOG, SKY}
    assert all(target_of(item) == SKY or item["others"][0, 0:4].all() for item in always)
    some = selected(1500, sample(), stuff_probability=0.3)
    there = [target_of(item) == SKY or bool(item["others"][0, 0:4].all()) for item in some]
    assert np.mean(there) == pytest.approx(0.3, abs=0.035)
    assert np.mean([target_of(item) == SKY for item in some]) == pytest.approx(0.1, abs=0.025)


def test_stuff_alone_is_no_object() -> None:
    layers = label()
    layers[layers != SKY] = 0
    (item,) = selected(1, sample(label=layers))
    assert not item["target"].any() and not item["others"].any() and not item["required"].any()
    (item,) = selected(1, sample(label=layers), stuff_probability=1.0)
    assert target_of(item) == SKY


def test_meta_data_other_keys_and_types() -> None:
    affine = torch.diag(torch.tensor([0.5, 2.0, 1.0, 1.0], dtype=torch.float64))
    item = {"seg": MetaTensor(label(), affine=affine), "tree": torch.as_tensor(TREE), "count": torch.tensor(5)}
    select = RandSelectTargetd(
        "seg", min_area=1, hierarchy_key="tree", num_instances_key="count", required_key="rest", part_probability=1.0
    ).set_random_state(0)
    found = [select(item) for _ in range(10)]
    assert any(entry["rest"].any() for entry in found) and "required" not in found[0]
    assert all(isinstance(entry["rest"], MetaTensor) and torch.equal(entry["rest"].affine, affine) for entry in found)


def test_clicks_rule_out_the_rest_of_the_object() -> None:
    pipeline = Compose(
        [
            RandSelectTargetd(min_area=1, merge_probability=0.0, part_probability=1.0),
            RandSimulateClicksd(required_key="required"),
        ]
    ).set_random_state(0)
    parts = 0
    for _ in range(30):
        item = pipeline(sample())
        if item["required"].any():
            parts += 1
            row, column = item["points"][24, :2].int().tolist()
            assert item["required"][0, row, column] == 1
    assert parts


def test_bad_input() -> None:
    for name in ("stuff_probability", "part_probability"):
        with pytest.raises(ValueError, match=f"{name} must be between 0 and 1, got 1.1"):
            RandSelectTargetd(**{name: 1.1})
    for tree, reason in (
        (np.zeros((3, 3), dtype=int), r"must be whole numbers \[N, 2\], got int64 \[3, 3\]"),
        (np.array([1, 2]), r"\[N, 2\], got int64 \[2\]"),
        (np.array([[1.5, 0.0]]), r"\[N, 2\], got float64 \[1, 2\]"),
        (np.array([[1, 2], [2, 1]]), "object 1 of the hierarchy is a part of itself"),
        (np.array([[1, 1]]), "object 1 of the hierarchy is a part of itself"),
    ):
        with pytest.raises(ValueError, match=reason):
            selected(1, sample(hierarchy=tree))
    assert target_of(selected(1, sample(hierarchy=[]), min_area=100)[0]) == PERSON


def test_tree() -> None:
    things = [LabelObject(number, 0, 1, 1) for number in (PERSON, EYE, ARM, DOG, SKY)]
    tree = ObjectTree(TREE, things)
    person, eye, arm, dog, _ = things
    assert [thing.number for thing in tree.roots] == [PERSON, DOG, SKY]
    assert tree.parts(person) == [eye, arm] and tree.parts(eye) == [] == tree.parts(dog)
    assert tree.ancestors(EYE) == [HEAD, PERSON] and tree.ancestors(PERSON) == [] == tree.ancestors(99)
    assert tree.related(person, eye) and tree.related(eye, person) and not tree.related(eye, arm)

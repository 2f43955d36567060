from __future__ import annotations

import itertools

import numpy as np
import pytest

from adaptiveclick_med.inference import VolumeSession

SHAPE = (22, 26, 18)
PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
"""The world axis across the slices of each plane."""


def scene():
    """An object without any symmetry and another one beside it, [x, y, z] in patient order, and where to click."""
    i, j, k = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    thing = ((i - 8) / 5.2) ** 2 + ((j - 10) / 6.4) ** 2 + ((k - 7) / 4.3) ** 2 <= 1
    thing = thing | ((i >= 8) & (i <= 12) & (j >= 10) & (j <= 19) & (k >= 5) & (k <= 8))
    other = (i >= 16) & (i <= 20) & (j >= 3) & (j <= 7) & (k >= 4) & (k <= 14)
    return thing, other


def rotation(degrees, axis):
    angle = np.deg2rad(degrees)
    one, two = [at for at in range(3) if at != axis]
    matrix = np.eye(3)
    matrix[[one, one, two, two], [one, two, one, two]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    return matrix


SHEAR = np.array([[1.0, 0.25, 0.1], [0.0, 1.0, -0.2], [0.0, 0.0, 1.0]])
LAYOUTS = {
    "RAS": ((0, 1, 2), (1, 1, 1), np.eye(3)),
    "LPS": ((0, 1, 2), (-1, -1, 1), np.eye(3)),
    "LIA": ((0, 2, 1), (-1, 1, -1), np.eye(3)),
    "PSR": ((1, 2, 0), (1, -1, 1), np.eye(3)),
    "SAL": ((2, 1, 0), (-1, 1, 1), np.eye(3)),
    "flipped k": ((0, 1, 2), (1, 1, -1), np.eye(3)),
    "oblique": ((0, 1, 2), (1, 1, 1), rotation(20, 0) @ rotation(20, 2)),
    "oblique, permuted and flipped": ((2, 0, 1), (-1, 1, -1), rotation(-20, 1) @ rotation(20, 0)),
    "sheared": ((0, 1, 2), (1, -1, 1), SHEAR),
    "sheared and permuted": ((1, 2, 0), (-1, -1, 1), SHEAR),
}
"""Per layout: the patient axis of each array axis, the direction along it for (x, y, z), and what turns the patient."""


class Case:
    """The scene as an array of some layout, with its affine."""

    def __init__(self, layout, spacing=(1.0, 1.2, 1.4)):
        order, signs, turned = LAYOUTS[layout]
        directions = np.eye(4)
        for at in range(3):
            if signs[at] < 0:  # along patient axis ``at`` the array runs backwards
                directions[at, at], directions[at, 3] = -1.0, SHAPE[at] - 1.0
        moved = np.zeros((4, 4))
        moved[3, 3] = 1.0
        for axis, at in enumerate(order):
            moved[at, axis] = 1.0
        to_world = np.eye(4)
        to_world[:3, :3] = turned @ np.diag(spacing)
        to_world[:3, 3] = -31.5, 12.25, 107.0
        self.affine = to_world @ directions @ moved
        steps = tuple(slice(None, None, -1 if sign < 0 else 1) for sign in signs)
        self.thing, self.other = (part[steps].transpose(order) for part in scene())
        self.array = np.where(self.thing | self.other, 0.9, 0.1).astype(np.float32)
        self.order = order

    def axis(self, plane):
        return self.order.index(PLANES[plane])

    def expected(self, plane, voxel):
        """The object in the slice of ``plane`` through ``voxel``, nothing elsewhere."""
        expected = np.zeros(self.array.shape, dtype=bool)
        chosen = [slice(None)] * 3
        chosen[self.axis(plane)] = voxel[self.axis(plane)]
        expected[tuple(chosen)] = self.thing[tuple(chosen)]
        return expected

    def session(self, network, **options):
        session = VolumeSession(network, zoom_in=False, flip=False, **options)
        session.set_volume(self.array, self.affine)
        return session

    def voxels(self, count=4):
        """Some voxels of the object."""
        places = np.argwhere(self.thing)
        return [tuple(map(int, places[at])) for at in np.linspace(0, len(places) - 1, count, dtype=int)]


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("layout", LAYOUTS)
class TestAClickedPoint:
    @pytest.mark.parametrize("system", ["RAS", "LPS"])
    @pytest.mark.parametrize("flip", [False, True])
    def test_in_the_world(self, bright, layout, plane, system, flip):
        case = Case(layout)
        session = VolumeSession(bright, zoom_in=False, flip=flip)
        session.set_volume(case.array, case.affine)
        for voxel in case.voxels():
            for offset in ((0.0, 0.0, 0.0), (0.3, -0.4, 0.2)):
                world = (case.affine @ [*np.add(voxel, offset), 1.0])[:3]
                point = world * (-1, -1, 1) if system == "LPS" else world
                session.reset()
                answer = session.click_world(point, system=system, plane=plane)
                mask = session.mask()
                nearest = tuple(np.rint(np.linalg.solve(case.affine, [*world, 1.0])[:3]).astype(int))
                assert nearest == voxel
                assert mask[nearest]
                assert np.array_equal(mask, case.expected(plane, voxel))
                assert (answer.plane, answer.index) == (plane, voxel[case.axis(plane)])
                np.testing.assert_allclose([session.clicks()[0].i, session.clicks()[0].j], np.add(voxel, offset)[:2])

    def test_by_its_voxel(self, bright, layout, plane):
        case = Case(layout)
        session = case.session(bright)
        for voxel in case.voxels(6):
            session.reset()
            session.click(voxel, plane=plane)
            assert np.array_equal(session.mask(), case.expected(plane, voxel))

    def test_with_the_crop_of_a_real_session(self, bright, layout, plane):
        """Resized crops blur the edge; the slice and the place stay."""
        case = Case(layout)
        session = VolumeSession(bright, crop_size=64)
        session.set_volume(case.array, case.affine)
        voxel = case.voxels(3)[1]
        session.click(voxel, plane=plane)
        mask, expected = session.mask(), case.expected(plane, voxel)
        assert mask[voxel]
        assert 2 * (mask & expected).sum() / (mask.sum() + expected.sum()) > 0.95
        assert set(np.nonzero(mask)[case.axis(plane)]) == {voxel[case.axis(plane)]}

    def test_the_answer_is_shown_as_radiologists_see_it(self, bright, layout, plane):
        """Rows and columns run against the patient's axes, whatever the array does."""
        case = Case(layout)
        session = case.session(bright)
        voxel = case.voxels(3)[1]
        answer = session.click(voxel, plane=plane)
        chosen = [slice(None)] * 3
        chosen[case.axis(plane)] = voxel[case.axis(plane)]
        shown = case.thing[tuple(chosen)]
        rows, columns = {"axial": (1, 0), "coronal": (2, 0), "sagittal": (2, 1)}[plane]
        if case.order.index(rows) > case.order.index(columns):
            shown = shown.T
        for axis, patient in enumerate((rows, columns)):
            if case.affine[:3, :3][patient, case.order.index(patient)] > 0:
                shown = np.flip(shown, axis)
        assert np.array_equal(answer.mask, shown)

    def test_every_corner_belongs_to_the_volume(self, bright, layout, plane):
        case = Case(layout)
        session = case.session(bright)
        for corner in itertools.product(*((-0.5, side - 0.5) for side in case.array.shape)):
            answer = session.click(corner, plane=plane)
            at = corner[case.axis(plane)]
            assert answer.index == (0 if at < 0 else case.array.shape[case.axis(plane)] - 1)
            assert not answer.mask.any()
            session.undo()


class TestToVoxel:
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_is_the_inverse_of_the_affine(self, bright, layout):
        case = Case(layout)
        session = case.session(bright)
        for voxel in [(0, 0, 0), (3.25, 7.5, 11.125), (-40, 500, 2)]:
            world = (case.affine @ [*voxel, 1.0])[:3]
            np.testing.assert_allclose(session.to_voxel(world), voxel, atol=1e-9)
            np.testing.assert_allclose(session.to_voxel(world * (-1, -1, 1), "LPS"), voxel, atol=1e-9)
            assert all(type(value) is float for value in session.to_voxel(world))

    def test_the_identity_by_default(self, bright):
        session = VolumeSession(bright)
        session.set_volume(np.zeros((4, 5, 6), np.uint8))
        assert session.to_voxel((1, 2, 3)) == (1.0, 2.0, 3.0)
        assert session.to_voxel((-1, -2, 3), "LPS") == (1.0, 2.0, 3.0)

    @pytest.mark.parametrize(
        ("point", "system", "message"),
        [
            ((1, 2, 3), "ras", "system must be RAS or LPS, got 'ras'"),
            ((1, 2), "RAS", r"a point must be three numbers, got \(1, 2\)"),
            (("a", 2, 3), "RAS", "a point must be three numbers"),
            ((1, np.nan, 3), "RAS", "three finite numbers"),
            ((1, 2, np.inf), "LPS", "three finite numbers"),
        ],
    )
    def test_errors(self, bright, point, system, message):
        session = Case("LPS").session(bright)
        for call in (session.to_voxel, lambda p, s: session.click_world(p, system=s)):
            with pytest.raises(ValueError, match=message):
                call(point, system)
        assert session.clicks() == []


class TestThePlaneOfAcquisition:
    @pytest.mark.parametrize(
        ("layout", "plane"),
        [("RAS", "axial"), ("LPS", "axial"), ("LIA", "coronal"), ("PSR", "sagittal"), ("SAL", "sagittal")],
    )
    def test_its_slices_run_along_k(self, bright, layout, plane):
        case = Case(layout)
        session = case.session(bright)
        assert session.acquisition_plane == plane
        assert case.axis(plane) == 2
        voxel = case.voxels(3)[1]
        assert session.click(voxel, plane=plane).index == voxel[2]


class TestUnequalSides:
    """Sides of a slice's pixels that differ are made equal for the network, and the mask comes back."""

    @pytest.mark.parametrize("plane", PLANES)
    @pytest.mark.parametrize("spacing", [(1, 1, 5), (1, 1, 3), (3, 1, 1), (1, 2.5, 1), (0.4, 0.4, 6), (7, 1, 2)])
    @pytest.mark.parametrize("layout", ["RAS", "LPS", "PSR", "oblique, permuted and flipped"])
    def test_the_mask_comes_back_on_the_volumes_grid(self, bright, layout, plane, spacing):
        case = Case(layout, spacing)
        session = case.session(bright)
        voxel = case.voxels(3)[1]
        session.click(voxel, plane=plane)
        mask, expected = session.mask(), case.expected(plane, voxel)
        assert mask.shape == case.array.shape
        assert mask[voxel]
        overlap = 2 * (mask & expected).sum() / (mask.sum() + expected.sum())
        assert overlap > 0.95
        assert not mask[expected != case.thing].any()

    @pytest.mark.parametrize("spacing", [(1, 1, 5), (1, 1, 3), (3, 1, 1)])
    def test_the_network_sees_square_pixels(self, bright, spacing):
        case = Case("RAS", spacing)
        session = case.session(bright)
        for plane, axis in PLANES.items():
            rows, columns = {"axial": (1, 0), "coronal": (2, 0), "sagittal": (2, 1)}[plane]
            session.click(case.voxels(3)[1], plane=plane)
            height, width = bright.calls[-1][0].shape[-2:]
            assert axis not in (rows, columns)
            assert height / width == pytest.approx(
                SHAPE[rows] * spacing[rows] / (SHAPE[columns] * spacing[columns]), rel=0.02
            )
            assert min(height / SHAPE[rows], width / SHAPE[columns]) == 1

    def test_nearly_square_pixels_stay(self, bright):
        case = Case("RAS", (1.0, 1.2, 1.4))
        session = case.session(bright)
        session.click(case.voxels(3)[1], plane="sagittal")
        assert bright.calls[-1][0].shape[-2:] == (SHAPE[2], SHAPE[1])
        strict = case.session(bright, max_anisotropy=1.0)
        strict.click(case.voxels(3)[1], plane="sagittal")
        assert bright.calls[-1][0].shape[-2:] == (round(SHAPE[2] * 1.4 / 1.2), SHAPE[1])

    def test_slices_smaller_than_a_patch_are_enlarged(self, network):
        session = VolumeSession(network)
        session.set_volume(np.random.RandomState(0).rand(40, 36, 3).astype(np.float32))
        for plane in PLANES:
            answer = session.click((20, 18, 1), plane=plane)
            assert answer.mask.shape == {"axial": (36, 40), "coronal": (3, 40), "sagittal": (3, 36)}[plane]
            assert len(answer.candidates) == 10
            assert all(each.mask.shape == answer.mask.shape for each in answer.candidates)
            assert np.array_equal(answer.mask, answer.probability > 0.49)

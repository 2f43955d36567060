"""The notebooks: what is committed, and what a fresh run of a copy computes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import nibabel
import numpy as np
import pytest
from nbclient import NotebookClient

from adaptiveclick_med.weights import default_path

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the folder, beside the bundle; all that the notebooks write lands beside it."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".*", "__pycache__"))
    (folder / "bundles").symlink_to(ROOT / "bundles")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "jupyter"))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv("MPLBACKEND", raising=False)
        yield folder


@pytest.fixture(scope="module")
def run(copy: Path) -> Run:
    """Run a notebook and return the values of expressions at its end."""

    def executed(name: str, **expressions: str) -> dict[str, Any]:
        notebook = nbformat.read(copy / "notebooks" / name, 4)
        for cell in notebook.cells:
            cell.pop("outputs", None)
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        values = ", ".join(f"{key!r}: {expression}" for key, expression in expressions.items())
        notebook.cells.append(nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({{{values}}}, default=float))"))
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(copy / "notebooks")}}).execute()
        return json.loads(notebook.cells[-1].outputs[0].text)

    return executed


def test_there_are_four() -> None:
    assert [name[:3] for name in NAMES] == ["01_", "02_", "03_", "04_"]
    assert sum((ROOT / "notebooks" / name).stat().st_size for name in NAMES) < 1_500_000


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_was_run_from_top_to_bottom(name: str) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / name, 4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    texts = [output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs]
    assert not [text for text in texts if re.search(r"(?<![.\w])/(home|root|tmp|work|Users)/", text)]


def test_click_a_volume(run: Run, copy: Path) -> None:
    found = run(
        "01_click_a_volume.ipynb",
        grid="bool(same_grid)",
        systems="bool((in_ras.mask == in_lps.mask).all() and in_ras.mask.any())",
        dice="[dice_before, dice_after]",
        candidates="[candidate.confidence for candidate in answer.candidates]",
        clicked="[(click.k, click.label, click.positive) for click in session.clicks(1)]",
        default="all(bool((a == b).all()) for a, b in zip(network.state_dict().values(), "
        "weights.default().state_dict().values()))",
        body="float(np.percentile(picture.picture, 75))",
        voxels="[int((session.labels() == label).sum()) for label in (1, 2)]",
        backend="plt.get_backend()",
    )
    assert found["grid"] and found["systems"]
    assert found["dice"][0] > 0.4
    assert found["dice"][1] > 0.6
    assert len(found["candidates"]) == 10
    assert found["candidates"] == sorted(found["candidates"], reverse=True)
    assert len(found["clicked"]) == 3
    assert [8, 1, True] in found["clicked"]
    assert found["default"] is True
    assert found["body"] == pytest.approx((20 + 150) / 400, abs=0.02)  # 20 HU in the window for soft tissue
    assert "inline" in found["backend"]
    scan, mask = (nibabel.load(copy / "runs" / "notebooks" / f"patient{end}.nii.gz") for end in ("", "_organs"))
    np.testing.assert_array_equal(mask.affine, scan.affine)
    labels = np.asarray(mask.dataobj)  # type: ignore[attr-defined]
    assert labels.shape == scan.shape == (64, 64, 12)
    assert [int((labels == label).sum()) for label in (1, 2)] == found["voxels"]
    assert min(found["voxels"]) > 0


def test_finetune_on_your_data(run: Run) -> None:
    shipped = default_path().read_bytes()
    found = run(
        "02_finetune_on_your_data.ipynb",
        losses="losses",
        validation="validation",
        before="before['MR']['mIoU@1']",
        after="after['MR']['mIoU@1']",
        start="str(weights)",
        sizes="[read_header(path)['arguments'] for path in (weights, tuned)]",
    )
    assert len(found["losses"]) == 40
    assert np.mean(found["losses"][-8:]) < np.mean(found["losses"][:8])
    assert len(found["validation"]) == 4
    assert found["after"] > found["before"]
    assert found["start"] == str(default_path())
    assert {**found["sizes"][0], "image_size": 128} == found["sizes"][1]
    assert default_path().read_bytes() == shipped


def test_evaluate_and_compare(run: Run, copy: Path) -> None:
    found = run(
        "03_evaluate_and_compare.ipynb",
        summaries="{name: result.summary() for name, result in results.items()}",
        again="again.summary() == results['network'].summary()",
        differences="{each.metric: [each.difference, each.low, each.high] for each in differences}",
        worst="worst.ious",
        repeated="float((prediction.mask & target).sum() / (prediction.mask | target).sum())",
    )
    network, walker, disk = (found["summaries"][name] for name in ("network", "random walker", "disk"))
    assert network["objects"] == walker["objects"] == disk["objects"] == 90
    assert network["mIoU@5"] > 0.6
    assert walker["mIoU@5"] > 0.9
    assert found["again"] is True
    for metric, (difference, low, high) in found["differences"].items():
        assert difference == pytest.approx(network[metric] - disk[metric])
        assert low < difference < high
    assert found["repeated"] == pytest.approx(found["worst"][-1], abs=1e-6)
    stored = json.loads((copy / "runs" / "notebooks" / "compared" / "disk" / "results.json").read_text())
    assert stored["summary"]["NoC@85"] == disk["NoC@85"]
    report = (copy / "runs" / "notebooks" / "compared" / "report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in report


def test_adaptive_focal_loss(run: Run) -> None:
    found = run(
        "04_adaptive_focal_loss.ipynb",
        p_t="p_t.tolist()",
        pulls="{name: curve.tolist() for name, curve in pulls.items()}",
        factors="factors['AFL'].tolist()",
        crossings="crossings",
        shares="shares",
        mean_pull="mean_pull",
        pixels="{kind: float(where.mean()) for kind, where in kinds.items()}",
        largest="largest",
    )
    p = np.array(found["p_t"])
    slope = p * (1 - p)  # of p in the logit

    def focal(gamma: float) -> Any:
        return slope * ((1 - p) ** gamma / p - gamma * (1 - p) ** (gamma - 1) * np.log(p))

    poly = slope * 3 * (1 - p) ** 2
    exponent = 2 + float((1 - p).mean())
    scale = len(p) / float(((1 - p) ** exponent * (1 + 0.4 * exponent)).sum())
    adaptive = scale * focal(exponent) + slope * (exponent + 1) * (1 - p) ** exponent
    expected = {"BCE": 1 - p, "FL": focal(2), "PL": focal(2) + poly, "AFL": adaptive}
    for name, curve in expected.items():
        np.testing.assert_allclose(found["pulls"][name], curve, rtol=1e-9)
    assert np.all(np.diff(found["factors"]) > 0)
    assert found["crossings"]["2"] == pytest.approx(p[np.argmax(focal(2.5) < focal(2))])
    assert found["largest"] < 1e-12

    text = " ".join(cell.source for cell in nbformat.read(ROOT / "notebooks" / NAMES[3], 4).cells)
    ambiguous = {
        name: (row["ambiguous"], found["mean_pull"][name]["ambiguous"]) for name, row in found["shares"].items()
    }
    assert f"hard and {100 * found['pixels']['ambiguous']:.0f} % ambiguous" in text
    assert all(sum(row.values()) == pytest.approx(1) for row in found["shares"].values())
    shares = {name: f"{share:.2f}" for name, (share, _) in ambiguous.items()}
    assert shares == {"BCE": "0.40", "FL": "0.40", "PL": "0.46", "AFL": "0.38"}
    assert all(share in text for share in shares.values())
    pulls = {name: f"{pull:.2f}" for name, (_, pull) in ambiguous.items()}
    assert f"({pulls['FL']} against {pulls['BCE']})" in text
    assert f"({pulls['AFL']})" in text

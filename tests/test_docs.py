"""What the documentation shows works."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("configs/*.md"),
        *ROOT.glob("notebooks/*.md"),
        *ROOT.glob("bundles/*/docs/*.md"),
    ]
)


@pytest.mark.parametrize("page", ["README.md", "docs/clicking.md", "docs/export.md"])
def test_the_python_of_a_page_runs(page: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_overrides_that_the_bundle_page_lists_exist() -> None:
    config = json.loads((ROOT / "bundles" / "adaptiveclick" / "configs" / "train.json").read_text(encoding="utf-8"))
    config |= json.loads((ROOT / "configs" / "distillation.json").read_text(encoding="utf-8"))
    page = (ROOT / "bundles" / "adaptiveclick" / "docs" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`--.*?) \|", page, re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"--(\w+)", row)]
    assert len(names) > 25
    assert [name for name in names if name not in config] == []


def test_every_override_file_is_listed_and_changes_known_values() -> None:
    config = json.loads((ROOT / "bundles" / "adaptiveclick" / "configs" / "train.json").read_text(encoding="utf-8"))
    listed = set(re.findall(r"`(\w+\.json)` \|", (ROOT / "configs" / "README.md").read_text(encoding="utf-8")))
    files = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "configs").glob("*.json")}
    assert listed == set(files)
    del files["distillation.json"]  # brings values of its own
    for name, values in files.items():
        own = {"average"} if name == "default_weights.json" else set()
        changed = {key.lstrip("+").split("#")[0] for key in values} - own
        assert changed <= set(config), name

"""What docs/datasets.md and docs/data.md say of the sources is so."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from adaptiveclick_med.data import get_items, get_source, source_names

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "datasets.md").read_text(encoding="utf-8")
DATA = (DOCS / "data.md").read_text(encoding="utf-8")
PUBLISHED = [name for name in source_names() if name not in ("folder", "mixed", "phantoms")]


def rows(text: str) -> list[list[str]]:
    """The rows of all tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]


def part(name: str) -> str:
    """The part of the page on one source."""
    (found,) = re.findall(rf"^## [^\n]*: `{name}`$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_every_source_has_its_part_and_its_title() -> None:
    headings = dict(re.findall(r"^## (.*): `(\w+)`$", PAGE, re.MULTILINE))
    assert {name: title for title, name in headings.items()} == {name: get_source(name).title for name in PUBLISHED}
    assert all("Licence: " in part(name) for name in PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_options_and_defaults(name: str) -> None:
    source = get_source(name)
    parameters = inspect.signature(source.list_items).parameters
    told = {row[0].strip("`"): ast.literal_eval(row[1].strip("`")) for row in rows(part(name))}
    assert told == {option: parameters[option].default for option in source.options}
    assert ("No\noptions." in part(name) or "No options." in part(name)) == (not source.options)


def test_the_table_of_benchmarks() -> None:
    table = rows(PAGE.split("## GrabCut")[0])
    assert sorted(row[0].strip("`") for row in table) == PUBLISHED
    for row in table:
        name, title, section, min_area, crop, images, objects = row
        source = get_source(name.strip("`"))
        benchmark = source.benchmark
        assert (title, section, int(min_area)) == (source.title, benchmark.section, benchmark.min_area)
        assert crop == ("" if benchmark.crop_size is None else str(benchmark.crop_size))
        for told, numbers in ((images, benchmark.images), (objects, benchmark.objects)):
            expected = [f"{count}" if part == "all" else f"{count} {part}" for part, count in numbers.items()]
            assert told == ", ".join(expected), name


def test_the_options_of_folder() -> None:
    text = DATA.split("## A folder of your own")[1].split("## ")[0]
    told = {row[0].strip("`") for row in rows(text)} | set(re.findall(r"`(image_dir|label_dir)`", text))
    assert told == set(get_source("folder").options)


def test_the_example_of_a_mixture(tmp_path: Path) -> None:
    (command,) = re.findall(r"```bash\n(python -m monai.bundle .*?)```", DATA, re.DOTALL)
    words = shlex.split(command.replace("\\\n", " "))
    options = ast.literal_eval(words[words.index("--dataset_options") + 1])
    parser = ConfigParser({"dataset_options": options, "copy": "$dict(**@dataset_options)"})
    assert parser.get_parsed_content("copy") == options
    for entry in options["parts"]:
        assert set(entry.get("options", {})) <= set(get_source(entry["dataset"]).options)
    with pytest.raises(FileNotFoundError, match="data/DSB2018"):
        get_items(words[words.index("--dataset") + 1], tmp_path, **options)
    text = DATA.split("## Several data sets together")[1].split("## ")[0]
    keys = [row[0].strip("`") for row in rows(text)]
    assert keys == ["dataset", "dataset_dir", "options", "weight", "max_samples", "name"]

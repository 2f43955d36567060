"""``adaptiveclick-med datasets``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adaptiveclick_med import cli
from adaptiveclick_med.data import source_names


def run(*arguments: object) -> tuple[int, str]:
    """Return the exit status and what is printed, without the progress bar."""
    result = CliRunner().invoke(cli.app, ["datasets", *map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.stdout


def fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    monkeypatch.setattr(sys, "argv", ["adaptiveclick-med", "datasets", *map(str, arguments)])
    with pytest.raises(SystemExit) as error:
        cli.main()
    assert error.value.code == 1
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    return err.strip().removeprefix("adaptiveclick-med: ")


def test_list() -> None:
    status, output = run("list")
    lines = dict(line.split(maxsplit=1) for line in output.splitlines())
    assert status == 0 and list(lines) == source_names()
    assert lines["dsb2018"].startswith("DSB2018: nuclei in microscopy images (Caicedo et al.")
    assert lines["folder"].startswith("Your own data: a folder of images and masks")
    assert all("``" not in line and not line.endswith(":") for line in lines.values())


def test_check_of_a_good_data_set(picture_folder: Path) -> None:
    status, output = run("check", "folder", picture_folder)
    assert status == 0
    assert output.splitlines() == [
        f"folder in {picture_folder}",
        "  3 images, 6 objects of at least 20 pixels.",
        "  there are no published numbers to compare with.",
        "  All is well.",
    ]


def test_progress_is_shown_apart_from_the_report(picture_folder: Path) -> None:
    result = CliRunner().invoke(cli.app, ["datasets", "check", "folder", str(picture_folder)])
    assert "folder all" in result.stderr and "3/3" in result.stderr and "3/3" not in result.stdout


def test_options_and_section_arrive(picture_folder: Path) -> None:
    status, output = run(
        "check", "folder", picture_folder, "--options", '{"label_type": "binary"}', "--section", "validation"
    )
    assert status == 0 and "  validation: 1 image, 1 object of at least 20 pixels.\n" in output


def test_a_data_set_without_a_folder() -> None:
    status, output = run("check", "phantoms", "--options", '{"num_volumes": 1, "size": [2, 32, 32]}')
    assert status == 0 and output.startswith("phantoms\n  2 images")


def test_the_exit_status_tells_that_something_is_wrong(picture_folder: Path, tmp_path: Path) -> None:
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        for path in sorted((picture_folder / kind).iterdir()):
            (tmp_path / kind / path.name).write_bytes(path.read_bytes())
    (tmp_path / "images" / "case_0.png").write_bytes(b"rubbish")
    (tmp_path / "labels" / "case_1.png").unlink()
    status, output = run("check", "folder", tmp_path)
    assert status == 1
    assert "  1 image, 2 objects" in output and "  2 problems:\n" in output
    assert f"    - {tmp_path / 'images' / 'case_1.png'}: the image has no label of the same name." in output
    assert f"    - {tmp_path / 'images' / 'case_0.png'}: cannot be read: " in output
    status, output = run("check", "brats", tmp_path)
    assert status == 1 and "is not a BraTS folder" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing", "{tmp}"], "unknown dataset 'nothing'; valid names are berkeley, brats"),
        (["brats"], "dataset_dir of the BraTS data set is missing"),
        (["brats", "{tmp}/none"], "dataset_dir of the BraTS data set does not exist: {tmp}/none."),
        (["brats", "{tmp}", "--section", "test"], "section must be one of training, validation, all, got 'test'."),
        (["brats", "{tmp}", "--options", "{{"], "options must be JSON such as"),
        (["brats", "{tmp}", "--options", "[1]"], "options must be a JSON object such as"),
        (["brats", "{tmp}", "--options", '{{"colour": 1}}'], "unknown option colour for dataset 'brats'"),
        (
            ["brats", "{tmp}", "--options", '{{"section": "all"}}'],
            "options are those of the data set itself, got section",
        ),
        (["brats", "{tmp}", "--options", '{{"labels": 1}}'], "labels must be a list of whole numbers"),
    ],
)
def test_an_expected_error_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    assert message.format(tmp=tmp_path) in fail(monkeypatch, capsys, "check", *given)

from __future__ import annotations

import os
import stat

import pytest

from adaptiveclick_med._files import replacing


def test_the_file_appears_when_all_went_well(tmp_path):
    path = tmp_path / "new" / "folder" / "weights.safetensors"
    with replacing(path) as temporary:
        temporary.write_text("content")
        assert temporary.parent == path.parent
        assert temporary.name.endswith("-weights.safetensors")
        assert not path.exists()
    assert path.read_text() == "content"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_nothing(tmp_path, error):
    with pytest.raises(error), replacing(tmp_path / "new.txt") as temporary:
        temporary.write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "old.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(str(path)) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_removes_its_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "gone.txt") as temporary:
        temporary.unlink()
    assert list(tmp_path.iterdir()) == []


def test_two_writers_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "one.txt"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o077, 0o600)])
def test_permissions_are_those_of_any_new_file(tmp_path, umask, expected):
    old = os.umask(umask)
    try:
        with replacing(tmp_path / "file") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == expected

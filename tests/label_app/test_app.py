from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from adaptiveclick_med.label_app.app import _Sessions


@pytest.fixture
def sessions(tmp_path: Path) -> _Sessions:
    return _Sessions(str(tmp_path / "sessions"), 3600)


def test_uploads_on_their_way_are_left_alone_and_what_is_old_goes(sessions: _Sessions, tmp_path: Path) -> None:
    assert sessions.remove_expired() == 0
    folder = tmp_path / "sessions"
    known = []
    for name in ("kept", "old"):
        image = tmp_path / f"{name}.nii.gz"
        image.write_bytes(name.encode())
        known.append(sessions.add_session(str(image))[0])
    sessions[known[1]].last_access_ts -= 3700
    sessions._write_meta_info(known[1], sessions[known[1]])
    for name, content in (("coming", None), ("half", '{"na'), ("left", None), ("left half", "{")):
        (folder / name).mkdir()
        (folder / name / "image.nii.gz").write_bytes(b"part")
        if content is not None:
            (folder / name / "meta.info").write_text(content)
        if name.startswith("left"):
            long_ago = time.time() - 3700
            os.utime(folder / name, (long_ago, long_ago))
    assert sessions.remove_expired() == 3
    assert {path.name for path in folder.iterdir()} == {known[0], "coming", "half"}
    assert sessions.get_session(known[0]) is not None
    assert sessions.get_session(known[1]) is None

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.label_app.conftest import Server

SCRIPT = Path(__file__).parents[2] / "docs" / "requests" / "replay.sh"


@pytest.mark.parametrize("image", ["head", "ct_series"])
def test_the_recorded_requests_of_the_viewers_are_answered(server: Server, image: str) -> None:
    command = ["bash", str(SCRIPT), server.url, image, "tumor", "16", "14", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("All answers are as they should be.\n")

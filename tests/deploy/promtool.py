"""Runs promtool, which comes with Prometheus."""

import shutil
import subprocess

import pytest


def promtool(*arguments: str) -> None:
    """Run promtool; the test fails with what it says when it is not content, or is not here."""
    program = shutil.which("promtool")
    if program is None:
        pytest.fail(
            "promtool is missing: install the Debian package `prometheus` (apt-get install prometheus)"
        )
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

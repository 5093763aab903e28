"""What a compression tool is in the comparison: a file that says how it is installed, and a job in its own environment.

A tool `x` is loadtest/compression/tools/x.py, ending in `TOOL = Tool(...)`, and x_job.py beside it, which runs in the
tool's own virtual environment and nowhere else.
"""

import importlib
import os
import pkgutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.compression import tools as _tools
from loadtest.environment import is_made

ROOT = Path(__file__).parent.parent.parent
JOB_SECONDS = 900.0
# A proxy that nobody listens at: what a tool does must not depend on anything from outside, and nothing is sent home.
_NOWHERE = "http://127.0.0.1:9"
_OFFLINE = {
    **{f"{scheme}_proxy": _NOWHERE for scheme in ("http", "https", "all")},
    **{f"{scheme}_PROXY": _NOWHERE for scheme in ("HTTP", "HTTPS", "ALL")},
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "OLIVE_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True)
class Tool:
    """One compression tool."""

    name: str
    job: str
    """The module that does the work."""
    settings: Mapping[str, str]
    """What is asked of it, by name, and in which words its own documentation would say it."""
    packages: Sequence[str]
    """Distributions whose versions are recorded."""
    requirements: Sequence[str] = ()
    """What its own virtual environment needs; empty: that of the project."""
    note: str = ""
    """What a reader of the results must know."""

    @property
    def home(self) -> Path:
        """Its virtual environment, outside the project's."""
        return ROOT / ".cache" / "peers" / "compression" / self.name

    @property
    def python(self) -> Path:
        """The interpreter it runs with."""
        return (self.home if self.requirements else ROOT / ".venv") / "bin" / "python"

    @property
    def installed(self) -> bool:
        """Whether its environment is complete."""
        return not self.requirements or is_made(self.home, self.requirements)

    def versions(self) -> dict[str, str]:
        """The installed versions of its packages."""
        code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
        command = [str(self.python), "-c", code, *self.packages]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        return dict(zip(self.packages, ran.stdout.split(), strict=True))

    def run(self, setting: str, material: Path, target: Path) -> dict[str, Any]:
        """Let the tool compress `material`/model.onnx into `target`/model.onnx.

        Gives its seconds, and its last words as `failure` when it did not: that is a result, not an error.
        """
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory() as home:
            environment = (
                os.environ | _OFFLINE | {"HOME": home, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            )
            command = [str(self.python), "-m", self.job, setting, str(material), str(target)]
            try:
                ran = subprocess.run(
                    command,
                    cwd=home,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=JOB_SECONDS,
                    check=False,
                )
                failure = _last_words(ran.stderr) if ran.returncode else ""
            except subprocess.TimeoutExpired:
                failure = f"it was not done after {JOB_SECONDS:.0f} s"
        if not failure and not (target / "model.onnx").exists():
            failure = "it ended without an error and wrote no graph"
        seconds = round(time.perf_counter() - begun, 1)
        return {"seconds": seconds} | ({"failure": failure} if failure else {})


def known_tools() -> dict[str, Tool]:
    """Every tool by name."""
    found = {}
    for module in pkgutil.iter_modules(_tools.__path__, f"{_tools.__name__}."):
        if not module.name.endswith("_job"):
            tool: Tool = importlib.import_module(module.name).TOOL
            found[tool.name] = tool
    return found


def _last_words(errors: str) -> str:
    """The last line of a traceback that says something, without paths of this machine."""
    lines = [line.strip() for line in errors.strip().splitlines() if line.strip()] or ["it said nothing"]
    named = [
        line for line in lines if line.split(":")[0].endswith(("Error", "Exception", "Fail", "InvalidGraph"))
    ]
    return (named or lines)[-1].replace(str(ROOT), ".")[:300]

"""The worked examples of docs/models.md, run as they stand: every file is written, every command is executed."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from app.training.architecture import architectures
from app.training.data.source import sources

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "models.md").read_text()
_FILE = re.compile(r"^`(models/(\w+)/[\w.]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def files_of(model: str) -> dict[str, str]:
    return {path: content for path, name, content in _FILE.findall(GUIDE) if name == model}


def commands_of(model: str) -> list[str]:
    blocks = [block for block in _COMMANDS.findall(GUIDE) if f"compress {model}\n" in block]
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("model", ["clicks", "taste", "ready"])
def test_an_example_runs_as_it_stands(model: str, tmp_path: Path) -> None:
    assert files_of(model)
    assert commands_of(model)
    for path, content in files_of(model).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    # `slimrank` and `python` are those that run this test.
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": "200",
    }
    output = ""
    for command in commands_of(model):
        ran = subprocess.run(
            shlex.split(command),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
        output = ran.stdout
    card = files_of(model)[f"models/{model}/model.toml"]
    recipe = re.search(r'\[\[recipes\]\]\nname = "(.+)"', card)
    assert recipe is not None
    for variant in ("baseline", recipe[1]):
        assert re.search(rf"{variant}\b.*(baseline|passed|rejected)", output)


def test_every_architecture_and_every_source_is_named() -> None:
    assert [name for name in architectures() if f"`{name}`" not in GUIDE] == []
    for name, source in sources().items():
        row = re.search(rf"^\| `{name}` \| (.*?) \| (.*?) \|$", GUIDE, re.MULTILINE)
        assert row is not None, name
        assert set(re.findall(r"`(\w+)`", row[1])) == set(source.config.model_fields), name

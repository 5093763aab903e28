"""The comparison: one graph, and the same calibration rows and test rows for every tool and for ourselves."""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from loadtest.compression import calibration
from loadtest.compression.measure import Bench
from loadtest.compression.questions import Questions, load, part
from loadtest.compression.tool import Tool, known_tools
from loadtest.prepare import ROOT, SLIMRANK, WORK, Place

OURS = "slimrank"
BASELINE = "baseline"


def compare(place: Place, only: Sequence[str], samples: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Let every installed tool compress the baseline of a model, and measure what it made beside our own variants."""
    work = WORK / "compression" / place.model
    shutil.rmtree(work, ignore_errors=True)
    material = _material(place, work)
    bench = Bench(material, Questions.read(work / "questions"), samples)
    results = []
    for variant, folder in _variants(place).items():
        say(f"measuring {OURS}, {variant}")
        own = {"tool": OURS, "setting": variant, "how": _how(folder)}
        results.append(own | bench.measure(_copied(folder, work / OURS / variant)))
    for tool in known_tools().values():
        if only and tool.name not in only:
            continue
        for setting, how in tool.settings.items():
            say(f"compressing with {tool.name}, {setting}")
            target = work / tool.name / setting
            results.append(
                {"tool": tool.name, "setting": setting, "how": how, "note": tool.note}
                | _made(tool, setting, material, target, bench)
            )
    return {
        "model": place.model,
        "calibration_rows": calibration.ROWS,
        "test_rows": len(bench.questions.labels),
        "lists": len(bench.answers.lists),
        "samples": samples,
        "versions": {tool.name: tool.versions() for tool in known_tools().values() if tool.installed},
        "results": results,
    }


def _made(tool: Tool, setting: str, material: Path, target: Path, bench: Bench) -> dict[str, Any]:
    if not tool.installed:
        return {"failure": "it is not installed: python -m loadtest.compression install"}
    target.mkdir(parents=True)
    ran = tool.run(setting, material, target)
    return ran if "failure" in ran else ran | bench.measure(target)


def _material(place: Place, work: Path) -> Path:
    """What every tool is given: the fp32 graph and the calibration rows, in a folder with nothing else."""
    material, questions = work / "material", work / "questions"
    command = [str(SLIMRANK), "data", place.model, "--export", str(questions), "--models", str(place.models)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"the rows of {place.model} cannot be exported: {ran.stderr.strip()}")
    _copied(_variants(place)[BASELINE], material)
    calibration.draw(part(load(questions / "train.npz"), "input"), material)
    return material


def _variants(place: Place) -> dict[str, Path]:
    """The folder of each active variant, the baseline first."""
    home = place.store / place.model
    if not (home / "active.json").exists():
        raise SystemExit(f"the store has no {place.model}: run `slimrank compress {place.model}` first")
    versions = json.loads((home / "active.json").read_text())["state"]["versions"]
    names = sorted(versions, key=lambda name: (name != BASELINE, name))
    return {name: home / name / versions[name] for name in names}


def _copied(source: Path, target: Path) -> Path:
    target.mkdir(parents=True)
    for path in source.glob("model.onnx*"):
        shutil.copy(path, target / path.name)
    return target


def _how(folder: Path) -> str:
    """The steps of a variant, by name."""
    recipe = json.loads((folder / "manifest.json").read_text()).get("recipe")
    steps = recipe.get("steps", []) if isinstance(recipe, dict) else recipe or []
    return ", ".join(step["technique"] for step in steps) or "the fp32 graph"

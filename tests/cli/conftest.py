"""A small store and a small model repository, and the command line run in this process."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from app.active import State
from app.artifact import GRAPH_FILE, REPORT_FILE, Manifest
from app.cli.main import main
from app.report import Latency, Machine, Report, Size, Verdict
from app.store import ArtifactStore

CARD = """
name = "tiny"
title = "A tiny ranker"

[source]
kind = "onnx"

[[schema.features]]
name = "item_id"
side = "item"
kind = "categorical"

[[recipes]]
name = "int8"
steps = [{ technique = "quantize_dynamic" }]
"""
_MACHINE = Machine("a processor", ["avx2"], 2, 2**30, "6.1", "1.32")


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def slimrank(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run the command line with these arguments."""

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["slimrank", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        assert isinstance(code, int)
        return Ran(code, *capsys.readouterr())

    monkeypatch.setenv("COLUMNS", "200")
    return run


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model repository with one card."""
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(CARD)
    return folder.parent


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """A store with an active baseline and an active variant of the model `tiny`."""
    store = ArtifactStore(tmp_path / "store")
    published = {
        variant: _publish(store, variant, smaller) for variant, smaller in (("baseline", 1.0), ("int8", 4.0))
    }
    store.activate("tiny", lambda state: State(published, state.policy, "a test"))
    return store


def _publish(store: ArtifactStore, variant: str, compression_ratio: float) -> str:
    report = Report(
        quality=None,
        agreement=None,
        slices=[],
        size=Size(int(4_000_000 / compression_ratio), 1_000_000, compression_ratio),
        latency=[Latency(100, 600, 0.25, 0.5, compression_ratio)],
        machine=_MACHINE,
        seconds=1.0,
        notes=["a layer stays in float: [it] gains no time"] if variant == "int8" else [],
    )
    with store.staged() as folder:
        (folder / GRAPH_FILE).write_bytes(variant.encode())
        (folder / REPORT_FILE).write_bytes(msgspec.json.encode(report))
        verdict = Verdict("baseline" if variant == "baseline" else "passed", "because")
        manifest = Manifest(model="tiny", variant=variant, inputs_sha256="0" * 64, verdict=verdict)
        return store.publish(folder, manifest).version

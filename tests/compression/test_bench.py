"""The bench: one graph against the baseline, in one report."""

import time
from pathlib import Path

import onnx
import pytest
from app.artifact import GRAPH_DATA_FILE, GRAPH_FILE
from app.compression.bench import Bench, graph_bytes
from app.compression.subject import Subject
from app.machine import this_machine
from app.model_card import Profile
from app.training.graph_file import write_graph
from app.training.rows import Prepared

from tests.compression.parts import ignore, with_rounded_scores

SPEC = Profile(candidates=(1, 10), samples=30)


@pytest.fixture
def folder(graph: onnx.ModelProto, tmp_path: Path) -> Path:
    """The baseline on disk."""
    folder = tmp_path / "baseline"
    folder.mkdir()
    write_graph(graph, folder)
    return folder


def test_the_baseline_against_itself(folder: Path, subject: Subject, prepared: Prepared) -> None:
    told: list[tuple[float, str]] = []
    started = time.monotonic() - 100
    bench = Bench(folder, subject.encoder, prepared, SPEC)
    report = bench.measure(folder, started, lambda *one: told.append(one))
    assert report.quality is not None
    assert report.agreement is not None
    assert report.quality.rows == len(prepared.test)
    assert report.agreement.largest_score_difference == 0
    assert [one.name for one in report.slices] == ["cold_users", "tail_items"]
    assert report.size.artifact_bytes == graph_bytes(folder)
    assert report.size.compression_ratio == 1
    assert subject.module is not None
    parameters = sum(one.numel() for one in subject.module.parameters())
    assert parameters <= report.size.parameters < parameters + 100, "constants of the graph count as well"
    assert [one.candidates for one in report.latency] == [1, 10]
    assert report.machine == this_machine()
    assert report.seconds >= 100
    assert [what for _, what in told] == ["evaluating", "timing 1 candidates", "timing 10 candidates"]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    again = bench.measure_baseline(folder, started, ignore)
    assert (again.quality, again.agreement, again.slices, again.size) == (
        report.quality,
        report.agreement,
        report.slices,
        report.size,
    )


def test_another_graph_is_compared_even_when_the_baseline_has_moved_away(
    folder: Path, subject: Subject, prepared: Prepared, graph: onnx.ModelProto
) -> None:
    bench = Bench(folder, subject.encoder, prepared, SPEC)
    before = graph_bytes(folder)
    folder.rename(folder.with_name("moved"))
    folder.mkdir()
    write_graph(with_rounded_scores(graph, 20), folder)
    report = bench.measure(folder, time.monotonic(), ignore)
    assert report.agreement is not None
    assert report.agreement.distinct_score_ratio < 0.1
    assert report.size.compression_ratio == before / graph_bytes(folder)


def test_without_rows_only_size_and_speed_are_measured(folder: Path, subject: Subject) -> None:
    report = Bench(folder, subject.encoder, None, SPEC).measure(folder, time.monotonic(), ignore)
    assert (report.quality, report.agreement, report.slices) == (None, None, [])
    assert len(report.latency) == 2


def test_bytes_are_those_of_the_graph_and_its_data(folder: Path) -> None:
    sizes = [(folder / name).stat().st_size for name in (GRAPH_FILE, GRAPH_DATA_FILE)]
    (folder / "report.json").write_bytes(bytes(1000))
    assert min(sizes) > 0
    assert graph_bytes(folder) == sum(sizes)
    (folder / GRAPH_DATA_FILE).unlink()
    assert graph_bytes(folder) == sizes[0]
